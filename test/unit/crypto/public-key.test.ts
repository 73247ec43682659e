import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { fromSpki, publicKeyOf, toKeyObject, toSpki, verifySignature } from '../../../src/crypto/public-key.ts';

const message = Buffer.from('message');

describe.each(['ecdsa', 'ed25519'] as const)('a public %s key', (algorithm) => {
  it('survives the way through node:crypto', async () => {
    const { publicKey } = await PrivateKey.generate(algorithm);
    expect(publicKeyOf(toKeyObject(publicKey))).toEqual(publicKey);
  });

  it('verifies what its private half signed, and nothing else', async () => {
    using key = await PrivateKey.generate(algorithm);
    using other = await PrivateKey.generate(algorithm);
    const signature = await key.sign({ message });
    expect(verifySignature(key.publicKey, message, signature)).toBe(true);
    expect(verifySignature(key.publicKey, Buffer.from('massage'), signature)).toBe(false);
    expect(verifySignature(other.publicKey, message, signature)).toBe(false);
  });

  it.each([0, 1, 63, 65, 70, 200])('does not verify a signature of %i bytes', async (length) => {
    using key = await PrivateKey.generate(algorithm);
    expect(verifySignature(key.publicKey, message, Buffer.alloc(length, 1))).toBe(false);
  });

  it('is refused when truncated', async () => {
    const { publicKey } = await PrivateKey.generate(algorithm);
    expect(() => toKeyObject({ algorithm, bytes: publicKey.bytes.subarray(0, -1) })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: `malformed ${algorithm} public key` }),
    );
  });
});

describe('toKeyObject', () => {
  it('refuses a key of another algorithm', async () => {
    const { publicKey } = await PrivateKey.generate('ecdsa');
    expect(() => toKeyObject({ algorithm: 'rsa', bytes: publicKey.bytes })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: 'public key is not of type rsa' }),
    );
  });
});

describe('publicKeyOf', () => {
  it('takes the public half of a private key', () => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    expect(publicKeyOf(privateKey)).toEqual(publicKeyOf(publicKey));
    expect(publicKeyOf(privateKey).bytes).toHaveLength(32);
  });

  it('refuses other types', () => {
    const { publicKey } = generateKeyPairSync('x25519', {
      publicKeyEncoding: { format: 'der', type: 'spki' },
      privateKeyEncoding: { format: 'der', type: 'pkcs8' },
    });
    expect(() => publicKeyOf(createPublicKey({ key: publicKey, format: 'der', type: 'spki' }))).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', message: 'keys of type x25519 are not supported' }),
    );
  });
});

describe('fromSpki', () => {
  const spki = (key: KeyObject) => key.export({ format: 'der', type: 'spki' });

  it.each(['ecdsa', 'ed25519', 'rsa'] as const)('reads what toSpki wrote of a key of type %s', async (algorithm) => {
    const { publicKey } = await PrivateKey.generate(algorithm);
    expect(fromSpki(toSpki(publicKey))).toStrictEqual({ algorithm, bytes: Buffer.from(publicKey.bytes) });
  });

  it('refuses curves that Notary does not sign with', () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
    expect(() => fromSpki(spki(publicKey))).toThrow(
      expect.objectContaining({
        code: 'UNSUPPORTED',
        message: 'EC public keys on the curve secp256k1 are not supported',
      }),
    );
  });

  it('refuses compressed points, which would give the same key another ID', () => {
    const point = Buffer.alloc(33);
    const uncompressed = spki(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey);
    point.writeUInt8(2 + ((uncompressed.at(-1) ?? 0) & 1));
    uncompressed.copy(point, 1, uncompressed.length - 64, uncompressed.length - 32);
    const header = Buffer.from('3039301306072a8648ce3d020106082a8648ce3d030107032200', 'hex');
    expect(() => fromSpki(Buffer.concat([header, point]))).toThrow(
      expect.objectContaining({
        code: 'UNSUPPORTED',
        message: 'EC public keys with a compressed point are not supported',
      }),
    );
  });

  it('refuses other types of keys', () => {
    expect(() => fromSpki(spki(generateKeyPairSync('x25519').publicKey))).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', message: 'keys of type x25519 are not supported' }),
    );
  });

  it.each(['', '3000', '30000000', 'ff'])('refuses the bytes %j', (hex) => {
    expect(() => fromSpki(Buffer.from(hex, 'hex'))).toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        message: expect.stringMatching(/^malformed public key/),
      }),
    );
  });
});
