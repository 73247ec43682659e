/** What is under deploy/ uses flags, keys and files that exist. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { environmentName, SCALAR_KEYS } from '../../src/daemon/config/keys.ts';
import { parseFlags } from '../../src/daemon/config.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const read = (name: string) => readFile(join(ROOT, 'deploy', name), 'utf8');
const VARIABLES = new Set<string>(SCALAR_KEYS.map((key) => environmentName(key)));

interface Service {
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly build?: { readonly context: string; readonly dockerfile: string };
  readonly depends_on?: object | readonly string[];
}

describe('compose.yaml', () => {
  it('names files, flags and variables that exist, and services that it defines', async () => {
    const { services } = parse(await read('compose.yaml')) as { services: Record<string, Service> };
    expect(Object.keys(services)).toEqual(['database', 'migrate', 'signer', 'notary-server']);
    for (const name of ['migrate', 'signer']) {
      const { build, environment = {} } = services[name] ?? {};
      expect(existsSync(join(ROOT, 'deploy', build?.context ?? '', build?.dockerfile ?? ''))).toBe(true);
      const unknown = Object.keys(environment).filter((variable) => !VARIABLES.has(variable));
      expect(unknown).toEqual(['NOTARY_SIGNER_ALIAS1']); // the passphrase of the alias that it names
      expect(environment['NOTARY_SIGNER_STORAGE_DEFAULT_ALIAS']).toBe('alias1');
    }
    expect(parseFlags(services['migrate']?.command ?? [])).toMatchObject({ task: { kind: 'migrate' } });
    for (const { depends_on = {} } of Object.values(services)) {
      const names = Array.isArray(depends_on) ? (depends_on as string[]) : Object.keys(depends_on);
      expect(names.every((name) => name in services)).toBe(true);
    }
  });

  it('holds no password', async () => {
    const { services } = parse(await read('compose.yaml')) as { services: Record<string, Service> };
    const settings = Object.values(services).flatMap(({ environment = {} }) => Object.entries(environment));
    const secrets = settings.filter(([name]) => /PASSWORD$|ALIAS1$|DB_URL$/.test(name) && !name.includes('RANDOM'));
    expect(secrets).toHaveLength(5);
    for (const [name, value] of secrets) {
      expect(value, name).toMatch(/^(?:signer:)?\$\{(?:MYSQL_PASSWORD|SIGNER_PASSPHRASE)(?::\?[^}]*)?\}(?:@.*)?$/);
    }
  });
});

describe('Containerfile', () => {
  it('copies what is there, runs as a user, and starts signetd with flags it knows', async () => {
    const text = await read('Containerfile');
    const copied = [...text.matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, sources = '']) => sources.split(' '));
    expect(copied.filter((name) => !existsSync(join(ROOT, name)))).toEqual([]);
    expect(text).toMatch(/^USER 10001$/m);
    const command = JSON.parse(/^CMD (\[.*\])$/m.exec(text)?.[1] ?? '') as string[];
    expect(parseFlags(command).configFile).toBe('/etc/signet/signer.json');
  });
});

describe('the systemd units', () => {
  it('start signetd with flags it knows, as a user of its own, for longer than it drains', async () => {
    const unit = await read('signetd.service');
    const [, program = '', ...flags] = /^ExecStart=(\S+) (.*)$/m.exec(unit) ?? [];
    expect(program).toBe('/opt/signet/bin/signetd');
    expect(parseFlags((flags[0] ?? '').split(' ')).configFile).toBe('/etc/signet/signer.json');
    expect(unit).toMatch(/^DynamicUser=yes$/m);
    expect(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1])).toBeGreaterThan(10); // server.drain_timeout
  });

  it('open one port: signetd takes one socket', async () => {
    expect((await read('signetd.socket')).match(/^ListenStream=/gm)).toHaveLength(1);
  });
});
