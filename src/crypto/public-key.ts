/** Public keys as Notary writes them, and the verification of signatures in the port's encoding. */
import { constants, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { SignetError } from '../errors.ts';
import { algorithmRow, type KeyAlgorithm } from './algorithms.ts';
import { isDerSequence } from './der.ts';
import { curveByOpensslName } from './named-curves.ts';

export interface PublicKey {
  readonly algorithm: KeyAlgorithm;
  /** ecdsa, rsa: DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7); ed25519: the raw 32 bytes (RFC 8032 §5.1.5). */
  readonly bytes: Uint8Array;
}

/** DER SubjectPublicKeyInfo of an Ed25519 key up to the 32 key bytes (RFC 8410 §4). */
const ED25519_SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
/** First octet of an EC point that is not compressed (SEC 1 §2.3.3). */
const UNCOMPRESSED_POINT = 0x04;

/** The key as DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), whatever its algorithm; not checked. */
export function toSpki(key: PublicKey): Buffer {
  return key.algorithm === 'ed25519' ? Buffer.concat([ED25519_SPKI_PREFIX, key.bytes]) : Buffer.from(key.bytes);
}

/**
 * Reads SubjectPublicKeyInfo.
 *
 * @param der Not changed.
 * @throws {SignetError} INVALID_ARGUMENT if it is malformed; UNSUPPORTED for an algorithm or curve that Notary does not
 *   sign with, and for compressed points, which Go does not read
 */
export function fromSpki(der: Uint8Array): PublicKey {
  if (!isDerSequence(der)) throw new SignetError('INVALID_ARGUMENT', 'malformed public key');
  let object: KeyObject;
  try {
    object = createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' });
  } catch (cause) {
    throw new SignetError('INVALID_ARGUMENT', 'malformed public key, or one of an unknown type', { cause });
  }
  const key = publicKeyOf(object);
  if (key.algorithm !== 'ecdsa') return key;
  const curve = curveByOpensslName(object.asymmetricKeyDetails?.namedCurve);
  if (curve === undefined) {
    const name = object.asymmetricKeyDetails?.namedCurve ?? 'with explicit parameters';
    throw new SignetError('UNSUPPORTED', `EC public keys on the curve ${name} are not supported`);
  }
  if (key.bytes.at(-(1 + 2 * curve.scalarBytes)) !== UNCOMPRESSED_POINT) {
    throw new SignetError('UNSUPPORTED', 'EC public keys with a compressed point are not supported', {
      hint: 'convert it with "openssl ec -pubin -conv_form uncompressed"',
    });
  }
  return key;
}

/** @throws {SignetError} INVALID_ARGUMENT if the bytes are not a key of that algorithm */
export function toKeyObject(key: PublicKey): KeyObject {
  let object: KeyObject;
  try {
    object = createPublicKey({ key: toSpki(key), format: 'der', type: 'spki' });
  } catch (cause) {
    throw new SignetError('INVALID_ARGUMENT', `malformed ${key.algorithm} public key`, { cause });
  }
  if (algorithmOfKeyObject(object) !== key.algorithm) {
    throw new SignetError('INVALID_ARGUMENT', `public key is not of type ${key.algorithm}`);
  }
  return object;
}

/** What was worked out before: for EC it costs OpenSSL as much as reading the key. */
const known = new WeakMap<KeyObject, PublicKey>();

/** The public half of a node:crypto key, private or public. @throws {SignetError} UNSUPPORTED */
export function publicKeyOf(object: KeyObject): PublicKey {
  const publicKey = known.get(object) ?? workOutPublicKey(object);
  known.set(object, publicKey);
  return publicKey;
}

function workOutPublicKey(object: KeyObject): PublicKey {
  const algorithm = algorithmOfKeyObject(object);
  if (algorithm === undefined)
    throw new SignetError('UNSUPPORTED', `keys of type ${object.asymmetricKeyType} are not supported`);
  const publicObject = object.type === 'private' ? createPublicKey(object) : object;
  const spki = publicObject.export({ format: 'der', type: 'spki' });
  return { algorithm, bytes: algorithm === 'ed25519' ? spki.subarray(ED25519_SPKI_PREFIX.length) : spki };
}

/** Whether two public keys are the same one. */
export function publicKeysEqual(a: PublicKey, b: PublicKey): boolean {
  return a.algorithm === b.algorithm && Buffer.compare(a.bytes, b.bytes) === 0;
}

function algorithmOfKeyObject(object: KeyObject): KeyAlgorithm | undefined {
  return ({ ec: 'ecdsa', ed25519: 'ed25519', rsa: 'rsa' } as const)[
    object.asymmetricKeyType as 'ec' | 'ed25519' | 'rsa'
  ];
}

/**
 * Verifies a signature in the port's encoding over a whole message.
 *
 * @returns False for any signature that does not verify; it does not throw for a malformed one.
 * @throws {SignetError} INVALID_ARGUMENT for a malformed key
 */
export function verifySignature(key: PublicKey, message: Uint8Array, signature: Uint8Array): boolean {
  return verifyWith(toKeyObject(key), key, message, signature);
}

/** As `verifySignature`, with the `toKeyObject` of the key: making one costs as much as verifying. */
export function verifyWith(object: KeyObject, key: PublicKey, message: Uint8Array, signature: Uint8Array): boolean {
  const { hash, options } = verificationOf(key.algorithm);
  return verify(hash, message, { key: object, ...options }, signature);
}

/** What node:crypto's `verify` is given for signatures in the port's encoding. */
export interface Verification {
  /** Null: the algorithm has its own. */
  readonly hash: string | null;
  readonly options: {
    readonly dsaEncoding?: 'ieee-p1363';
    readonly padding?: number;
    readonly saltLength?: number;
  };
}

/** How signatures of whole messages are verified. */
export function verificationOf(algorithm: KeyAlgorithm): Verification {
  return { hash: algorithmRow(algorithm).messageHash ?? null, options: VERIFY_OPTIONS[algorithm] };
}

const VERIFY_OPTIONS: Readonly<Record<KeyAlgorithm, Verification['options']>> = {
  ecdsa: { dsaEncoding: 'ieee-p1363' },
  ed25519: {},
  rsa: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 },
};
