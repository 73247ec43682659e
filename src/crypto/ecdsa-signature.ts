/** ECDSA signatures: r‖s, as they cross the port, ↔ DER, as X.509 and OpenSSL hold them. */
import { SignetError } from '../errors.ts';
import { DerReader, derSequence, derUnsignedBytes, encodeDer } from './der.ts';

/**
 * @param signature r‖s, two halves of the same length.
 * @returns Ecdsa-Sig-Value (RFC 3279 §2.2.3).
 * @throws {SignetError} INVALID_ARGUMENT for an odd length or none
 */
export function ecdsaSignatureToDer(signature: Uint8Array): Buffer {
  const half = signature.byteLength / 2;
  if (half === 0 || !Number.isInteger(half)) {
    throw new SignetError('INVALID_ARGUMENT', `an ECDSA signature of ${signature.byteLength} bytes has no two halves`);
  }
  return encodeDer(
    derSequence(derUnsignedBytes(signature.subarray(0, half)), derUnsignedBytes(signature.subarray(half))),
  );
}

/**
 * @param der Ecdsa-Sig-Value.
 * @param scalarBytes Length of each half, from the curve.
 * @returns r‖s
 * @throws {SignetError} INVALID_ARGUMENT if it is malformed or a number does not fit the curve
 */
export function ecdsaSignatureFromDer(der: Uint8Array, scalarBytes: number): Buffer {
  const outer = new DerReader(der, { what: 'ECDSA signature', code: 'INVALID_ARGUMENT' });
  const reader: DerReader = outer.readSequence('Ecdsa-Sig-Value');
  outer.end();
  const out = Buffer.alloc(2 * scalarBytes);
  for (const [index, name] of ['r', 's'].entries()) {
    const number = reader.readUnsigned(name);
    if (number.byteLength > scalarBytes) reader.fail(`${name} is larger than the curve`);
    out.set(number, (index + 1) * scalarBytes - number.byteLength);
  }
  reader.end();
  return out;
}
