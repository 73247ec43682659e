/** Which signatures count. */
import { constants, type KeyObject, verify } from 'node:crypto';
import type { KeyId } from '../crypto/key-id.ts';
import { curveByOpensslName } from '../crypto/named-curves.ts';
import { parsePem } from '../crypto/pem.ts';
import { type PublicKey, toKeyObject, verifyWith } from '../crypto/public-key.ts';
import { SignetError } from '../errors.ts';
import { MIN_RSA_BITS } from './certificate-bundle.ts';
import type { Metadata, ReceivedMetadata, Signature } from './metadata.ts';
import type { RoleAuthority } from './role-keys.ts';
import { canonicalKeyId, publicKeyOfTufKey, type TufKey, tufKeyId } from './tuf-key.ts';

/** The key's algorithm, and how to verify with it. */
interface Verifier {
  readonly algorithm: PublicKey['algorithm'];
  verify(key: PublicKey, message: Uint8Array, signature: Uint8Array): boolean;
}

/** What Notary's verifiers accept, by `method` (all with SHA-256 except eddsa). */
const VERIFIERS: Readonly<Record<string, Verifier>> = {
  // r‖s, each half as long as the curve's order
  ecdsa: {
    algorithm: 'ecdsa',
    verify: (key, message, signature) => {
      const object = toKeyObject(key);
      const curve = curveByOpensslName(object.asymmetricKeyDetails?.namedCurve);
      return signature.byteLength === 2 * (curve?.scalarBytes ?? 0) && verifyWith(object, key, message, signature);
    },
  },
  eddsa: {
    algorithm: 'ed25519',
    verify: (key, message, signature) => verifyWith(toKeyObject(key), key, message, signature),
  },
  // RFC 8017 §8.1.2 with a salt of 32 bytes
  rsapss: {
    algorithm: 'rsa',
    verify: (key, message, signature) => {
      const object = toKeyObject(key);
      return isLongEnough(object) && verifyWith(object, key, message, signature);
    },
  },
  // RFC 8017 §8.2.2; for keys of other signers, Notary never makes such signatures
  rsapkcs1v15: {
    algorithm: 'rsa',
    verify: (key, message, signature) => {
      const object = toKeyObject(key);
      const options = { key: object, padding: constants.RSA_PKCS1_PADDING };
      return isLongEnough(object) && verify('sha256', message, options, signature);
    },
  },
  // As rsapss, but the public key is PEM, as PyCrypto gave it
  'pycrypto-pkcs#1 pss': {
    algorithm: 'rsa',
    verify: (key, message, signature) => {
      const block = parsePem(key.bytes);
      if (block?.type !== 'PUBLIC KEY') return false;
      const spki = { algorithm: key.algorithm, bytes: block.bytes };
      const object = toKeyObject(spki);
      return isLongEnough(object) && verifyWith(object, spki, message, signature);
    },
  },
};

function isLongEnough(rsaKey: KeyObject): boolean {
  return (rsaKey.asymmetricKeyDetails?.modulusLength ?? 0) >= MIN_RSA_BITS;
}

/**
 * Verifies one signature of metadata. The method chooses the verifier, and the key must be of its kind.
 *
 * @returns False for any signature, method or key that does not fit; it does not throw.
 */
export function verifyMetadataSignature(key: TufKey, message: Uint8Array, signature: Signature): boolean {
  const verifier = Object.hasOwn(VERIFIERS, signature.method) ? VERIFIERS[signature.method] : undefined;
  try {
    const publicKey = publicKeyOfTufKey(key);
    return verifier?.algorithm === publicKey.algorithm && verifier.verify(publicKey, message, signature.bytes);
  } catch {
    return false; // a key that is no key signs nothing
  }
}

/**
 * Keys of the role with a valid signature. Signatures by others are skipped; a key counts once, however many
 * signatures, and however many certificates, it has.
 *
 * @returns Canonical key IDs
 */
export function signersOf(
  message: Uint8Array,
  signatures: readonly Signature[],
  keys: readonly TufKey[],
): ReadonlySet<KeyId> {
  const byId = new Map<string, TufKey>(keys.map((key) => [tufKeyId(key), key]));
  const signers = new Set<KeyId>();
  for (const signature of signatures) {
    const key = byId.get(signature.keyId);
    if (key === undefined || !verifyMetadataSignature(key, message, signature)) continue;
    signers.add(canonicalKeyId(key));
  }
  return signers;
}

/** @throws {SignetError} METADATA_REJECTED in Notary's words if fewer keys than the threshold have signed */
export function verifySignatures(
  metadata: Pick<ReceivedMetadata<Metadata>, 'message' | 'signatures'>,
  { name, keys, threshold }: RoleAuthority,
): void {
  const signers = signersOf(metadata.message, metadata.signatures, keys);
  if (threshold >= 1 && signers.size >= threshold) return;
  throw new SignetError('METADATA_REJECTED', `valid signatures did not meet threshold for ${name}`);
}
