/** What is sent to a token to be signed, and the check of what comes back. */
import { hash } from 'node:crypto';
import { algorithmRow, type KeyAlgorithm } from '../../crypto/algorithms.ts';
import type { PublicKey } from '../../crypto/public-key.ts';
import { checkDigest } from '../../crypto/sign-digest.ts';
import type { SignInput } from '../../crypto/sign-input.ts';
import { verifyDigest } from '../../crypto/verify-digest.ts';
import { SignetError } from '../../errors.ts';
import type { SignScheme } from './host-protocol.ts';
import type { KeyRecord } from './key-index.ts';
import { SignatureVerifier } from './signature-verifier.ts';

/** One for all tokens: its thread has a processor to itself, and a second one would only share it. */
const verifier = new SignatureVerifier();

/** Bytes that the token signs, and how. */
export interface PreparedInput {
  readonly scheme: SignScheme;
  /** Not a copy of the message, where that is what is signed. */
  readonly data: Uint8Array;
}

/** What is to be signed, as the token wants it. @throws {SignetError} INVALID_ARGUMENT for a digest that the key cannot sign */
export function prepareInput({ algorithm, bytes }: PublicKey, input: SignInput): PreparedInput {
  if (algorithm === 'ed25519') {
    if ('message' in input) return { scheme: 'eddsa', data: input.message };
    throw new SignetError('INVALID_ARGUMENT', 'ed25519 signs messages, not digests');
  }
  const { digest, name } = digestOf(algorithm, input);
  if (algorithm === 'rsa') return { scheme: { pss: name }, data: digest };
  // FIPS 186-5 §6.4.1: the leftmost bits, as many as the order has. Devices differ in what they do with more.
  return { scheme: 'ecdsa', data: digest.subarray(0, orderBytes(bytes)) };
}

/** Whether a signature is the key's own over this input. */
export async function isValidSignature(record: KeyRecord, input: SignInput, signature: Uint8Array): Promise<boolean> {
  const { publicKey } = record;
  if ('message' in input) {
    return verifier.verify({ publicKey, verifier: record.verifier() }, input.message, signature);
  }
  return verifyDigest(publicKey, input.digest, input.hash, signature);
}

function digestOf(algorithm: KeyAlgorithm, input: SignInput) {
  if (!('message' in input)) {
    checkDigest(input.digest, input.hash);
    return { digest: input.digest, name: input.hash };
  }
  const name = algorithmRow(algorithm).messageHash ?? 'sha256';
  return { digest: hash(name, input.message, 'buffer'), name };
}

/** By the length of the SubjectPublicKeyInfo, which the curve fixes. */
function orderBytes(spki: Uint8Array): number {
  const row = { 80: 28, 91: 32, 120: 48, 158: 66 }[spki.byteLength];
  if (row === undefined) throw new SignetError('INTERNAL', 'an EC key of a curve that is not in the table');
  return row;
}
