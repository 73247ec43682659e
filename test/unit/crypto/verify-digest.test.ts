import { createHash, generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { verifyDigest } from '../../../src/crypto/verify-digest.ts';

const privateKeyEncoding = { format: 'der', type: 'pkcs8' } as const;
const publicKeyEncoding = { format: 'der', type: 'spki' } as const;

const KEYS = {
  'P-256': () => generateKeyPairSync('ec', { namedCurve: 'P-256', privateKeyEncoding, publicKeyEncoding }).privateKey,
  'P-384': () => generateKeyPairSync('ec', { namedCurve: 'P-384', privateKeyEncoding, publicKeyEncoding }).privateKey,
  'P-521': () => generateKeyPairSync('ec', { namedCurve: 'P-521', privateKeyEncoding, publicKeyEncoding }).privateKey,
  RSA: () => generateKeyPairSync('rsa', { modulusLength: 2048, privateKeyEncoding, publicKeyEncoding }).privateKey,
  // A modulus of one bit more than whole bytes: the encoded message is a byte shorter than the signature.
  'RSA 2049': () =>
    generateKeyPairSync('rsa', { modulusLength: 2049, privateKeyEncoding, publicKeyEncoding }).privateKey,
};

describe.each(Object.entries(KEYS))('verification of digests with %s', (_, make) => {
  const key = PrivateKey.fromPkcs8(make());

  it.each(['sha256', 'sha384', 'sha512'] as const)('takes a signature over a %s digest and no other', async (hash) => {
    const digest = createHash(hash).update('a').digest();
    const signature = await key.sign({ digest, hash });
    expect(await verifyDigest(key.publicKey, digest, hash, signature)).toBe(true);
    const other = createHash(hash).update('b').digest();
    expect(await verifyDigest(key.publicKey, other, hash, signature)).toBe(false);
    for (const malformed of [Buffer.alloc(0), signature.subarray(1), Buffer.alloc(signature.length, 0xff)]) {
      expect(await verifyDigest(key.publicKey, digest, hash, malformed)).toBe(false);
    }
  });
});

describe('verification of digests', () => {
  it('is not for Ed25519', async () => {
    const { publicKey } = await PrivateKey.generate('ed25519');
    await expect(verifyDigest(publicKey, Buffer.alloc(32), 'sha256', Buffer.alloc(64))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
  });
});
