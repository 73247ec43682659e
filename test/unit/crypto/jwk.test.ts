import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { calculateJwkThumbprint } from 'jose';
import { describe, expect, it } from 'vitest';
import { fromPrivateJwk, fromPublicJwk, type JwkMembers, toPrivateJwk, toPublicJwk } from '../../../src/crypto/jwk.ts';
import { parsePem } from '../../../src/crypto/pem.ts';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { toKeyObject } from '../../../src/crypto/public-key.ts';
import { SignetError } from '../../../src/errors.ts';

/** RFC 8037 appendix A.1 and A.3. */
const RFC8037 = {
  kty: 'OKP',
  crv: 'Ed25519',
  d: 'nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A',
  x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo',
};
/** RFC 7517 appendix A.2, first key. */
const RFC7517 = {
  kty: 'EC',
  crv: 'P-256',
  x: 'MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4',
  y: '4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM',
  d: '870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE',
};

const read = (name: string) => readFileSync(new URL(`../../vectors/key-formats/${name}.pem`, import.meta.url));

function key(name: string): PrivateKey {
  const bytes = parsePem(read(name))?.bytes ?? Buffer.of();
  return name.startsWith('pkcs1') ? PrivateKey.fromPkcs1(bytes) : PrivateKey.fromPkcs8(bytes);
}

const names = ['p8-plain', 'p8-p384', 'p8-p521', 'ed25519-rfc8410', 'pkcs1-plain'];

describe.each(names)('a JWK of the key %s', (name) => {
  const original = key(name);
  const pkcs8 = original.toPkcs8();

  it('is what node:crypto reads as the same key', () => {
    const jwk = toPrivateJwk(pkcs8);
    expect(createPublicKey({ key: jwk, format: 'jwk' }).equals(toKeyObject(original.publicKey))).toBe(true);
    const ours = createPrivateKey({ key: jwk, format: 'jwk' }).export({ format: 'jwk' });
    expect(ours).toStrictEqual(
      Object.fromEntries(Object.entries(jwk).filter(([member]) => !['kid', 'use'].includes(member))),
    );
  });

  it('gives the key back', () => {
    expect(fromPrivateJwk(toPrivateJwk(pkcs8)).toPkcs8()).toStrictEqual(pkcs8);
    expect(fromPublicJwk(toPublicJwk(original.publicKey))).toStrictEqual({
      algorithm: original.algorithm,
      bytes: Buffer.from(original.publicKey.bytes),
    });
  });

  it('is named by its RFC 7638 thumbprint, and says nothing of the private half when public', async () => {
    const jwk = toPublicJwk(original.publicKey);
    expect(jwk.kid).toBe(await calculateJwkThumbprint({ ...jwk }));
    expect(Object.keys(jwk).toSorted()).toStrictEqual(
      {
        EC: ['crv', 'kid', 'kty', 'use', 'x', 'y'],
        OKP: ['crv', 'kid', 'kty', 'use', 'x'],
        RSA: ['e', 'kid', 'kty', 'n', 'use'],
      }[jwk.kty],
    );
  });

  it('with any member changed is refused, or still the same key', () => {
    const jwk: Record<string, unknown> = { ...toPrivateJwk(pkcs8) };
    fc.assert(
      fc.property(fc.constantFrom(...Object.keys(jwk)), fc.jsonValue(), (member, value) => {
        try {
          expect(fromPrivateJwk({ ...jwk, [member]: value }).keyId).toBe(original.keyId);
        } catch (error) {
          expect(error).toBeInstanceOf(SignetError);
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe('fromPrivateJwk', () => {
  it.each([
    ['RFC 8037', RFC8037],
    ['RFC 7517', RFC7517],
  ])('reads the example of %s', (_, jwk) => {
    expect(toPublicJwk(fromPrivateJwk(jwk).publicKey)).toMatchObject({ x: jwk.x });
  });

  const rsa = toPrivateJwk(key('pkcs1-plain').toPkcs8());
  const { p: _, ...withoutPrimes } = rsa;
  const other = toPrivateJwk(key('p8-plain').toPkcs8());

  it.each<[string, JwkMembers, string, string]>([
    ['no type', {}, 'INVALID_ARGUMENT', 'malformed JWK: "kty" is missing or not a text'],
    ['a symmetric key', { kty: 'oct', k: 'AA' }, 'UNSUPPORTED', 'JWK: keys of type "oct" are not supported'],
    ['something else as type', { kty: 'a b\u001b' }, 'UNSUPPORTED', 'JWK: keys of type "…" are not supported'],
    [
      'a key for encryption',
      { ...RFC7517, use: 'enc' },
      'UNSUPPORTED',
      'JWK: keys that are not for signing are not supported',
    ],
    [
      'secp256k1',
      { ...RFC7517, crv: 'secp256k1' },
      'UNSUPPORTED',
      'JWK: keys on the curve "secp256k1" are not supported',
    ],
    ['P-224', { ...RFC7517, crv: 'P-224' }, 'UNSUPPORTED', 'JWK: keys on the curve "P-224" are not supported'],
    ['Ed448', { ...RFC8037, crv: 'Ed448' }, 'UNSUPPORTED', 'JWK: keys on the curve "Ed448" are not supported'],
    ['padding', { ...RFC7517, x: `${RFC7517.x}=` }, 'INVALID_ARGUMENT', 'malformed JWK: "x" is not base64url'],
    [
      'bits left over',
      { ...RFC8037, x: `${RFC8037.x.slice(0, -1)}p` },
      'INVALID_ARGUMENT',
      'malformed JWK: "x" is not base64url',
    ],
    ['a short scalar', { ...RFC7517, d: 'AA' }, 'INVALID_ARGUMENT', 'malformed JWK: "d" has not 32 bytes'],
    [
      'the public half of another key',
      { ...RFC7517, x: other['x'], y: other['y'] },
      'INVALID_ARGUMENT',
      'malformed private key: the public half belongs to another key',
    ],
    ['RSA without primes', withoutPrimes, 'UNSUPPORTED', 'JWK: RSA keys without their primes are not supported'],
    [
      'RSA with more primes',
      { ...rsa, oth: [] },
      'UNSUPPORTED',
      'JWK: RSA keys with more than two primes are not supported',
    ],
  ])('refuses %s', (_, jwk, code, message) => {
    expect(() => fromPrivateJwk(jwk)).toThrow(expect.objectContaining({ code, message }));
  });
});

describe('fromPublicJwk', () => {
  it('refuses a point that is not on the curve', () => {
    expect(() => fromPublicJwk({ ...RFC7517, y: RFC7517.x })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(/^malformed public key/) }),
    );
  });
});

describe('toPublicJwk', () => {
  it('refuses P-224, which JOSE does not know', () => {
    expect(() => toPublicJwk(key('p8-p224').publicKey)).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', message: 'P-224 keys have no JWK form' }),
    );
  });

  it('refuses a key on another curve', () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
    const bytes = publicKey.export({ format: 'der', type: 'spki' });
    expect(() => toPublicJwk({ algorithm: 'ecdsa', bytes })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: 'malformed public key: unknown curve or form' }),
    );
  });
});
