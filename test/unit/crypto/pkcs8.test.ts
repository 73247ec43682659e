import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  contextTag,
  type DerNode,
  derOctetString,
  derOid,
  derSequence,
  derUnsigned,
  encodeDer,
} from '../../../src/crypto/der.ts';
import { MAX_ITERATIONS } from '../../../src/crypto/pbes2.ts';
import { parsePem } from '../../../src/crypto/pem.ts';
import { openPkcs8, parseSealedPkcs8, sealPkcs8 } from '../../../src/crypto/pkcs8.ts';

const AES_256_CBC = '2.16.840.1.101.3.4.1.42';
const HMAC_SHA1 = '1.2.840.113549.2.7';
const passphrase = Buffer.from('passw0rd1');
const secret = encodeDer(derSequence(derUnsigned(0), derOctetString(Buffer.from('a private key'))));

function vector(name: string): Buffer {
  const url = new URL(`../../vectors/key-formats/${name}.pem`, import.meta.url);
  return parsePem(readFileSync(url))?.bytes ?? Buffer.of();
}

interface Parts {
  readonly kdf?: string;
  readonly kdfParameters?: readonly DerNode[];
  readonly cipher?: string;
  readonly iv?: Uint8Array;
  readonly data?: Uint8Array;
  readonly scheme?: string;
}

/** EncryptedPrivateKeyInfo of any parts; those left out are what Notary writes. */
function sealed(parts: Parts): Buffer {
  const kdfParameters = parts.kdfParameters ?? [derOctetString(Buffer.alloc(8)), derUnsigned(2048)];
  const kdf = derSequence(derOid(parts.kdf ?? '1.2.840.113549.1.5.12'), derSequence(...kdfParameters));
  const cipher = derSequence(derOid(parts.cipher ?? AES_256_CBC), derOctetString(parts.iv ?? Buffer.alloc(16)));
  const algorithm = derSequence(derOid(parts.scheme ?? '1.2.840.113549.1.5.13'), derSequence(kdf, cipher));
  return encodeDer(derSequence(algorithm, derOctetString(parts.data ?? Buffer.alloc(16))));
}

const salt = derOctetString(Buffer.alloc(8));
const algorithm = (oid: string) => derSequence(derOid(oid), { tag: 5, content: Buffer.of() });
const scrypt = (N: number, r: number, p: number, ...rest: DerNode[]): Parts => ({
  kdf: '1.3.6.1.4.1.11591.4.11',
  kdfParameters: [salt, derUnsigned(N), derUnsigned(r), derUnsigned(p), ...rest],
});

describe('parseSealedPkcs8', () => {
  it.each<[string, Parts, object]>([
    ['no prf as HMAC-SHA-1', {}, { name: 'pbkdf2', hash: 'sha1', iterations: 2048 }],
    ['prf', { kdfParameters: [salt, derUnsigned(1), algorithm('1.2.840.113549.2.10')] }, { hash: 'sha384' }],
    [
      'prf with SHA-512',
      { kdfParameters: [salt, derUnsigned(1), algorithm('1.2.840.113549.2.11')] },
      { hash: 'sha512' },
    ],
    ['keyLength', { kdfParameters: [salt, derUnsigned(1), derUnsigned(32), algorithm(HMAC_SHA1)] }, { hash: 'sha1' }],
    ['most iterations', { kdfParameters: [salt, derUnsigned(MAX_ITERATIONS)] }, { iterations: MAX_ITERATIONS }],
    ['scrypt with keyLength', scrypt(16384, 8, 1, derUnsigned(32)), { name: 'scrypt', N: 16384, r: 8, p: 1 }],
    [
      'a salt of 1024 bytes',
      { kdfParameters: [derOctetString(Buffer.alloc(1024)), derUnsigned(1)] },
      { iterations: 1 },
    ],
  ])('reads %s', (_, parts, kdf) => {
    expect(parseSealedPkcs8(sealed(parts)).kdf).toMatchObject(kdf);
  });

  it.each<[string, Parts]>([
    ['iterationCount is not 1 to 10000000', { kdfParameters: [salt, derUnsigned(0)] }],
    ['iterationCount is not 1 to 10000000', { kdfParameters: [salt, derUnsigned(MAX_ITERATIONS + 1)] }],
    ['iterationCount is too large', { kdfParameters: [salt, derUnsigned(2 ** 40)] }],
    ['salt has not 1 to 1024 bytes', { kdfParameters: [derOctetString(Buffer.of()), derUnsigned(1)] }],
    ['salt has not 1 to 1024 bytes', { kdfParameters: [derOctetString(Buffer.alloc(1025)), derUnsigned(1)] }],
    ['keyLength does not fit the cipher', { kdfParameters: [salt, derUnsigned(1), derUnsigned(16)] }],
    ['trailing bytes', { kdfParameters: [salt, derUnsigned(1), derUnsigned(32), derUnsigned(1)] }],
    ['IV has not 16 bytes', { iv: Buffer.alloc(15) }],
    ['IV has not 8 bytes', { cipher: '1.2.840.113549.3.7' }],
    ['encryptedData is not a number of whole blocks', { data: Buffer.alloc(17) }],
    ['encryptedData is not a number of whole blocks', { data: Buffer.of() }],
    ['scrypt parameters are out of bounds', scrypt(16383, 8, 1)],
    ['scrypt parameters are out of bounds', scrypt(1, 8, 1)],
    ['scrypt parameters are out of bounds', scrypt(2 ** 21, 8, 1)],
    ['scrypt parameters are out of bounds', scrypt(2 ** 31, 1, 1)],
    ['scrypt parameters are out of bounds', scrypt(16384, 0, 1)],
    ['scrypt parameters are out of bounds', scrypt(16384, 8, 0)],
    ['scrypt parameters are out of bounds', scrypt(16384, 8, 1000)],
  ])('takes a file for damaged if %s', (problem, parts) => {
    expect(() => parseSealedPkcs8(sealed(parts))).toThrow(
      expect.objectContaining({ code: 'INTEGRITY', message: `malformed encrypted private key: ${problem}` }),
    );
  });

  it.each<[string, Parts]>([
    ['encryption scheme 1.2.3', { scheme: '1.2.3' }],
    ['PBES1 encryption 1.2.840.113549.1.5.3', { scheme: '1.2.840.113549.1.5.3' }],
    ['PBES1 encryption 1.2.840.113549.1.12.1.6', { scheme: '1.2.840.113549.1.12.1.6' }],
    ['key derivation function 1.2.3', { kdf: '1.2.3' }],
    ['cipher 1.2.3', { cipher: '1.2.3' }],
    ['pseudorandom function 1.2.3', { kdfParameters: [salt, derUnsigned(1), algorithm('1.2.3')] }],
  ])('says that it does not support %s, and how to convert the file', (what, parts) => {
    expect(() => parseSealedPkcs8(sealed(parts))).toThrow(
      expect.objectContaining({
        code: 'UNSUPPORTED',
        message: `encrypted private key: ${what} is not supported`,
        hint: 'convert it with "openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA1"',
      }),
    );
  });

  it('refuses trailing bytes', () => {
    expect(() => parseSealedPkcs8(Buffer.concat([sealed({}), Buffer.of(0)]))).toThrow(
      expect.objectContaining({ code: 'INTEGRITY', message: 'malformed encrypted private key: trailing bytes' }),
    );
  });

  it('refuses another structure', () => {
    const other = encodeDer({ tag: contextTag(0, 'constructed'), content: [] });
    expect(() => parseSealedPkcs8(other)).toThrow(expect.objectContaining({ code: 'INTEGRITY' }));
  });
});

describe('openPkcs8', () => {
  it.each(['p8-aes256-sha1', 'p8-aes128-sha1', 'p8-des3', 'p8-default-openssl3', 'p8-scrypt'])(
    'opens %s',
    async (name) => {
      expect(await openPkcs8(parseSealedPkcs8(vector(name)), passphrase)).toEqual(vector('p8-plain'));
    },
  );

  it.each(['p8-aes256-sha1', 'p8-des3', 'p8-scrypt'])('tells a wrong passphrase for %s', async (name) => {
    for (const wrong of ['', 'passw0rd', 'passw0rd12']) {
      await expect(openPkcs8(parseSealedPkcs8(vector(name)), Buffer.from(wrong))).rejects.toMatchObject({
        code: 'PASSPHRASE_INCORRECT',
        message: 'the passphrase does not open the private key',
      });
    }
  });

  it('takes plaintext that is not ASN.1 for a wrong passphrase', async () => {
    const noise = await sealPkcs8(Buffer.from('not ASN.1'), passphrase, 1);
    await expect(openPkcs8(parseSealedPkcs8(noise), passphrase)).rejects.toMatchObject({
      code: 'PASSPHRASE_INCORRECT',
    });
  });

  it('is not disturbed when the passphrase is zeroed meanwhile', async () => {
    const copy = Buffer.from(passphrase);
    const opened = openPkcs8(parseSealedPkcs8(vector('p8-aes256-sha1')), copy);
    copy.fill(0);
    expect(await opened).toEqual(vector('p8-plain'));
  });
});

describe('sealPkcs8', () => {
  it("writes Notary's structure, with a salt of 16 bytes", async () => {
    const der = await sealPkcs8(secret, passphrase, 2048);
    const { kdf, iv, data } = parseSealedPkcs8(der);
    expect(kdf.salt).toHaveLength(16);
    const same = sealed({ kdfParameters: [derOctetString(kdf.salt), derUnsigned(2048)], iv, data });
    expect(der).toEqual(same);
  });

  it('is opened again, and leaves key and passphrase as they were', async () => {
    const before = Buffer.from(secret);
    const der = await sealPkcs8(secret, passphrase, 3);
    expect(secret).toEqual(before);
    expect(passphrase.toString()).toBe('passw0rd1');
    expect(await openPkcs8(parseSealedPkcs8(der), passphrase)).toEqual(secret);
  });

  it('never uses salt or IV twice', async () => {
    const [a, b] = (await Promise.all([sealPkcs8(secret, passphrase, 1), sealPkcs8(secret, passphrase, 1)])).map(
      parseSealedPkcs8,
    );
    expect(a?.kdf.salt).not.toEqual(b?.kdf.salt);
    expect(a?.iv).not.toEqual(b?.iv);
  });

  it.each([0, -1, 1.5, Number.NaN, MAX_ITERATIONS + 1])('refuses %d iterations', async (iterations) => {
    await expect(sealPkcs8(secret, passphrase, iterations)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'iteration count is not 1 to 10000000',
    });
  });
});
