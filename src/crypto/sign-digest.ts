/**
 * Signatures over digests that the caller made. node:crypto always hashes what it signs, so ECDSA comes from
 * @noble/curves and the PSS encoding from node-forge; both are loaded on first use.
 *
 * @remarks These run on the event loop, about 1.5 ms each for P-256 and RSA 3072; messages take the fast path instead.
 */
import { constants, type KeyObject, privateEncrypt, randomBytes } from 'node:crypto';
import type { ECDSA } from '@noble/curves/abstract/weierstrass.js';
import { SignetError } from '../errors.ts';
import { DIGEST_BYTES, type SignatureHash } from './algorithms.ts';
import type { CurveName } from './named-curves.ts';
import { curveOf, useScalar } from './private-key-info.ts';

/** Notary's P-224 is missing: @noble/curves does not ship it, and no format that signs digests knows it. */
export type DigestCurve = Exclude<CurveName, 'P-224'>;

/** @noble/curves' signer and verifier for a curve. */
export async function ecdsaOn(curve: DigestCurve): Promise<ECDSA> {
  const { p256, p384, p521 } = await import('@noble/curves/nist.js');
  return { 'P-256': p256, 'P-384': p384, 'P-521': p521 }[curve];
}

/**
 * Signs a digest.
 *
 * @returns ecdsa: r‖s, each half padded to the curve's size; rsa: RSASSA-PSS, MGF1 with the same hash, salt as long as
 *   the hash.
 * @throws {SignetError} INVALID_ARGUMENT for a digest of the wrong length, an Ed25519 key or a modulus too short for
 *   the hash; UNSUPPORTED for P-224
 */
export async function signDigest(key: KeyObject, digest: Uint8Array, hash: SignatureHash): Promise<Uint8Array> {
  if (key.asymmetricKeyType === 'ed25519') {
    throw new SignetError('INVALID_ARGUMENT', 'ed25519 signs messages, not digests');
  }
  checkDigest(digest, hash);
  return key.asymmetricKeyType === 'rsa' ? await signPss(key, digest, hash) : await signEcdsa(key, digest);
}

/** @throws {SignetError} INVALID_ARGUMENT for an unknown hash or a digest of another length than the hash makes */
export function checkDigest(digest: Uint8Array, hash: SignatureHash): void {
  if (!Object.hasOwn(DIGEST_BYTES, hash)) throw new SignetError('INVALID_ARGUMENT', 'unknown hash of the digest');
  if (digest.byteLength === DIGEST_BYTES[hash]) return;
  throw new SignetError(
    'INVALID_ARGUMENT',
    `a ${hash} digest has ${DIGEST_BYTES[hash]} bytes, not ${digest.byteLength}`,
  );
}

async function signEcdsa(key: KeyObject, digest: Uint8Array): Promise<Uint8Array> {
  const curve = curveOf(key).name;
  if (curve === 'P-224') throw new SignetError('UNSUPPORTED', 'P-224 keys sign messages, not digests');
  const ecdsa = await ecdsaOn(curve);
  // extraEntropy: hedged nonces (RFC 6979 §3.6), so that a computing fault does not reveal the key.
  const options = { prehash: false, lowS: false, extraEntropy: true };
  return useScalar(key, (scalar) => ecdsa.sign(digest, scalar, options));
}

/** RFC 8017 §8.1.1 from step 2 of EMSA-PSS (§9.1.1) on. */
async function signPss(key: KeyObject, digest: Uint8Array, hash: SignatureHash): Promise<Uint8Array> {
  const modulusBits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  const encodedBytes = Math.ceil((modulusBits - 1) / 8);
  if (encodedBytes < 2 * digest.byteLength + 2) {
    throw new SignetError('INVALID_ARGUMENT', `RSA keys of ${modulusBits} bits are too short for PSS with ${hash}`);
  }
  const { default: forge } = await import('node-forge');
  const md = forge.md[hash].create();
  const scheme = forge.pss.create({
    md,
    mgf: forge.mgf.mgf1.create(forge.md[hash].create()),
    salt: randomBytes(digest.byteLength).toString('latin1'),
  });
  const ready = { digest: () => forge.util.createBuffer(Buffer.from(digest).toString('latin1')) };
  const encoded: string = scheme.encode(ready, modulusBits);
  const padded = Buffer.alloc(Math.ceil(modulusBits / 8));
  padded.write(encoded, padded.length - encodedBytes, 'latin1');
  return privateEncrypt({ key, padding: constants.RSA_NO_PADDING }, padded);
}
