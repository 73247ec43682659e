/** The contract about one key, for every algorithm that a home has keys of. */
import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { isKeyId, keyIdOf } from '../../src/crypto/key-id.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { verifyDigestIndependently, verifyIndependently } from '../support/verify.ts';
import { CONTEXT, expectCode, type HomeInTest } from './subject.ts';

export function describeKeys(home: HomeInTest): void {
  describe.each(home.algorithms)('a key for %s', (algorithm) => {
    it('has an ID that follows from its public half, and keeps role and GUN', async () => {
      const key = await home.makeKey(algorithm);
      expect(isKeyId(key.keyId)).toBe(true);
      expect(keyIdOf(key.publicKey)).toBe(key.keyId);
      expect(key.publicKey.algorithm).toBe(algorithm);
      expect(key).toMatchObject(home.owner);
      expect(await home.backend.find(key.keyId)).toEqual(key);
      expect(await home.keys()).toEqual([key]);
      expect(await home.backend.count()).toBe(1);
      expect(await home.backend.publicKey(key.keyId, CONTEXT)).toEqual(key.publicKey);
    });

    it('signs messages of any length', async () => {
      const { keyId, publicKey } = await home.makeKey(algorithm);
      for (const length of [0, 1, 64, 100_000]) {
        const message = randomBytes(length);
        const signature = await home.backend.sign(keyId, { message }, CONTEXT);
        expect(verifySignature(publicKey, message, signature)).toBe(true);
        expect(verifyIndependently(publicKey, message, signature)).toBe(true);
        expect(verifySignature(publicKey, Buffer.concat([message, Buffer.from('!')]), signature)).toBe(false);
      }
    });

    it('answers signatures of the fixed length of its algorithm', async () => {
      const { keyId } = await home.makeKey(algorithm);
      for (let i = 0; i < 20; i++) {
        const signature = await home.backend.sign(keyId, { message: Buffer.from([i]) }, CONTEXT);
        expect(signature.length).toBe(home.signatureBytes(algorithm));
      }
    });

    it('signs ready digests, unless the algorithm has none', async () => {
      const { keyId, publicKey } = await home.makeKey(algorithm);
      for (const hash of ['sha256', 'sha384', 'sha512'] as const) {
        const digest = createHash(hash).update('hello').digest();
        const signing = home.backend.sign(keyId, { digest, hash }, CONTEXT);
        if (algorithm === 'ed25519') {
          const error = await expectCode('INVALID_ARGUMENT', signing);
          expect(error.message).toBe('ed25519 signs messages, not digests');
        } else {
          expect(verifyDigestIndependently(publicKey, digest, hash, await signing)).toBe(true);
        }
      }
    });

    it('refuses a digest of the wrong length', async () => {
      const { keyId } = await home.makeKey(algorithm);
      for (const [bytes, hash] of [
        [31, 'sha256'],
        [32, 'sha512'],
      ] as const) {
        const digest = randomBytes(bytes);
        await expectCode('INVALID_ARGUMENT', home.backend.sign(keyId, { digest, hash }, CONTEXT));
      }
    });

    it('is the same key after the home is opened again, or gone if the home keeps nothing', async () => {
      const { keyId, publicKey } = await home.makeKey(algorithm);
      await home.reopen();
      const found = await home.backend.find(keyId);
      if (!home.subject.persistent) {
        expect(found).toBeUndefined();
        return;
      }
      expect(found).toMatchObject({ keyId, ...home.owner });
      const message = Buffer.from('after');
      expect(verifySignature(publicKey, message, await home.backend.sign(keyId, { message }, CONTEXT))).toBe(true);
      expect(await home.backend.publicKey(keyId, CONTEXT)).toEqual(publicKey);
    });
  });
}
