/** The numbers of a public key, for formats that want them one by one. All are views of the key's bytes. */
import { DER_TAG, DerReader, type DerSubject } from './der.ts';
import { curveByOid, type NamedCurve } from './named-curves.ts';
import type { PublicKey } from './public-key.ts';

export type PublicKeyParts =
  /** Affine coordinates, each of the curve's size. */
  | { readonly kind: 'ec'; readonly curve: NamedCurve; readonly x: Uint8Array; readonly y: Uint8Array }
  | { readonly kind: 'ed25519'; readonly bytes: Uint8Array }
  /** Big-endian magnitudes without leading zeros. */
  | { readonly kind: 'rsa'; readonly modulus: Uint8Array; readonly exponent: Uint8Array };

const SUBJECT: DerSubject = { what: 'public key', code: 'INVALID_ARGUMENT' };

/** @throws {SignetError} INVALID_ARGUMENT for a malformed key or another curve; the point itself is not checked */
export function publicKeyParts(key: PublicKey): PublicKeyParts {
  if (key.algorithm === 'ed25519') return { kind: 'ed25519', bytes: key.bytes };
  const outer = new DerReader(key.bytes, SUBJECT);
  const spki: DerReader = outer.readSequence('SubjectPublicKeyInfo');
  outer.end();
  const algorithm: DerReader = spki.readSequence('algorithm');
  algorithm.readOid('algorithm');
  const bits = spki.bitStringOctets(spki.read(DER_TAG.BIT_STRING, 'subjectPublicKey'), 'subjectPublicKey');
  spki.end();
  if (key.algorithm === 'rsa') return rsaParts(spki.inside(bits).readSequence('RSAPublicKey'));

  const curve = curveByOid(algorithm.readOid('curve'));
  if (curve === undefined || bits.byteLength !== 1 + 2 * curve.scalarBytes) return spki.fail('unknown curve or form');
  return {
    kind: 'ec',
    curve,
    x: bits.subarray(1, 1 + curve.scalarBytes),
    y: bits.subarray(1 + curve.scalarBytes),
  };
}

/** RFC 8017 appendix A.1.1. */
function rsaParts(key: DerReader): PublicKeyParts {
  return { kind: 'rsa', modulus: key.readUnsigned('modulus'), exponent: key.readUnsigned('publicExponent') };
}
