import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { KDF_ITERATIONS, openKeyPem, readKeyPem, sealKeyPem } from '../../../src/crypto/key-pem.ts';
import { formatPem, parsePem } from '../../../src/crypto/pem.ts';
import { openPkcs8, parseSealedPkcs8 } from '../../../src/crypto/pkcs8.ts';
import { toKeyObject, verifySignature } from '../../../src/crypto/public-key.ts';
import { Secret } from '../../../src/crypto/secret.ts';

const vectors = new URL('../../vectors/key-formats/', import.meta.url);
const file = (name: string) => readFileSync(new URL(name, vectors));
const open = async (name: string, passphrase?: string) =>
  openKeyPem(readKeyPem(file(name)), passphrase === undefined ? undefined : Secret.fromText(passphrase));

const EC_ID = '5b2a2ad7dcd3f82ca3024dd25bc371801a830cf9480f94f7efc588b596ba2122';
const RSA_ID = '3f043f4b23d8458386d456e3adaaf362312522e01554653466e5143b4dd2a38f';

/** IDs as Notary's own parser gave them, with the passphrase for sealed files and without for others. */
const READ_BY_NOTARY = {
  'crlf.pem': EC_ID,
  'ed25519-notary-enc.pem': '2f6019432c8dcff0d3b9a67a5d53f60ec0ad10b3ee8d7a8984ee210140a487e5',
  'ed25519-notary-plain.pem': '5ecd3701b8a2f6102a2d8680958bd9933ebe3af5819212aa68e518bfe65b0893',
  'leading-text.pem': EC_ID,
  'legacy-ed25519-plain.pem': '169eb4b78ce70ec59e0f5f7fb3720eb2c22267953262b34f8e17b77ff57d115b',
  'p8-aes256-sha1.pem': EC_ID,
  'p8-aes256-sha1-100k.pem': EC_ID,
  'p8-plain.pem': EC_ID,
  'pkcs1-aes256.pem': RSA_ID,
  'pkcs1-plain.pem': RSA_ID,
  'sec1-aes128.pem': EC_ID,
  'sec1-aes192.pem': EC_ID,
  'sec1-aes256.pem': EC_ID,
  'sec1-des3.pem': EC_ID,
  'sec1-plain.pem': EC_ID,
};

/** Refused by Notary, or not tried with it. */
const READ_BY_US_TOO = {
  'ed25519-rfc8410.pem': 'e04f2ac37ffdfd4ecdb611eb72c5ed254161764013eac2ed179763154bedd04f',
  'p8-aes128-sha1.pem': EC_ID,
  'p8-compressed-point.pem': EC_ID,
  'p8-default-openssl3.pem': EC_ID,
  'p8-des3.pem': EC_ID,
  'p8-scrypt.pem': EC_ID,
  'sec1-des.pem': EC_ID,
};

const REFUSED = {
  'legacy-ed25519-64.pem': ['INTEGRITY', 'malformed Ed25519 private key: 64 bytes instead of 96'],
  'p8-ed448.pem': ['UNSUPPORTED', 'private keys with the algorithm identifier 1.3.101.113 are not supported'],
  'p8-explicit-curve.pem': ['UNSUPPORTED', 'EC keys with explicit curve parameters are not supported'],
  'p8-pbe1.pem': ['UNSUPPORTED', 'encrypted private key: PBES1 encryption 1.2.840.113549.1.12.1.3 is not supported'],
  'p8-rsa-pss.pem': [
    'UNSUPPORTED',
    'private keys with the algorithm identifier 1.2.840.113549.1.1.10 are not supported',
  ],
  'p8-secp256k1.pem': ['UNSUPPORTED', 'EC keys on the curve 1.3.132.0.10 are not supported'],
  'pkcs1-rsa512.pem': ['UNSUPPORTED', 'RSA keys of 512 bits are not supported'],
  'pkcs1-three-primes.pem': ['UNSUPPORTED', 'RSA keys with more than two primes are not supported'],
} as const;

/** Made with `openssl`, IDs compared with OpenSSL's public key in the test. */
const READ_LIKE_OPENSSL = ['p8-p224.pem', 'p8-p384.pem', 'p8-p521.pem', 'pkcs1-rsa1024.pem'];

const SEALED = readdirSync(vectors).filter((name) => /-(enc|aes|des|scrypt|default)/.test(name));

function publicKeyByOpenssl(pem: string, passphrase?: string): Buffer {
  const passin = passphrase === undefined ? [] : ['-passin', `pass:${passphrase}`];
  const { status, stdout, stderr } = spawnSync('openssl', ['pkey', ...passin, '-pubout', '-outform', 'DER'], {
    input: pem,
  });
  expect(stderr.toString()).toBe('');
  expect(status).toBe(0);
  return stdout;
}

describe('the vectors', () => {
  it('are all covered', () => {
    const covered = [READ_BY_NOTARY, READ_BY_US_TOO, REFUSED].flatMap((table) => Object.keys(table));
    const names = readdirSync(vectors).filter((name) => name.endsWith('.pem'));
    expect([...covered, ...READ_LIKE_OPENSSL].toSorted()).toEqual(names.toSorted());
  });

  it.each([...Object.entries(READ_BY_NOTARY), ...Object.entries(READ_BY_US_TOO)])(
    '%s opens as key %s',
    async (name, keyId) => {
      const key = await open(name, 'passw0rd1');
      expect(key.keyId).toBe(keyId);
      const message = Buffer.from(name);
      expect(verifySignature(key.publicKey, message, await key.sign({ message }))).toBe(true);
    },
  );

  it.each(READ_LIKE_OPENSSL)('%s is the key that OpenSSL reads', async (name) => {
    const key = await open(name);
    expect(Buffer.compare(publicKeyByOpenssl(file(name).toString()), key.publicKey.bytes)).toBe(0);
  });

  it.each(Object.entries(REFUSED))('%s is refused: %j', async (name, [code, message]) => {
    await expect(open(name, 'passw0rd1')).rejects.toMatchObject({ code, message });
  });

  it.each(SEALED)('%s needs a passphrase, and the right one', async (name) => {
    expect(readKeyPem(file(name)).sealed).toBe(true);
    await expect(open(name)).rejects.toMatchObject({
      code: 'PASSPHRASE_REQUIRED',
      message: 'the private key is sealed under a passphrase',
    });
    await expect(open(name, 'passw0rd2')).rejects.toMatchObject({
      code: 'PASSPHRASE_INCORRECT',
      message: 'the passphrase does not open the private key',
    });
  });

  it.each(['p8-plain.pem', 'sec1-plain.pem', 'pkcs1-plain.pem', 'legacy-ed25519-plain.pem'])(
    '%s is not sealed and ignores passphrases',
    async (name) => {
      expect(readKeyPem(file(name)).sealed).toBe(false);
      expect((await open(name)).keyId).toBe((await open(name, 'anything')).keyId);
    },
  );

  it('show a damaged file before anyone is asked for a passphrase', async () => {
    await expect(open('p8-pbe1.pem')).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  });
});

describe("notary's key stores", () => {
  const passphrases = new Map(
    ['root', 'targets', 'snapshot', 'delegation'].map((role) => [role, `vector-${role}-pass`] as const),
  );
  const keys = readdirSync(vectors, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.key'));

  it('are all here', () => {
    expect(keys).toHaveLength(14);
  });

  it.each(keys)('%s holds the key of its name, which we would write the same', async (name) => {
    const pem = readKeyPem(file(name));
    const passphrase = passphrases.get(pem.role) ?? 'vector-delegation-pass';
    const key = await openKeyPem(pem, Secret.fromText(passphrase));
    const pkcs8 = await openPkcs8(parseSealedPkcs8(pem.block.bytes), Buffer.from(passphrase));
    expect(key.toPkcs8()).toEqual(pkcs8);
    expect(`${key.keyId}.key`).toBe(name.split('/').at(-1));
    expect(pem.gun !== '').toBe(['targets', 'snapshot', 'timestamp'].includes(pem.role));
  });

  it('are rewritten in the same form', async () => {
    const name = keys[0] ?? '';
    const { type, headers, bytes } = readKeyPem(file(name)).block;
    expect(formatPem({ type, headers, bytes })).toBe(file(name).toString());
  });
});

describe('sealKeyPem', () => {
  const owner = { role: 'targets', gun: 'registry.example.com:5000/team/app' };
  const passphrase = () => Secret.fromText('correct horse');

  it.each(['p8-plain.pem', 'p8-p224.pem', 'p8-p384.pem', 'p8-p521.pem', 'pkcs1-plain.pem', 'ed25519-notary-plain.pem'])(
    'seals %s so that it opens again',
    async (name) => {
      const key = await open(name);
      const pem = readKeyPem(Buffer.from(await sealKeyPem(key, owner, passphrase(), 1000)));
      expect(pem).toMatchObject({ ...owner, sealed: true });
      expect((await openKeyPem(pem, passphrase())).toPkcs8()).toEqual(key.toPkcs8());
      await expect(openKeyPem(pem, Secret.fromText('wrong horse'))).rejects.toMatchObject({
        code: 'PASSPHRASE_INCORRECT',
      });
    },
  );

  it.each(['p8-plain.pem', 'p8-p384.pem', 'pkcs1-plain.pem'])(
    'seals %s so that OpenSSL reads it once the headers are stripped',
    async (name) => {
      const key = await open(name);
      const block = parsePem(Buffer.from(await sealKeyPem(key, owner, passphrase(), 1000)));
      const stripped = formatPem({ type: block?.type ?? '', headers: {}, bytes: block?.bytes ?? Buffer.of() });
      const spki = toKeyObject(key.publicKey).export({ format: 'der', type: 'spki' });
      expect(publicKeyByOpenssl(stripped, 'correct horse')).toEqual(spki);
    },
  );

  it('writes the headers in order and leaves empty ones out', async () => {
    const key = await open('p8-plain.pem');
    const head = async (names: typeof owner) => (await sealKeyPem(key, names, passphrase(), 1)).split('\n').slice(0, 4);
    const begin = '-----BEGIN ENCRYPTED PRIVATE KEY-----';
    expect(await head(owner)).toEqual([begin, `gun: ${owner.gun}`, 'role: targets', '']);
    expect((await head({ role: 'root', gun: '' })).slice(0, 3)).toEqual([begin, 'role: root', '']);
    expect((await head({ role: '', gun: '' }))[1]).toMatch(/^MI/);
  });

  it('takes 1 300 000 iterations by default of its callers', async () => {
    expect(KDF_ITERATIONS).toBe(1_300_000);
    const text = await sealKeyPem(await open('p8-plain.pem'), owner, passphrase(), KDF_ITERATIONS);
    const sealed = parseSealedPkcs8(readKeyPem(Buffer.from(text)).block.bytes);
    expect(sealed.kdf).toMatchObject({ name: 'pbkdf2', hash: 'sha1', iterations: 1_300_000 });
  });

  it.each([
    [
      'a line end in the role',
      { role: 'root\ngun: evil', gun: '' },
      'PEM header "role" has a control character or outer blank',
    ],
    [
      'a blank behind the gun',
      { role: 'root', gun: 'app ' },
      'PEM header "gun" has a control character or outer blank',
    ],
    ['a long role', { role: 'r'.repeat(4097), gun: '' }, 'role or GUN is longer than 4096 characters'],
  ])('refuses %s', async (_, names, message) => {
    await expect(sealKeyPem(await open('p8-plain.pem'), names, passphrase(), 1)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(message),
    });
  });

  it('refuses an empty passphrase, which notary takes for none', async () => {
    const sealed = sealKeyPem(await open('p8-plain.pem'), owner, Secret.fromText(''), 1);
    await expect(sealed).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: 'the passphrase is empty' });
  });

  it('refuses a key that was disposed of', async () => {
    const key = await open('p8-plain.pem');
    key.dispose();
    await expect(sealKeyPem(key, owner, passphrase(), 1)).rejects.toMatchObject({ code: 'INTERNAL' });
  });
});

describe('readKeyPem', () => {
  it('reads role and gun, both empty if absent', () => {
    expect(readKeyPem(file('ed25519-notary-enc.pem'))).toMatchObject({ role: 'targets', gun: 'g/ed' });
    expect(readKeyPem(file('sec1-plain.pem'))).toMatchObject({ role: '', gun: '' });
  });

  it('takes DEK-Info for encryption only where OpenSSL writes it', () => {
    const headers = { 'Proc-Type': '4,ENCRYPTED', 'DEK-Info': 'AES-256-CBC,00' };
    const text = (type: string) => Buffer.from(formatPem({ type, headers, bytes: Buffer.alloc(16) }));
    expect(readKeyPem(text('EC PRIVATE KEY')).sealed).toBe(true);
    expect(readKeyPem(text('PRIVATE KEY')).sealed).toBe(false);
  });

  it.each([
    ['nothing', '', 'no PEM block'],
    ['text', 'not a key', 'no PEM block'],
    [
      'a certificate',
      '-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n',
      'unknown PEM type "CERTIFICATE"',
    ],
    [
      'control characters',
      '-----BEGIN \u001b[2J-----\nAQID\n-----END \u001b[2J-----\n',
      'unknown PEM type (not a label)',
    ],
    [
      'a long type',
      `-----BEGIN ${'X'.repeat(99)}-----\nAQID\n-----END ${'X'.repeat(99)}-----\n`,
      'unknown PEM type (not a label)',
    ],
    [
      'a member of every object',
      '-----BEGIN toString-----\nAQID\n-----END toString-----\n',
      'unknown PEM type (not a label)',
    ],
    ['64 KiB and more', 'x'.repeat(64 * 1024 + 1), 'key file is larger than 64 KiB'],
  ])('refuses %s', (_, text, message) => {
    expect(() => readKeyPem(Buffer.from(text))).toThrow(expect.objectContaining({ code: 'INTEGRITY', message }));
  });
});
