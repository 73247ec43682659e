/**
 * ECDSA over ready digests (FIPS 186-4 §6.4). node:crypto always hashes what it signs, so it only multiplies points
 * here, where nearly all of the time goes; the few steps with numbers are done in BigInt. Not constant-time: test keys.
 */
import { createECDH } from 'node:crypto';
import { DER_TAG, derSequence, encodeDer } from '../../../../src/crypto/der.ts';
import type { NamedCurve } from '../../../../src/crypto/named-curves.ts';

/**
 * Signs a digest of at most the curve's size.
 *
 * @param scalar The private key, 1 to n - 1.
 * @returns ECDSA-Sig-Value in DER (RFC 3279 §2.2.3).
 */
export function signDigest(curve: NamedCurve, scalar: bigint, digest: Uint8Array): Buffer {
  const order = BigInt(`0x${curve.order}`);
  const e = toBigInt(digest);
  for (;;) {
    const nonce = createECDH(curve.opensslName);
    const point = nonce.generateKeys();
    const r = toBigInt(point.subarray(1, 1 + curve.scalarBytes)) % order;
    const s = (inverse(toBigInt(nonce.getPrivateKey()), order) * (e + r * scalar)) % order;
    if (r !== 0n && s !== 0n) return encodeDer(derSequence(derInteger(r), derInteger(s)));
  }
}

/** The inverse of `value` modulo `modulus` by the extended Euclidean algorithm; both must be coprime. */
export function inverse(value: bigint, modulus: bigint): bigint {
  let [previous, remainder] = [modulus, value % modulus];
  let [previousFactor, factor] = [0n, 1n];
  while (remainder !== 0n) {
    const quotient = previous / remainder;
    [previous, remainder] = [remainder, previous - quotient * remainder];
    [previousFactor, factor] = [factor, previousFactor - quotient * factor];
  }
  return previousFactor < 0n ? previousFactor + modulus : previousFactor;
}

/** Reads a big-endian unsigned number. */
export function toBigInt(octets: Uint8Array): bigint {
  return BigInt(`0x0${Buffer.from(octets).toString('hex')}`);
}

/** An INTEGER that is not negative. */
export function derInteger(value: bigint): { readonly tag: number; readonly content: Buffer } {
  const hex = value.toString(16);
  const octets = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex');
  const needsSign = (octets[0] ?? 0) >= 0x80;
  return { tag: DER_TAG.INTEGER, content: needsSign ? Buffer.concat([Buffer.of(0), octets]) : octets };
}
