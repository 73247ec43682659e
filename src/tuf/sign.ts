/** Getting metadata signed, by keys that are somewhere else. */

import { algorithmRow } from '../crypto/algorithms.ts';
import type { KeyId } from '../crypto/key-id.ts';
import { SignetError } from '../errors.ts';
import { type Metadata, type Signature, type SignedMetadata, signedMessage } from './metadata.ts';
import type { RoleAuthority } from './role-keys.ts';
import { canonicalKeyId, publicKeyOfTufKey, type TufKey, tufKeyId } from './tuf-key.ts';
import { signersOf, verifyMetadataSignature } from './verify.ts';

/**
 * Signs with a private key.
 *
 * @param keyId The canonical ID: of the key, not of its certificate
 * @param message To be hashed as the key's algorithm wants it
 * @returns In the port's encoding: ECDSA as r‖s
 * @throws {SignetError} KEY_NOT_FOUND if the key is not there; anything else ends the signing
 */
export type SignCallback = (keyId: KeyId, message: Uint8Array) => Promise<Uint8Array>;

/** Who signs. */
export interface Signers {
  /** Each must reach its threshold. */
  readonly required: readonly RoleAuthority[];
  /** Sign if they are there. */
  readonly optional?: readonly TufKey[];
}

/**
 * Asks every key for its signature, one after the other (a person may have to touch a token for each), and verifies
 * what it gives. Keys that are not there are left out, as long as the thresholds are met.
 *
 * @returns Signatures in the order of the keys; earlier signatures are not kept, the version being new
 * @throws {SignetError} KEY_NOT_FOUND in Notary's words, INTEGRITY for a signature that does not verify,
 *   INVALID_ARGUMENT for metadata that cannot be published, and what `sign` throws
 */
export async function signMetadata<T extends Metadata>(
  signed: T,
  { required, optional = [] }: Signers,
  sign: SignCallback,
): Promise<SignedMetadata<T>> {
  const message = signedMessage(signed);
  const keys = new Map([...required.flatMap((role) => role.keys), ...optional].map((key) => [tufKeyId(key), key]));
  const signatures: Signature[] = [];
  for (const [keyId, key] of keys) {
    const bytes = await signatureBy(key, message, sign);
    if (bytes === undefined) continue;
    const signature = { keyId, method: methodOf(key), bytes };
    if (!verifyMetadataSignature(key, message, signature)) {
      throw new SignetError('INTEGRITY', `the signature by key ${canonicalKeyId(key)} does not verify`);
    }
    signatures.push(signature);
  }
  for (const role of required) requireThreshold(role, message, signatures);
  return { signed, signatures };
}

/** @returns Undefined if the private key is not there. */
async function signatureBy(key: TufKey, message: Uint8Array, sign: SignCallback): Promise<Uint8Array | undefined> {
  try {
    return await sign(canonicalKeyId(key), message);
  } catch (error) {
    if (error instanceof SignetError && error.code === 'KEY_NOT_FOUND') return undefined;
    throw error;
  }
}

/** The `method` that goes with what the port's backends sign. */
function methodOf(key: TufKey): string {
  return algorithmRow(publicKeyOfTufKey(key).algorithm).signatureMethod;
}

function requireThreshold(role: RoleAuthority, message: Uint8Array, signatures: readonly Signature[]): void {
  const signers = signersOf(message, signatures, role.keys);
  if (role.threshold >= 1 && signers.size >= role.threshold) return;
  const missing = role.keys.map(canonicalKeyId).filter((keyId) => !signers.has(keyId));
  throw new SignetError(
    'KEY_NOT_FOUND',
    missing.length > 0
      ? `could not find necessary signing keys, at least one of these keys must be available: ${missing.join(', ')}`
      : `the ${role.name} role has fewer keys than its threshold of ${role.threshold}`,
    { hint: `the ${role.name} role needs ${role.threshold} of its ${role.keys.length} keys` },
  );
}
