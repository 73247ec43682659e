/** `signet doctor`: one line each for what is fine, and for what is not, with the command that mends it. */
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAuthority } from '../support/certificates.ts';
import { type CommandLineHome, commandLineHome, generatedKeyId } from '../support/cli.ts';
import { freePort } from '../support/ports.ts';
import { softHsm } from '../support/softhsm.ts';

interface Finding {
  readonly check: string;
  readonly state: 'ok' | 'note' | 'warning' | 'problem';
  readonly text: string;
  readonly remedy?: string;
}

let home: CommandLineHome;
beforeAll(async () => {
  home = await commandLineHome();
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

async function findings(env: Readonly<Record<string, string>> = {}, ...args: string[]) {
  const { stdout, stderr, ending } = await home.signet(['doctor', '--json', ...args], { env });
  expect(stderr).toBe('');
  return { ending, found: JSON.parse(stdout) as readonly Finding[] };
}

/** The findings that are not fine. */
const complaints = (found: readonly Finding[]) =>
  found.filter(({ state }) => state === 'warning' || state === 'problem');

describe('signet doctor', () => {
  it('finds nothing wrong in a new home, and starts no daemon', async () => {
    const { ending, found } = await findings();
    expect(ending).toBe(0);
    expect(complaints(found)).toEqual([]);
    expect(await home.signet(['daemon', 'status'])).toMatchObject({ ending: 5 });
  });

  it('prints one line for each', async () => {
    const { found } = await findings();
    const { stdout } = await home.signet(['doctor']);
    expect(stdout.trimEnd().split('\n')).toHaveLength(found.length);
    expect(stdout).toMatch(/^note {5}no signetd answers on /m);
  });

  it('sees the running daemon, its backends and that it has no tokens', async () => {
    await home.signet(['key', 'list']);
    const { found } = await findings();
    const texts = found.map(({ text }) => text);
    expect(texts).toContainEqual(expect.stringMatching(/^signetd \S+ \(pid \d+\) answers$/));
    expect(texts).toContain(`the file backend is up: ${home.keys}`);
    expect(texts).toContain('no tokens are configured');
  });

  it('says which PKCS#11 modules load, and which tokens they see', async () => {
    await using token = await softHsm();
    const { found } = await findings(token.env);
    const modules = found.filter(({ check }) => check === 'PKCS#11 modules');
    expect(modules).toContainEqual({
      check: 'PKCS#11 modules',
      state: 'ok',
      text: expect.stringMatching(/^PKCS#11 module SoftHSM 2 loads \(\/.*libsofthsm2\.so\), and sees /),
    });
  });

  it('names every key file that cannot be used, why, and what to do', async () => {
    const env = { NOTARY_ROOT_PASSPHRASE: 'a passphrase' };
    const keyId = generatedKeyId(await home.signet(['key', 'generate'], { env }));
    const bad = join(home.keys, `${'b'.repeat(64)}.key`);
    const named = join(home.keys, 'mine.key');
    await writeFile(bad, 'nothing', { mode: 0o600 });
    await writeFile(named, 'nothing', { mode: 0o600 });
    await chmod(join(home.keys, `${keyId}.key`), 0o644);
    const { ending, found } = await findings();
    expect(ending).toBe(1);
    expect(complaints(found)).toHaveLength(3);
    expect(complaints(found)).toEqual(
      expect.arrayContaining([
        {
          check: 'key files',
          state: 'problem',
          text: `${bad} is not a key: no PEM block`,
          remedy: `restore it from a backup, or: mv ${bad} ${bad}.bad`,
        },
        {
          check: 'key files',
          state: 'warning',
          text: `${named} is ignored: its name is not a key ID`,
          remedy: `mv ${named} ${named}.bad`,
        },
        {
          check: 'key files',
          state: 'warning',
          text: `others can read ${join(home.keys, `${keyId}.key`)}`,
          remedy: `chmod 600 ${join(home.keys, `${keyId}.key`)}`,
        },
      ]),
    );
  });

  it.each([
    [0o777, 'problem', 'others can change the trust directory'],
    [0o755, 'warning', 'others can look into the trust directory'],
  ] as const)('sees who else can enter a directory of mode %o', async (mode, state, text) => {
    const directory = join(home.path, `mode-${mode}`);
    await mkdir(directory);
    await chmod(directory, mode);
    const { ending, found } = await findings({}, '-d', directory);
    expect(ending).toBe(state === 'problem' ? 1 : 0);
    expect(complaints(found)).toEqual([
      { check: 'directories', state, text: `${text} ${directory}`, remedy: `chmod 700 ${directory}` },
    ]);
  });

  it('sees a file where the trust directory should be', async () => {
    const file = join(home.path, 'file');
    await writeFile(file, '');
    const { found } = await findings({}, '-d', file);
    expect(complaints(found)[0]).toMatchObject({
      state: 'problem',
      text: `the trust directory ${file} is not a directory`,
    });
  });

  it('says which variables will be picked up, for which roles, and never shows what they hold', async () => {
    const env = {
      NOTARY_ROOT_PASSPHRASE: 'the secret of the root',
      NOTARY_DELEGATION_PASSPHRASE: 'the secret of signers',
      DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE: 'not looked at',
      DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE: 'short',
      NOTARY_TARGETS_PASSPHRASE: '',
    };
    const { found } = await findings(env);
    const texts = found.filter(({ check }) => check === 'environment').map(({ text }) => text);
    expect(texts).toEqual([
      'NOTARY_ROOT_PASSPHRASE is set: the passphrase of keys for root',
      'NOTARY_TARGETS_PASSPHRASE is set to nothing, so it is ignored',
      'NOTARY_DELEGATION_PASSPHRASE is set: the passphrase of keys for delegations and signers',
      'DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE is set: not used: another variable comes first',
      'DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE is set: the passphrase of keys for targets, snapshot, timestamp',
      'DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE has fewer than 8 characters',
    ]);
    expect(JSON.stringify(found)).not.toMatch(/secret|not looked at/);
  });
});

describe('the trust server', () => {
  let server: Server;
  let url: string;
  let authority: string;
  /** What its clock says. */
  let date = () => new Date();

  beforeAll(async () => {
    const ca = await createAuthority(home.path, 'ca');
    const leaf = await ca.issue('localhost', { extendedKeyUsage: ['serverAuth'] });
    authority = ca.certFile;
    server = createServer(
      { cert: await readFile(leaf.certFile), key: await readFile(leaf.keyFile) },
      (_request, response) => response.writeHead(401, { date: date().toUTCString() }).end(),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `https://localhost:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => void server.close());

  const about = async (env: Readonly<Record<string, string>>) => {
    const { found } = await findings(env);
    return found.filter(({ check }) => check === 'trust server' || check === 'clock');
  };

  it('is a problem while its authority is unknown, with the command that mends it', async () => {
    expect(await about({ DOCKER_CONTENT_TRUST_SERVER: url })).toEqual([
      {
        check: 'trust server',
        state: 'problem',
        text: `the certificate of ${url} is signed by an unknown authority`,
        remedy: `cp CA.crt ~/.docker/tls/${new URL(url).host}/, or set remote_server.root_ca for notary`,
      },
    ]);
  });

  it('is fine with the authority where docker has it, and tells the time', async () => {
    const directory = join(home.path, '.docker', 'tls', new URL(url).host);
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, 'ca.crt'), await readFile(authority));
    const found = await about({ DOCKER_CONTENT_TRUST_SERVER: url });
    expect(found.map(({ text }) => text)).toEqual([
      `${url} (DOCKER_CONTENT_TRUST_SERVER) answers with status 401`,
      expect.stringMatching(/^(its certificate is valid for|the certificate of .* ends in) \d+ days$/),
      `the clock agrees with ${url}`,
    ]);
    date = () => new Date(Date.now() - 3_600_000);
    const late = await about({ DOCKER_CONTENT_TRUST_SERVER: url });
    expect(late.at(-1)).toMatchObject({ check: 'clock', state: 'problem' });
    expect(late.at(-1)?.text).toMatch(/^the clock is 3\d\d\d s ahead of that of https:/);
  });

  it("is that of notary's configuration where Docker names none", async () => {
    await mkdir(join(home.path, '.notary'), { mode: 0o700 });
    const config = { remote_server: { url, root_ca: authority } };
    await writeFile(join(home.path, '.notary', 'config.json'), JSON.stringify(config));
    expect((await about({}))[0]?.text).toBe(
      `${url} (${join(home.path, '.notary', 'config.json')}) answers with status 401`,
    );
  });

  it('that nobody runs, and a URL that is none, are problems', async () => {
    const dead = `https://localhost:${await freePort()}`;
    expect((await about({ DOCKER_CONTENT_TRUST_SERVER: dead }))[0]).toMatchObject({
      state: 'problem',
      text: `${dead} (DOCKER_CONTENT_TRUST_SERVER): nobody listens there`,
    });
    expect((await about({ DOCKER_CONTENT_TRUST_SERVER: 'notary' }))[0]).toMatchObject({
      state: 'problem',
      text: 'the trust server "notary" of DOCKER_CONTENT_TRUST_SERVER is not an https URL',
    });
  });
});
