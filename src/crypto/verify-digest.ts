/** Verification of signatures over ready digests, which node:crypto cannot do; loaded on first use as in sign-digest.ts. */
import { constants, type KeyObject, publicEncrypt } from 'node:crypto';
import { SignetError } from '../errors.ts';
import type { SignatureHash } from './algorithms.ts';
import { curveByOpensslName } from './named-curves.ts';
import { type PublicKey, toKeyObject } from './public-key.ts';
import { ecdsaOn } from './sign-digest.ts';

/**
 * Verifies what `signDigest` and tokens answer: ECDSA as r‖s, RSASSA-PSS with MGF1 of the same hash and a salt as long as
 * the hash.
 *
 * @param digest Of the length of `hash`.
 * @returns False for any signature that does not verify; it does not throw for a malformed one.
 * @throws {SignetError} INVALID_ARGUMENT for an Ed25519 key or a malformed one, UNSUPPORTED for P-224
 */
export async function verifyDigest(
  key: PublicKey,
  digest: Uint8Array,
  hash: SignatureHash,
  signature: Uint8Array,
): Promise<boolean> {
  const object = toKeyObject(key);
  switch (key.algorithm) {
    case 'ed25519':
      throw new SignetError('INVALID_ARGUMENT', 'ed25519 signs messages, not digests');
    case 'ecdsa':
      return verifyEcdsa(object, key.bytes, digest, signature);
    case 'rsa':
      return verifyPss(object, digest, hash, signature);
  }
}

async function verifyEcdsa(object: KeyObject, spki: Uint8Array, digest: Uint8Array, signature: Uint8Array) {
  const curve = curveByOpensslName(object.asymmetricKeyDetails?.namedCurve);
  if (curve === undefined || curve.name === 'P-224') {
    throw new SignetError('UNSUPPORTED', `${curve?.name ?? 'such'} keys sign messages, not digests`);
  }
  const ecdsa = await ecdsaOn(curve.name);
  // The point is the end of SubjectPublicKeyInfo (RFC 5480 §2.2), not compressed: `toKeyObject` took it as it is.
  const point = spki.subarray(spki.byteLength - (1 + 2 * curve.scalarBytes));
  try {
    return ecdsa.verify(signature, digest, point, { prehash: false, lowS: false });
  } catch {
    return false;
  }
}

/** RFC 8017 §8.1.2, with EMSA-PSS-VERIFY (§9.1.2) by node-forge. */
async function verifyPss(object: KeyObject, digest: Uint8Array, hash: SignatureHash, signature: Uint8Array) {
  const modulusBits = object.asymmetricKeyDetails?.modulusLength ?? 0;
  if (signature.byteLength !== Math.ceil(modulusBits / 8)) return false;
  const { default: forge } = await import('node-forge');
  const scheme = forge.pss.create({
    md: forge.md[hash].create(),
    mgf: forge.mgf.mgf1.create(forge.md[hash].create()),
    saltLength: digest.byteLength,
  });
  try {
    const padded = publicEncrypt({ key: object, padding: constants.RSA_NO_PADDING }, signature);
    const encoded = padded.subarray(padded.length - Math.ceil((modulusBits - 1) / 8));
    return scheme.verify(Buffer.from(digest).toString('latin1'), encoded.toString('latin1'), modulusBits);
  } catch {
    return false;
  }
}
