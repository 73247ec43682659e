/** The numbers of a private key, as tokens take them. */
import type { KeyObject } from 'node:crypto';
import { privateKeyParts } from '../../crypto/private-key-parts.ts';

/**
 * Exponents and coefficient of RSA keys get leading zeros up to the length of the primes: libykcs11, up to 2.7.2 at least,
 * tells the card a wrong length for shorter ones, which one key in eighty has.
 *
 * @returns As `privateKeyParts`; the caller zeroes them.
 * @throws {SignetError} UNSUPPORTED for other types of keys
 */
export function importParts(key: KeyObject): readonly Buffer[] {
  const { kind, parts } = privateKeyParts(key);
  if (kind !== 'rsa') return parts;
  const [privateExponent, ...crt] = parts;
  const bytes = Math.max(...crt.map(({ byteLength }) => byteLength));
  return [...(privateExponent === undefined ? [] : [privateExponent]), ...crt.map((part) => padded(part, bytes))];
}

/** Zeroes what it is given. */
function padded(magnitude: Buffer, bytes: number): Buffer {
  const longer = Buffer.alloc(bytes);
  longer.set(magnitude, bytes - magnitude.byteLength);
  magnitude.fill(0);
  return longer;
}
