import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { certificatePem } from '../../../src/crypto/certificate.ts';
import { toPrivateJwk } from '../../../src/crypto/jwk.ts';
import { keyIdOf } from '../../../src/crypto/key-id.ts';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { readPublicKeys } from '../../../src/crypto/public-key-file.ts';
import { formatPublicKey } from '../../../src/crypto/public-key-formats.ts';
import { SignetError } from '../../../src/errors.ts';
import { DURING, issue, VALIDITY } from '../../support/x509.ts';

const read = (path: string) => readFileSync(new URL(`../../vectors/${path}`, import.meta.url));
/** When the vectors were made. */
const THEN = new Date('2026-11-21T00:00:00Z');
const ids = (file: Uint8Array, at = THEN) => readPublicKeys(file, at).map(({ publicKey }) => keyIdOf(publicKey));
const bad = (message: string) => expect.objectContaining({ code: 'INVALID_ARGUMENT', message });

describe('readPublicKeys', () => {
  // Canonical key IDs as Notary's parser answers them.
  it.each([
    ['pub-cert-chain.crt', '21dac17c9034079f34ca97ce23970388c688d338c9a0839034a7a42c4edb473e'],
    ['pub-cert-ecdsa.crt', 'e10c56e261964686cef5e5d858dd77775b519512bbf80c6d62b13fed6eb88158'],
    ['pub-spki-ecdsa.pem', 'e10c56e261964686cef5e5d858dd77775b519512bbf80c6d62b13fed6eb88158'],
    ['pub-spki-p384.pem', '71a05cf9075deccf9a9503e819b62751eb93a9bee731c7361a8992bd53a21c3b'],
    ['pub-spki-rsa.pem', '34bf4a434a3587efef36e94c21e8e1ef74a70a54f4a134e98a850fe32be25ba7'],
    ['pub-spki-with-role-header.pem', '2b6db59eede9e2c00face75c83fb6eb3f14fcb3f1407ed44489cd9ebd6ef8ad5'],
  ])('reads %s as Notary does', (name, keyId) => {
    expect(ids(read(`certificates/${name}`))).toStrictEqual([keyId]);
  });

  it.each([
    ['pub-cert-rsa1024.crt', /^certificate CN=\S+ has an RSA key of 1024 bits; 2048 are the least$/],
    ['pub-cert-sha1.crt', /^certificate CN=sha1 is signed with 1\.2\.840\.10045\.4\.1, which is not accepted$/],
  ])('refuses %s as Notary does', (name, message) => {
    expect(() => readPublicKeys(read(`certificates/${name}`), THEN)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(message) }),
    );
  });

  it('reads PKCS#1 and Ed25519, which Notary does not', () => {
    const [rsa] = readPublicKeys(read('certificates/pub-pkcs1-rsa.pem'), THEN);
    expect(rsa?.publicKey.algorithm).toBe('rsa');
    const [ed25519] = readPublicKeys(read('certificates/pub-spki-ed25519.pem'), THEN);
    expect(ed25519?.publicKey).toMatchObject({ algorithm: 'ed25519', bytes: { byteLength: 32 } });
  });

  it('keeps the role of the header', () => {
    expect(readPublicKeys(read('certificates/pub-spki-with-role-header.pem'), THEN)[0]?.role).not.toBe('');
  });

  it('takes consecutive certificates for one chain and other blocks for one key each', () => {
    const file = Buffer.concat(
      ['pub-cert-chain.crt', 'pub-spki-rsa.pem', 'pub-spki-ecdsa.pem', 'pub-cert-ecdsa.crt'].map((name) =>
        read(`certificates/${name}`),
      ),
    );
    expect(readPublicKeys(file, THEN).map(({ certificates }) => certificates.length)).toStrictEqual([2, 0, 0, 1]);
  });

  it.each(['ecdsa', 'rsa', 'ed25519'] as const)(
    'reads every format that was written of a key of type %s',
    async (type) => {
      const { publicKey, keyId } = await PrivateKey.generate(type);
      for (const format of ['pem', 'der', 'jwk'] as const) {
        expect(ids(formatPublicKey(publicKey, format))).toStrictEqual([keyId]);
      }
    },
  );

  it('reads DER certificates and PKCS#1', async () => {
    const key = await PrivateKey.generate('rsa');
    const { certificate } = await issue('alice', { key });
    expect(ids(certificate.der, DURING)).toStrictEqual([key.keyId]);
    const object = createPublicKey({ key: Buffer.from(key.publicKey.bytes), format: 'der', type: 'spki' });
    expect(ids(object.export({ format: 'der', type: 'pkcs1' }))).toStrictEqual([key.keyId]);
  });

  it.each([
    ['a day before it is valid', VALIDITY.notBefore, -24 * 60 * 60 * 1000, undefined],
    [
      'two days before it is valid',
      VALIDITY.notBefore,
      -2 * 24 * 60 * 60 * 1000,
      'is valid only from 2020-01-01T00:00:00.000Z on',
    ],
    ['a second before it expires', VALIDITY.notAfter, -1000, undefined],
    ['when it expires', VALIDITY.notAfter, 0, 'expired at 2040-01-01T00:00:00.000Z'],
  ])('judges a certificate %s', async (_, date, offsetMs, problem) => {
    const pem = Buffer.from(certificatePem((await issue('alice')).certificate));
    const at = new Date(date.getTime() + offsetMs);
    if (problem === undefined) expect(readPublicKeys(pem, at)).toHaveLength(1);
    else expect(() => readPublicKeys(pem, at)).toThrow(bad(`certificate CN=alice ${problem}`));
  });

  it('warns half a year before a certificate expires', async () => {
    const pem = Buffer.from(certificatePem((await issue('alice')).certificate));
    expect(readPublicKeys(pem, DURING)[0]?.warnings).toStrictEqual([]);
    expect(readPublicKeys(pem, new Date('2039-09-01'))[0]?.warnings).toStrictEqual([
      'certificate CN=alice expires at 2040-01-01T00:00:00.000Z',
    ]);
  });

  it('refuses certificates of Ed25519 keys', async () => {
    const { certificate } = await issue('alice', { key: await PrivateKey.generate('ed25519') });
    expect(() => readPublicKeys(certificate.der, DURING)).toThrow(
      expect.objectContaining({
        code: 'UNSUPPORTED',
        message: 'certificate CN=alice has an ed25519 key, which Notary does not read',
      }),
    );
  });

  it.each([
    'key-formats/p8-plain',
    'key-formats/p8-aes256-sha1',
    'key-formats/pkcs1-aes256',
    'key-files/notary-bundle',
  ])('refuses the private key %s', (name) => {
    expect(() => readPublicKeys(read(`${name}.pem`), THEN)).toThrow(
      bad('the file holds a private key where a public one belongs'),
    );
  });

  it('refuses private keys in other formats', async () => {
    const pkcs8 = (await PrivateKey.generate('ecdsa')).toPkcs8();
    const files = [pkcs8, Buffer.from(JSON.stringify(toPrivateJwk(pkcs8))), read('pkcs12/openssl3-p256.p12')];
    for (const file of [...files, Buffer.from('{"kty":"oct","k":"AA"}')]) {
      expect(() => readPublicKeys(file, THEN)).toThrow(bad('the file holds a private key where a public one belongs'));
    }
  });

  it('refuses a file with nothing but curve parameters', () => {
    const text = '-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n';
    expect(() => readPublicKeys(Buffer.from(text), THEN)).toThrow(bad('the file holds no public key'));
  });

  it.each(['certificates/pub-cert-chain.crt', 'certificates/pub-spki-rsa.pem'])(
    'gives for %s with any changed byte keys or a SignetError',
    (path) => {
      const original = read(path);
      fc.assert(
        fc.property(fc.nat(original.length - 1), fc.integer({ min: 1, max: 255 }), (index, change) => {
          const damaged = Buffer.from(original);
          damaged.writeUInt8(damaged.readUInt8(index) ^ change, index);
          try {
            expect(readPublicKeys(damaged, THEN)).not.toHaveLength(0);
          } catch (error) {
            expect(error).toBeInstanceOf(SignetError);
          }
        }),
        { numRuns: 300 },
      );
    },
  );
});
