import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { publicKeyOf, toKeyObject, verifySignature } from '../../../src/crypto/public-key.ts';

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
