import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NO_CLIENT_CONFIG, readClientConfig } from '../../../src/repository/client-config.ts';
import { chooseServer } from '../../../src/repository/server-choice.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/temp.ts';

let home: TemporaryDirectory;
let env: NodeJS.ProcessEnv;
beforeEach(async () => {
  home = await temporaryDirectory();
  env = { HOME: home.path };
});
afterEach(() => home[Symbol.asyncDispose]());

async function config(content: unknown) {
  const path = join(home.path, 'client.json');
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
  return await readClientConfig(path, env);
}

describe("the notary program's configuration", () => {
  it('may be missing where notary looks for it, but not where it is named', async () => {
    expect(await readClientConfig(undefined, env)).toEqual(NO_CLIENT_CONFIG);
    await expect(readClientConfig(join(home.path, 'missing.json'), env)).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: expect.stringMatching(/^error opening config file: .*missing\.json \(ENOENT\)$/),
    });
  });

  it('is found where notary looks for it', async () => {
    await mkdir(join(home.path, '.notary'));
    await writeFile(join(home.path, '.notary', 'config.json'), '{"remote_server":{"url":"https://trust.example.com"}}');
    expect(await readClientConfig(undefined, env)).toMatchObject({ url: 'https://trust.example.com' });
  });

  it('has paths beside the file, under HOME, or absolute', async () => {
    const read = await config({
      trust_dir: '~/.docker/trust',
      remote_server: { root_ca: 'certs/ca.crt', tls_client_cert: '/a/c.crt', tls_client_key: '../k.key' },
    });
    expect(read).toMatchObject({
      trustDir: join(home.path, '.docker', 'trust'),
      rootCa: join(home.path, 'certs', 'ca.crt'),
      tlsClientCert: '/a/c.crt',
      tlsClientKey: join(home.path, '..', 'k.key'),
      skipTlsVerify: false,
    });
  });

  it('keeps the capitals of names in pins', async () => {
    await writeFile(join(home.path, 'ca.crt'), 'anchors');
    const { pinning } = await config({
      trust_pinning: { certs: { 'pin/App': ['ab'], 'pin/*': ['cd'] }, ca: { Team: 'ca.crt' }, disable_tofu: true },
    });
    expect(pinning).toEqual({
      certs: new Map([
        ['pin/App', ['ab']],
        ['pin/*', ['cd']],
      ]),
      ca: new Map([['Team', Buffer.from('anchors')]]),
      disableTofu: true,
    });
  });

  it("caps how long metadata is valid in a section of signet's own", async () => {
    expect((await config({})).maxExpiryDays).toEqual({ Root: 3650, Targets: 1095, Snapshot: 1095, Timestamp: 14 });
    const { maxExpiryDays } = await config({ signet: { max_expiry: { root: '730d', snapshot: '36500d' } } });
    expect(maxExpiryDays).toEqual({ Root: 730, Targets: 1095, Snapshot: 36_500, Timestamp: 14 });
  });

  it.each([['0d'], ['36501d'], ['1y'], ['-1d'], ['1.5d'], [' 1d']])(
    'refuses the cap %j, which is not a number of days',
    async (root) => {
      await expect(config({ signet: { max_expiry: { root } } })).rejects.toMatchObject({
        code: 'CONFIGURATION',
        message: 'signet.max_expiry.root is not a number of days',
        hint: 'write 1d to 36500d',
      });
    },
  );

  it.each([
    ['{bad', /^malformed .*client\.json: /],
    ['[]', /the file is not an object$/],
    [{ trust_pinning: { certs: { 'pin/App': 'ab' } } }, /^invalid format for trust_pinning\.certs$/],
    [{ trust_pinning: { certs: { 'pin/App': [1] } } }, /^invalid format for trust_pinning\.certs$/],
    [{ trust_pinning: { ca: { pin: 'missing.crt' } } }, /^trust_pinning\.ca: cannot read missing\.crt$/],
    [{ trust_pinning: { disable_tofu: 'yes' } }, /has no boolean disable_tofu$/],
    [{ signet: { max_expiry: { root: 365 } } }, /max_expiry\.root is not a string$/],
    [{ signet: { max_expiry: { target: '90d' } } }, /^max_expiry has an unknown member "target"$/],
    [{ signet: { max_expire: { root: '90d' } } }, /^signet has an unknown member "max_expire"$/],
    [{ remote_server: { url: 3 } }, /remote_server\.url is not a string$/],
  ])('%j is refused', async (content, message) => {
    await expect(config(content)).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: expect.stringMatching(message),
    });
  });
});

describe('the trust server', () => {
  const systemFile = () => join(home.path, 'system.pem');
  beforeEach(async () => {
    await writeFile(systemFile(), 'system');
  });

  const choose = async (flags: Parameters<typeof chooseServer>[0], url?: string, docker?: string) =>
    await chooseServer(
      flags,
      { ...NO_CLIENT_CONFIG, ...(url !== undefined && { url }) },
      {
        ...env,
        SSL_CERT_FILE: systemFile(),
        ...(docker !== undefined && { DOCKER_CONTENT_TRUST_SERVER: docker }),
      },
    );

  it('is that of the command line, a named configuration, Docker, or the default configuration', async () => {
    const [flag, file, docker] = ['https://flag', 'https://file', 'https://docker'] as const;
    expect(await choose({ server: flag, isConfigNamed: true }, file, docker)).toMatchObject({ origin: '--server' });
    expect(await choose({ isConfigNamed: true }, file, docker)).toMatchObject({ origin: 'remote_server.url' });
    expect(await choose({}, file, docker)).toMatchObject({ origin: 'DOCKER_CONTENT_TRUST_SERVER' });
    expect(await choose({}, file)).toMatchObject({ origin: 'remote_server.url' });
    await expect(choose({})).rejects.toMatchObject({ code: 'CONFIGURATION', message: 'no trust server is named' });
  });

  it.each([
    ['ftp', 'trust server url has to be in the form of http(s)://URL:PORT. Got: ftp'],
    ['localhost:4443', 'trust server url has to be in the form of http(s)://URL:PORT. Got: localhost:4443'],
  ])('cannot be %s', async (server, message) => {
    await expect(choose({ server })).rejects.toMatchObject({ code: 'CONFIGURATION', message });
  });

  it("of Docker's variable has TLS, as for docker", async () => {
    await expect(choose({}, undefined, 'http://docker')).rejects.toMatchObject({
      message: 'valid https URL required for trust server, got http://docker',
    });
  });

  it('is known by the authorities that the system trusts, as for notary and docker', async () => {
    const { tls } = await choose({ server: 'https://server' });
    expect(tls.ca).toEqual(['system']);
    await rm(systemFile());
    await expect(choose({ server: 'https://server' })).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `unable to configure TLS: cannot read ${systemFile()} (ENOENT)`,
    });
  });

  it("is known by the files in Docker's directory for it, too", async () => {
    const directory = join(home.path, '.docker', 'tls', 'docker:4443');
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, 'any.crt'), 'authority');
    await writeFile(join(directory, 'me.cert'), 'certificate');
    await expect(choose({}, undefined, 'https://docker:4443')).rejects.toMatchObject({
      message: expect.stringContaining('missing key me.key for client certificate me.cert'),
    });
    await writeFile(join(directory, 'me.key'), 'key');
    const { tls } = await choose({}, undefined, 'https://docker:4443');
    expect(tls).toEqual({ ca: ['system', 'authority'], cert: 'certificate', key: 'key', skipVerify: false });
  });

  it('is known by the named authority alone', async () => {
    await writeFile(join(home.path, 'only.crt'), 'only');
    const { tls } = await choose({ server: 'https://server', tlsCaCert: join(home.path, 'only.crt') });
    expect(tls.ca).toEqual(['only']);
  });

  it('takes a client certificate with its key, or neither', async () => {
    await expect(choose({ server: 'https://server', tlsCert: 'c.crt' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'either pass both client key and cert, or neither',
    });
  });
});
