import { constants, createHash, verify } from 'node:crypto';
import { p256, p384, p521 } from '@noble/curves/nist.js';
import { describe, expect, it } from 'vitest';
import { DIGEST_BYTES } from '../../../src/crypto/algorithms.ts';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { toKeyObject, verifySignature } from '../../../src/crypto/public-key.ts';
import { keyVector } from '../../support/private-keys.ts';

const message = Buffer.from('what is to be signed');
const hashes = ['sha256', 'sha384', 'sha512'] as const;
const digestOf = (hash: (typeof hashes)[number]) => createHash(hash).update(message).digest();

describe.each([
  ['p8-plain', 64, p256],
  ['p8-p384', 96, p384],
  ['p8-p521', 132, p521],
] as const)('digests signed by %s', (name, length, noble) => {
  const key = PrivateKey.fromPkcs8(keyVector(name));

  it.each(hashes)('of %s verify as the message does', async (hash) => {
    const digest = digestOf(hash);
    const signature = await key.sign({ digest, hash });
    expect(signature).toHaveLength(length);
    const options = { key: toKeyObject(key.publicKey), dsaEncoding: 'ieee-p1363' } as const;
    expect(verify(hash, message, options, signature)).toBe(true);
    const point = key.publicKey.bytes.subarray(-(length + 1));
    expect(noble.verify(signature, digest, point, { prehash: false, lowS: false })).toBe(true);
    expect(digest).toEqual(digestOf(hash));
  });

  it('of SHA-256 verify like signatures of messages', async () => {
    const signature = await key.sign({ digest: digestOf('sha256'), hash: 'sha256' });
    expect(verifySignature(key.publicKey, message, signature)).toBe(true);
  });

  it('have a fresh nonce each time', async () => {
    const input = { digest: digestOf('sha256'), hash: 'sha256' } as const;
    expect(await key.sign(input)).not.toEqual(await key.sign(input));
  });
});

describe.each(['pkcs1-rsa1024', 'pkcs1-plain'])('digests signed by %s', (name) => {
  const key = PrivateKey.fromPkcs1(keyVector(name));

  it.each(name === 'pkcs1-plain' ? hashes : (['sha256', 'sha384'] as const))(
    'of %s verify as the message does',
    async (hash) => {
      const signature = await key.sign({ digest: digestOf(hash), hash });
      const options = { key: toKeyObject(key.publicKey), padding: constants.RSA_PKCS1_PSS_PADDING };
      expect(verify(hash, message, { ...options, saltLength: DIGEST_BYTES[hash] }, signature)).toBe(true);
      expect(verify(hash, message, { ...options, saltLength: DIGEST_BYTES[hash] - 1 }, signature)).toBe(false);
    },
  );

  it('have a fresh salt each time', async () => {
    const input = { digest: digestOf('sha256'), hash: 'sha256' } as const;
    expect(await key.sign(input)).not.toEqual(await key.sign(input));
  });
});

describe('refused digests', () => {
  const ecdsa = PrivateKey.fromPkcs8(keyVector('p8-plain'));

  it.each([
    ['sha256', 31],
    ['sha256', 48],
    ['sha384', 32],
    ['sha512', 0],
  ] as const)('%s of %i bytes', async (hash, length) => {
    await expect(ecdsa.sign({ digest: Buffer.alloc(length), hash })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: `a ${hash} digest has ${DIGEST_BYTES[hash]} bytes, not ${length}`,
    });
  });

  it('of a hash that nobody knows', async () => {
    const input = { digest: Buffer.alloc(20), hash: 'toString' as 'sha256' };
    await expect(ecdsa.sign(input)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'unknown hash of the digest',
    });
  });

  it('for Ed25519', async () => {
    const key = await PrivateKey.generate('ed25519');
    await expect(key.sign({ digest: Buffer.alloc(64), hash: 'sha512' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'ed25519 signs messages, not digests',
    });
  });

  it('for P-224', async () => {
    const key = PrivateKey.fromPkcs8(keyVector('p8-p224'));
    await expect(key.sign({ digest: Buffer.alloc(32), hash: 'sha256' })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: 'P-224 keys sign messages, not digests',
    });
  });

  it('too long for the modulus', async () => {
    const key = PrivateKey.fromPkcs1(keyVector('pkcs1-rsa1024'));
    await expect(key.sign({ digest: Buffer.alloc(64), hash: 'sha512' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'RSA keys of 1024 bits are too short for PSS with sha512',
    });
  });
});
