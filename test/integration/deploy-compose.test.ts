/** What compose.yaml tells to run, as far as it goes without containers: the set-up fits the services. */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parse } from 'yaml';
import { loadConfig } from '../../src/daemon/config.ts';
import { runProgram } from '../support/processes.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Service {
  readonly user?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
  readonly ports?: readonly string[];
}

let directory: TemporaryDirectory;
let services: Readonly<Record<string, Service>>;
beforeAll(async () => {
  directory = await temporaryDirectory();
  const text = await readFile(join(ROOT, 'deploy', 'compose.yaml'), 'utf8');
  ({ services } = parse(text) as { services: typeof services });
  const [, setup = ''] = /^# {3}(.*deploy\/demo\/setup\.sh) config$/m.exec(text) ?? [];
  expect(setup).not.toBe('');
  const env = { PATH: process.env['PATH'] ?? '', HOME: directory.path };
  const command = `${setup} '${join(directory.path, 'config')}'`;
  expect(await runProgram('sh', ['-euc', command], { cwd: ROOT, env })).toMatchObject({ ending: 0 });
});
afterAll(() => directory[Symbol.asyncDispose]());

it('the signer is reachable from other containers, by the name in its certificate, and keeps keys in the database', async () => {
  const env = services['signer']?.environment ?? {};
  const file = join(directory.path, 'config', 'signer.json');
  const { server, storage } = await loadConfig({ file, debug: false, env, cwd: directory.path });
  expect(server).toMatchObject({ grpcAddr: { host: '0.0.0.0', port: 7899 } });
  expect(storage).toMatchObject({ backend: 'mysql', defaultAlias: 'alias1' });
  const certificate = new X509Certificate(await readFile(join(directory.path, 'config', 'signer.crt')));
  expect(certificate.checkHost('signer')).toBe('signer');
});

it('notary-server looks for the signer by the name of its service, and listens on the port that is published', async () => {
  const server = JSON.parse(await readFile(join(directory.path, 'config', 'server.json'), 'utf8')) as {
    readonly server: { readonly http_addr: string };
    readonly trust_service: { readonly hostname: string; readonly port: string };
  };
  expect(Object.keys(services)).toContain(server.trust_service.hostname);
  expect(server.trust_service).toMatchObject({ hostname: 'signer', port: '7899' });
  const [, container] = services['notary-server']?.ports?.[0]?.split(':') ?? [];
  expect(server.server.http_addr).toBe(`0.0.0.0:${container}`);
});

it('whatever reads the configuration runs as its owner, because nobody else may', () => {
  const readers = Object.values(services).filter(({ volumes = [] }) => volumes.includes('../config:/etc/signet:ro'));
  expect(readers).toHaveLength(3);
  for (const { user } of readers) expect(user).toMatch(/^\$\{CONFIG_USER:\?/);
});
