/** Every kind of root key under a published collection, and what remains when no collection comes of it. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openssl } from '../support/certificates.ts';
import { type CollectionHome, collectionHome } from '../support/collection-home.ts';
import { startProgram } from '../support/processes.ts';
import { Resources } from '../support/resources.ts';
import { SOFTHSM_MODULE, softHsm } from '../support/softhsm.ts';
import { FACTORY_PIN } from '../support/virtual-yubikey/card/settings.ts';
import { yubikeyUri } from '../support/virtual-yubikey/library.ts';
import { startVirtualYubikeys, type VirtualYubikeys } from '../support/virtual-yubikey/virtual-yubikeys.ts';

const SIGNETD = fileURLToPath(new URL('../../bin/signetd', import.meta.url));

/** Keys in files, by ID. */
async function keyFiles(home: CollectionHome): Promise<readonly string[]> {
  return (await readdir(join(home.trustDir, 'private')).catch(() => [])).filter((name) => name.endsWith('.key')).sort();
}

/** Publishes a target, which others then read; notary publishes another one on top. */
async function expectUsable(home: CollectionHome, gun: string): Promise<void> {
  expect(await home.signet('add', '-p', gun, 'v1', 'hello.txt')).toMatchObject({ ending: 0 });
  const reader = await home.reader(gun.replaceAll('/', '-'));
  expect(await reader.succeeds('lookup', gun, 'v1')).toMatch(/^v1 sha256:[0-9a-f]{64} 6\n$/);
  expect(await home.notary('add', '-p', gun, 'v2', 'hello.txt')).toMatchObject({ ending: 0 });
  expect((await home.signet('lookup', gun, 'v2')).stdout).toBe(await reader.succeeds('lookup', gun, 'v2'));
  const inspected = await home.docker('trust', 'inspect', gun);
  expect(JSON.parse(inspected.stdout)).toMatchObject([{ SignedTags: [{ SignedTag: 'v1' }, { SignedTag: 'v2' }] }]);
}

describe('with root keys in files', () => {
  let home: CollectionHome;
  beforeAll(async () => {
    home = await collectionHome();
    await writeFile(join(home.path, 'hello.txt'), 'hello\n');
  });
  afterAll(async () => {
    await home[Symbol.asyncDispose]();
  });

  it.each([
    ['p-256', ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256']],
    ['p-384', ['ec', '-pkeyopt', 'ec_paramgen_curve:P-384']],
    ['rsa-3072', ['rsa', '-pkeyopt', 'rsa_keygen_bits:3072']],
  ])('an imported key of kind %s roots a collection', async (name, algorithm) => {
    const file = join(home.path, `${name}.pem`);
    await openssl(['genpkey', '-algorithm', ...algorithm, '-out', file]);
    const imported = await home.signet('key', 'import', file, '--role', 'root');
    const keyId = /Imported ([0-9a-f]{64})/.exec(imported.stdout)?.[1] ?? imported.stderr;
    const gun = `example.com/${name}`;
    const { ending, stdout } = await home.signet('init', '-p', '--root-key', keyId.slice(0, 12), gun);
    expect({ ending, first: stdout.split('\n')[0] }).toEqual({ ending: 0, first: `Root key found, using: ${keyId}` });
    await expectUsable(home, gun);
  });

  it('several keys are a question, not a choice', async () => {
    const before = await keyFiles(home);
    const { ending, stdout, stderr } = await home.signet('init', '-p', 'example.com/several');
    expect({ ending, stdout }).toEqual({ ending: 2, stdout: '' });
    expect(stderr).toMatch(
      /^signet: there are 3 root keys that could be meant\nsignet: hint: name one with --root-key: /,
    );
    expect(await keyFiles(home)).toEqual(before);
  });

  it('a certificate that was made elsewhere is used as it is', async () => {
    const gun = 'example.com/certified';
    const subject = `/CN=${gun.replaceAll('/', '\\/')}`;
    const certificate = ['req', '-x509', '-key', join(home.path, 'p-256.pem'), '-subj', subject, '-days', '3000'];
    const leaf = ['-addext', 'basicConstraints=critical,CA:FALSE', '-out', join(home.path, 'root.crt')];
    await openssl([...certificate, ...leaf]);
    expect(await home.signet('init', '-p', '--root-cert', 'root.crt', gun)).toMatchObject({ ending: 0 });
    const root = JSON.parse(await home.server.metadata(gun, 'root.json')) as {
      signed: { keys: Record<string, { keytype: string; keyval: { public: string } }> };
    };
    const published = Object.values(root.signed.keys).find(({ keytype }) => keytype === 'ecdsa-x509');
    expect(Buffer.from(published?.keyval.public ?? '', 'base64').toString()).toBe(
      await readFile(join(home.path, 'root.crt'), 'utf8'),
    );
    await expectUsable(home, gun);
  });

  it('a certificate that clients would refuse is refused', async () => {
    const before = await keyFiles(home);
    const { ending, stderr } = await home.signet('init', '-p', '--root-cert', 'root.crt', 'example.com/other');
    expect(ending).toBe(2);
    expect(stderr).toContain('clients will not take this certificate for example.com/other');
    expect(await keyFiles(home)).toEqual(before);
  });

  it('the snapshot key may be left to the server', async () => {
    const gun = 'example.com/docker-style';
    const before = await keyFiles(home);
    const result = await home.signet('init', '-p', '--server-snapshot', '--root-cert', 'root.crt', gun);
    expect(result.ending).toBe(2); // the certificate is for another collection, and nothing was made
    const [keyId = ''] = /[0-9a-f]{64}/.exec((await home.signet('key', 'list')).stdout) ?? [];
    expect(await home.signet('init', '-p', '--server-snapshot', '--root-key', keyId, gun)).toMatchObject({ ending: 0 });
    expect(await keyFiles(home)).toHaveLength(before.length + 1);
    await expectUsable(home, gun);
  });
});

describe('without a collection in the end', () => {
  let home: CollectionHome;
  beforeAll(async () => {
    home = await collectionHome();
  });
  afterAll(async () => {
    await home[Symbol.asyncDispose]();
  });

  it('a server that cannot be reached leaves no key', async () => {
    const { ending, stderr } = await home.signet('init', '-p', '-s', 'https://127.0.0.1:1', 'example.com/app');
    expect(ending).toBe(5);
    expect(stderr).toContain('could not reach https://127.0.0.1:1: nobody listens there (ECONNREFUSED)');
    expect(await keyFiles(home)).toEqual([]);
  });

  it('Ctrl-C at a question leaves no key', async () => {
    const { ending } = await home.commandLine.signetOnTerminal(
      ['init', '-p', 'example.com/interrupted'],
      [
        ['Enter passphrase for new root key', 'correct horse battery\r'],
        ['Repeat passphrase', 'correct horse battery\r'],
        ['Enter passphrase for new targets key', 'correct horse battery\r'],
        ['Repeat passphrase', 'correct horse battery\r'],
        ['Enter passphrase for new snapshot key', '\u0003'],
      ],
    );
    expect(ending).toBe(130);
    expect(await keyFiles(home)).toEqual([]);
    expect(await home.signet('list', 'example.com/interrupted')).toMatchObject({ ending: 6 });
  });

  it('a collection that exists on the server is not replaced', async () => {
    expect(await home.signet('init', '-p', 'example.com/app')).toMatchObject({ ending: 0 });
    const before = await keyFiles(home);
    expect(await home.signet('init', '-p', 'example.com/app')).toMatchObject({
      ending: 2,
      stderr: expect.stringMatching(/^signet: example.com\/app is here already\n/),
    });
    await home.signet('delete', 'example.com/app');
    expect(await home.signet('init', '-p', 'example.com/app')).toMatchObject({
      ending: 2,
      stderr: expect.stringMatching(/has trust data for example.com\/app already\n/),
    });
    expect(await keyFiles(home)).toEqual(before);
  });

  it.each(['../../escape', '/absolute', 'a//b', 'a/./b', 'a/../b', '', 'new\nline', 'star/*'])(
    'the name %j is refused',
    async (gun) => {
      const { ending, stderr } = await home.signet('init', gun);
      expect({ ending, message: stderr.split(': ')[1] }).toEqual({
        ending: 2,
        message: `${JSON.stringify(gun)} is not the name of a collection`,
      });
    },
  );
});

describe('with a root key on a token', () => {
  const resources = new Resources();
  let home: CollectionHome;
  beforeAll(async () => {
    const hsm = resources.use(await softHsm());
    await hsm.createToken('release');
    const uri = `pkcs11:token=release?module-path=${SOFTHSM_MODULE}&pin-source=file:${await hsm.pinFile()}`;
    const config = { agent: {}, tokens: [{ uri }], placement: { root: ['pkcs11', 'storage'] } };
    home = resources.use(await collectionHome({ config, env: hsm.env }));
    await writeFile(join(home.path, 'hello.txt'), 'hello\n');
  });
  afterAll(() => resources[Symbol.asyncDispose]());

  it('it is made there, and signs the certificate and the root', async () => {
    const gun = 'example.com/token';
    const { ending, stderr } = await home.signet('init', '-p', '--require-hardware', gun);
    expect(stderr).toMatch(/^signet: new root key [0-9a-f]{64} in pkcs11:/m);
    expect(stderr).toContain('the root key cannot leave its token');
    expect(ending).toBe(0);
    const roots = (await home.signet('key', 'list')).stdout.split('\n').filter((line) => line.startsWith('root'));
    expect(roots).toEqual([expect.stringContaining('pkcs11:')]);
    await expectUsable(home, gun);
  });

  it('it is used again for the next collection', async () => {
    const { ending, stdout } = await home.signet('init', '-p', 'example.com/second');
    expect({ ending, first: stdout.split('\n')[0] }).toEqual({
      ending: 0,
      first: expect.stringMatching(/^Root key found, using: [0-9a-f]{64}$/),
    });
    await expectUsable(home, 'example.com/second');
  });

  it('it is replaced by a new one on the token', async () => {
    const gun = 'example.com/token';
    const { ending, stderr } = await home.signet('key', 'rotate', gun, 'root', '--yes', '--require-hardware');
    expect({ ending, stderr }).toEqual({
      ending: 0,
      stderr: expect.stringMatching(/the root key is \w{64} in pkcs11:/),
    });
    const reader = await home.reader('example.com-token');
    expect(await reader.succeeds('list', gun)).toContain('v2');
  });
});

describe('with a root key on a YubiKey', () => {
  const resources = new Resources();
  let home: CollectionHome;
  let yubikeys: VirtualYubikeys;
  beforeAll(async () => {
    yubikeys = resources.use(await startVirtualYubikeys({ cards: [{ serial: 12345678 }] }));
    home = resources.use(await collectionHome());
    await writeFile(join(home.path, 'hello.txt'), 'hello\n');
    await writeFile(join(home.path, 'pin'), FACTORY_PIN, { mode: 0o600 });
    const configFile = join(home.path, 'yubikey.json');
    const config = {
      agent: { socket: home.commandLine.socket },
      tokens: [{ uri: yubikeyUri('yubikey:serial=12345678?pin-source=file:pin') }],
      placement: { root: ['yubikey'] },
    };
    await writeFile(configFile, JSON.stringify(config));
    const { command, args } = yubikeys.enter(process.execPath, [SIGNETD, '--config', configFile]);
    const env = { ...home.commandLine.env, ...yubikeys.env };
    resources.use(await startProgram(command, args, { cwd: home.path, env }, { output: /"msg":"ready"/ }));
  });
  afterAll(() => resources[Symbol.asyncDispose]());

  it('it is made in slot 9c, and signs the certificate and the root; no try of the PIN is lost', async () => {
    const gun = 'example.com/yubikey';
    const { ending, stderr } = await home.signet('init', '-p', '--require-hardware', gun);
    expect({ ending, stderr }).toEqual({
      ending: 0,
      stderr: expect.stringMatching(/^signet: new root key [0-9a-f]{64} in pkcs11:token=YubiKey/m),
    });
    expect(await keyFiles(home)).toHaveLength(2);
    await expectUsable(home, gun);
    expect((await yubikeys.card().statistics()).pin.failures).toBe(0);
  });

  it('it is moved there from a file, and clients follow', async () => {
    const gun = 'example.com/moved';
    const [root = ''] = /[0-9a-f]{64}/.exec((await home.notary('key', 'generate', '--role', 'root')).stdout) ?? [];
    expect(await home.signet('init', '-p', '--root-key', root, gun)).toMatchObject({ ending: 0 });
    const reader = await home.reader('example.com-moved');
    await reader.succeeds('list', gun);
    const rotated = await home.signet('key', 'rotate', gun, 'root', '--yes', '--require-hardware');
    expect(rotated).toMatchObject({ ending: 0, stderr: expect.stringContaining(' in pkcs11:token=YubiKey') });
    await expectUsable(home, gun);
  });
});
