import { constants, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { SignatureVerifier, type VerificationKey } from '../../../../src/backends/pkcs11/signature-verifier.ts';
import { publicKeyOf } from '../../../../src/crypto/public-key.ts';

interface Signer {
  readonly key: VerificationKey;
  readonly sign: (message: Uint8Array) => Buffer;
}

function signer(privateKey: KeyObject, publicKey: KeyObject): Signer {
  const key = { publicKey: publicKeyOf(publicKey), verifier: publicKey };
  const { algorithm } = key.publicKey;
  const options = algorithm === 'rsa' ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } : {};
  const hash = algorithm === 'ed25519' ? null : 'sha256';
  return {
    key,
    sign: (message) => sign(hash, message, { key: privateKey, dsaEncoding: 'ieee-p1363', ...options }),
  };
}

const pairs = [
  generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  generateKeyPairSync('ed25519'),
  generateKeyPairSync('rsa', { modulusLength: 2048 }),
];
const signers = pairs.map(({ privateKey, publicKey }) => signer(privateKey, publicKey));

/** A message within a larger buffer, as they come from the network. */
const messageOf = (number: number) => Buffer.from(`before message ${number} after`).subarray(7, -6);

async function verifyAll(verifier: SignatureVerifier, count: number): Promise<void> {
  const jobs = Array.from({ length: count }, (_, number) => {
    const { key, sign: signWith } = signers[number % signers.length] as Signer;
    const message = messageOf(number);
    const signature = signWith(message);
    const isDamaged = number % 7 === 3;
    if (isDamaged) signature[signature.length >> 1] = (signature[signature.length >> 1] ?? 0) ^ 1;
    return { expected: !isDamaged, answer: verifier.verify(key, message, signature) };
  });
  expect(await Promise.all(jobs.map(({ answer }) => answer))).toEqual(jobs.map(({ expected }) => expected));
}

describe('a verifier', () => {
  it.each([1, 2, 100])('tells good signatures of every algorithm from bad ones, %i at a time', async (count) => {
    await verifyAll(new SignatureVerifier(), count);
  });

  it('does without a thread where there is none to be had', async () => {
    const verifier = new SignatureVerifier(() => {
      throw new Error('pthread_create: EAGAIN');
    });
    await verifyAll(verifier, 100);
    await verifyAll(verifier, 100);
  });

  it('never takes a signature of another length, key or message for a good one', async () => {
    const verifier = new SignatureVerifier();
    const [ec, ed] = signers as [Signer, Signer];
    const message = messageOf(1);
    const good = ec.sign(message);
    const wrong = [
      [ec.key, message, good.subarray(0, 63)],
      [ec.key, message, Buffer.concat([good, Buffer.alloc(1)])],
      [ec.key, message, Buffer.alloc(0)],
      [ec.key, messageOf(2), good],
      [ed.key, message, good],
    ] as const;
    for (const [key, text, signature] of wrong) {
      expect(await verifier.verify(key, text, signature)).toBe(false); // by itself, and within a batch
      const [bad, fine] = await Promise.all([
        verifier.verify(key, text, signature),
        verifier.verify(ec.key, message, good),
      ]);
      expect({ bad, fine }).toEqual({ bad: false, fine: true });
    }
  });

  it('goes on with more keys than its thread remembers', async () => {
    const verifier = new SignatureVerifier();
    const [, , rsa] = signers as [Signer, Signer, Signer];
    const message = messageOf(1);
    const signature = rsa.sign(message);
    const spki = rsa.key.verifier.export({ format: 'der', type: 'spki' });
    const same = () => ({ ...rsa.key, verifier: createPublicKey({ key: spki, format: 'der', type: 'spki' }) });
    for (let round = 0; round < 5; round++) {
      const answers = Array.from({ length: 500 }, () => verifier.verify(same(), message, signature));
      expect(new Set(await Promise.all(answers))).toEqual(new Set([true]));
    }
  });
});
