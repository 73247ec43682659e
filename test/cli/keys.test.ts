/** What `signet key`, `unlock` and `lock` print, for people and for programs. */
import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keyIdOf } from '../../src/crypto/key-id.ts';
import { publicKeyOf } from '../../src/crypto/public-key.ts';
import { type CommandLineHome, commandLineHome, generatedKeyId } from '../support/cli.ts';
import { runProgram } from '../support/processes.ts';

const GUN = 'example.com/app';
const env = {
  NOTARY_ROOT_PASSPHRASE: 'root-passphrase',
  NOTARY_TARGETS_PASSPHRASE: 'targets-passphrase',
  NOTARY_DELEGATION_PASSPHRASE: 'delegation-passphrase',
};

let home: CommandLineHome;
let root: string;
let targets: string;
let ed25519: string;
const signet = (...args: string[]) => home.signet(args, { env });
const json = async (...args: string[]): Promise<unknown> => JSON.parse((await signet(...args, '--json')).stdout);
const file = (name: string) => join(home.path, name);

beforeAll(async () => {
  home = await commandLineHome();
  root = generatedKeyId(await signet('key', 'generate'));
  targets = generatedKeyId(await signet('key', 'generate', '-r', 'targets', '-g', GUN));
  ed25519 = generatedKeyId(await signet('key', 'generate', 'ed25519', '-r', 'alice'));
  await writeFile(file('message'), 'hello');
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

describe('signet key generate', () => {
  it("says what it made in notary's words, and where it is on stderr", async () => {
    const result = await signet('key', 'generate', 'ECDSA', '-d', 'other');
    expect(result.stdout).toMatch(/^Generated new ecdsa root key with keyID: [0-9a-f]{64}\n$/);
    expect(result.stderr).toBe(`signet: the key is in ${file('other/private')}/${generatedKeyId(result)}.key\n`);
  });

  it('tells programs as JSON', async () => {
    expect(await json('key', 'generate', '-d', 'other', '--role', 'bob', '--curve', 'P-384')).toMatchObject({
      role: 'bob',
      gun: '',
      backend: 'file',
      needs: ['passphrase'],
      lastUsed: null,
      publicKey: { algorithm: 'ecdsa' },
      device: null,
    });
  });

  it('says that a targets key without a collection is of no use yet', async () => {
    expect((await signet('key', 'generate', '-d', 'other', '--role', 'targets')).stderr).toContain(
      'signet: a targets key belongs to one trusted collection: name it with --gun, or later with key rename-role\n',
    );
  });

  it('refuses a home that is no token where hardware is required, and makes nothing', async () => {
    const result = await signet('key', 'generate', '-d', 'hardware', '--require-hardware');
    expect(result).toMatchObject({ ending: 5, stdout: '' });
    expect(result.stderr).toContain('signet: no token is configured for keys of role "root", only: file\n');
    expect((await signet('key', 'list', '-d', 'hardware')).stdout).toBe('No signing keys found.\n');
  });
});

describe('signet key sign', () => {
  const signature = async (keyId: string, ...args: string[]) => {
    await signet('key', 'sign', keyId, '--in', 'message', '-o', 'signature', '--force', ...args);
    return await readFile(file('signature'));
  };

  it('writes base64 with a line break, the same bytes as they are, or DER', async () => {
    expect((await signature(root)).toString()).toMatch(/^[A-Za-z0-9+/]{86}==\n$/);
    expect(await signature(root, '--format', 'raw')).toHaveLength(64);
    const der = await signature(root, '--format', 'der');
    const pem = (await signet('key', 'public', root)).stdout;
    expect(verify('sha256', Buffer.from('hello'), createPublicKey(pem), der)).toBe(true);
    expect((await stat(file('signature'))).mode & 0o777).toBe(0o600);
  });

  it('signs the standard input', async () => {
    const { stdout } = await home.signet(['key', 'sign', ed25519], { env, input: 'hello' });
    const key = createPublicKey((await signet('key', 'public', ed25519)).stdout);
    expect(verify(null, Buffer.from('hello'), key, Buffer.from(stdout, 'base64'))).toBe(true);
  });

  it('tells programs the algorithm', async () => {
    expect(await json('key', 'sign', ed25519, '--in', 'message')).toMatchObject({
      keyId: ed25519,
      algorithm: 'ed25519',
      format: 'base64',
    });
  });

  it('refuses a message for ed25519 that is too long for one request', async () => {
    await writeFile(file('large'), Buffer.alloc(4 * 1024 * 1024));
    expect(await signet('key', 'sign', ed25519, '--in', 'large')).toEqual({
      ending: 1,
      stdout: '',
      stderr:
        'signet: an ed25519 key signs at most 3 MiB here\n' +
        'signet: hint: use an ecdsa or rsa key, or sign the digest of the file\n',
    });
  });
});

describe('signet key verify', () => {
  it.each([['base64'], ['raw'], ['der']])('takes a signature in the form %s, named or not', async (format) => {
    await signet('key', 'sign', root, '--in', 'message', '--format', format, '-o', `sig-${format}`);
    const verifyIt = ['key', 'verify', root, '--signature', `sig-${format}`, '--in', 'message'];
    expect(await signet(...verifyIt)).toMatchObject({ ending: 0, stdout: 'The signature is valid.\n' });
    expect(await signet(...verifyIt, '--format', format)).toMatchObject({ ending: 0 });
    expect(await json(...verifyIt)).toEqual({ valid: true, algorithm: 'ecdsa' });
  });

  it('needs no daemon for a public key in a file', async () => {
    await signet('key', 'public', root, '-o', 'root.pub');
    await signet('key', 'sign', root, '--in', 'message', '-o', 'for-file');
    const args = [
      '--socket',
      '/nowhere/s',
      'key',
      'verify',
      '--public',
      'root.pub',
      '-s',
      'for-file',
      '--in',
      'message',
    ];
    expect(await signet(...args)).toEqual({ ending: 0, stdout: 'The signature is valid.\n', stderr: '' });
  });

  it.each([
    [[], 'name either a key ID, or a public key with --public'],
    [['0'.repeat(64), '--public', 'root.pub'], 'name either a key ID, or a public key with --public'],
    [['--public', 'root.pub'], 'no signature given'],
    [['--public', 'message', '-s', 'message'], 'message: the file is no key file of a known kind'],
  ])('refuses %j', async (args, message) => {
    const result = await signet('key', 'verify', ...args);
    expect(result).toMatchObject({ ending: 2, stdout: '' });
    expect(result.stderr.split('\n')[0]).toBe(`signet: ${message}`);
  });
});

it('signet key verify looks at its arguments before it asks for a passphrase', async () => {
  await signet('lock');
  const result = await home.signet(['key', 'verify', root]);
  expect(result).toMatchObject({ ending: 2, stderr: expect.stringContaining('no signature given') });
});

describe('signet key public', () => {
  it('writes PEM that OpenSSL reads, SPKI, JWK, a line for OpenSSH, and the key object of TUF', async () => {
    const pem = (await signet('key', 'public', root)).stdout;
    const spki = createPublicKey(pem).export({ format: 'der', type: 'spki' });
    expect(
      (await runProgram('openssl', ['pkey', '-pubin', '-noout', '-text'], { env: home.env, input: pem })).stdout,
    ).toContain('NIST CURVE: P-256');
    await signet('key', 'public', root, '--format', 'spki', '-o', 'spki');
    expect(await readFile(file('spki'))).toEqual(spki);
    const jwk = JSON.parse((await signet('key', 'public', root, '--format', 'jwk')).stdout) as object;
    expect(createPublicKey({ key: jwk as never, format: 'jwk' }).export({ format: 'der', type: 'spki' })).toEqual(spki);
    expect((await signet('key', 'public', root, '--format', 'openssh')).stdout).toMatch(
      new RegExp(`^ecdsa-sha2-nistp256 \\S+ ${root}\\n$`),
    );
    expect(JSON.parse((await signet('key', 'public', root, '--format', 'notary')).stdout)).toEqual({
      keytype: 'ecdsa',
      keyval: { private: null, public: spki.toString('base64') },
    });
  });
});

describe('signet key export', () => {
  it('writes the keys of one collection, several keys, or all, to stdout or a file', async () => {
    const blocks = async (...args: string[]) =>
      [...(await signet('key', 'export', ...args)).stdout.matchAll(/^path: ([0-9a-f]{64})$/gm)].map(([, id]) => id);
    expect(await blocks('--gun', GUN)).toEqual([targets]);
    expect(await blocks('--key', `${root},${ed25519}`)).toEqual([root, ed25519]);
    expect(await blocks('-k', root.slice(0, 10), '-k', targets.slice(0, 10))).toEqual([root, targets]);
    expect((await blocks()).toSorted()).toEqual([root, targets, ed25519].toSorted());
    expect(await signet('key', 'export', '-o', 'all.pem')).toEqual({
      ending: 0,
      stdout: '',
      stderr: 'signet: 3 keys exported to all.pem\n',
    });
    expect((await stat(file('all.pem'))).mode & 0o777).toBe(0o600);
  });

  it('seals a key that had no passphrase under one that the user chooses, and else writes nothing', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const keyId = keyIdOf(publicKeyOf(publicKey));
    const pem = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
    await mkdir(file('plain/private'), { recursive: true, mode: 0o700 });
    await writeFile(file(`plain/private/${keyId}.key`), pem.replace('\n', '\nrole: alice\n\n'), { mode: 0o600 });
    const toFile = ['key', 'export', '-d', 'plain', '-o', 'sealed.pem'];
    expect(await home.signet(toFile)).toMatchObject({
      ending: 4,
      stderr: expect.stringContaining('a passphrase for the new alice key'),
    });
    expect(await readdir(home.path)).not.toContain('sealed.pem');
    expect(await signet(...toFile)).toMatchObject({ ending: 0, stderr: 'signet: one key exported to sealed.pem\n' });
    expect(await readFile(file('sealed.pem'), 'utf8')).toContain('BEGIN ENCRYPTED PRIVATE KEY');
    expect(await signet('key', 'import', '-d', 'again', 'sealed.pem')).toMatchObject({
      ending: 0,
      stdout: `Imported ${keyId} (alice key)\n`,
    });
  });

  it('of nothing is an error', async () => {
    expect(await signet('key', 'export', '--gun', 'example.com/none')).toMatchObject({ ending: 3, stdout: '' });
    expect(await signet('key', 'export', '-d', 'nothing')).toMatchObject({ ending: 3, stdout: '' });
    expect(await signet('key', 'export', '--gun', GUN, '--key', root)).toMatchObject({ ending: 2, stdout: '' });
  });
});

describe('signet unlock and lock', () => {
  const isUnlocked = async (keyId: string) =>
    (await home.signet(['key', 'sign', keyId, '--in', 'message'])).ending === 0;

  it('open keys for a time, and close them', async () => {
    await signet('lock');
    expect(await isUnlocked(root)).toBe(false);
    expect(await signet('unlock', root, '--for', '30m')).toEqual({
      ending: 0,
      stdout: `Unlocked ${root} (root key)\n`,
      stderr: '',
    });
    expect(await isUnlocked(root)).toBe(true);
    expect(await signet('lock', root.slice(0, 9))).toMatchObject({ ending: 0, stdout: 'Locked one key\n' });
    expect(await isUnlocked(root)).toBe(false);
  });

  it('forget a key when its time is over', async () => {
    await signet('unlock', root, '--for', '1s');
    await expect.poll(() => isUnlocked(root), { timeout: 20_000 }).toBe(false);
  });

  it('open all keys', async () => {
    await signet('lock');
    expect((await signet('unlock', '--all')).stdout.trimEnd().split('\n')).toEqual([
      `Unlocked ${root} (root key)`,
      `Unlocked ${ed25519} (alice key)`,
      `Unlocked ${targets} (targets key of ${GUN})`,
    ]);
    expect(await json('lock')).toEqual({ locked: 3 });
  });

  it.each([
    [['unlock'], 'no key ID given'],
    [['unlock', '--all', 'abcd'], 'either key IDs or --all, not both'],
    [['unlock', '--all', '--for', 'a while'], '--for cannot be "a while"'],
    [['key', 'remember'], 'name either a key ID, or a token with --token or --serial'],
    [['key', 'forget', 'abcd', '--serial', '1'], 'name either a key ID, or a token with --token or --serial'],
    [['key', 'forget', 'abcd', '--token', 'ci'], 'name either a key ID, or a token with --token or --serial'],
  ])('refuse %j', async (args, message) => {
    const result = await signet(...args);
    expect(result).toMatchObject({ ending: 2, stdout: '' });
    expect(result.stderr.split('\n')[0]).toBe(`signet: ${message}`);
  });

  it('refuse a wrong passphrase once, where nobody typed it', async () => {
    await signet('lock');
    expect(await home.signet(['unlock', root], { env: { NOTARY_ROOT_PASSPHRASE: 'wrong' } })).toEqual({
      ending: 4,
      stdout: '',
      stderr: `signet: the passphrase from NOTARY_ROOT_PASSPHRASE does not open root key with ID ${root.slice(0, 7)}\n`,
    });
  });
});

describe("the operating system's keyring", () => {
  it('is named as missing where there is none', async () => {
    for (const verb of ['remember', 'forget']) {
      const result = await signet('key', verb, root);
      expect(result).toMatchObject({ ending: 5, stdout: '' });
      expect(result.stderr).toMatch(/^signet: the system's keyring cannot be used: .*\nsignet: hint: .*\n$/);
    }
  });
});
