import { generateKeyPairSync, sign, verify } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ecdsaSignatureFromDer, ecdsaSignatureToDer } from '../../../src/crypto/ecdsa-signature.ts';
import { SignetError } from '../../../src/errors.ts';

const sizes = fc.constantFrom(28, 32, 48, 66);

describe('ECDSA signatures', () => {
  it.each([
    ['prime256v1', 32],
    ['secp521r1', 66],
  ])('on %s are taken by OpenSSL in either encoding', (namedCurve, scalarBytes) => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve });
    const raw = sign('sha256', Buffer.from('message'), { key: privateKey, dsaEncoding: 'ieee-p1363' });
    const der = ecdsaSignatureToDer(raw);
    expect(verify('sha256', Buffer.from('message'), publicKey, der)).toBe(true);
    expect(ecdsaSignatureFromDer(der, scalarBytes)).toStrictEqual(raw);
  });

  it('survive the way to DER and back, with any leading zeros', () => {
    const halves = sizes.chain((size) =>
      fc.tuple(...[1, 2].map(() => fc.uint8Array({ minLength: size, maxLength: size }))),
    );
    fc.assert(
      fc.property(halves, (parts) => {
        const raw = Buffer.concat(parts);
        expect(ecdsaSignatureFromDer(ecdsaSignatureToDer(raw), raw.length / 2)).toStrictEqual(raw);
      }),
    );
  });

  it.each([0, 1, 63])('of %d bytes have no two halves', (length) => {
    expect(() => ecdsaSignatureToDer(new Uint8Array(length))).toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        message: `an ECDSA signature of ${length} bytes has no two halves`,
      }),
    );
  });

  it.each([
    ['a number larger than the curve', '3007020201ff020101', 'r is larger than the curve'],
    ['a negative number', '3006020180020101', 'r is negative'],
    ['a third number', '3009020101020101020101', 'trailing bytes'],
    ['one number', '3003020101', 's is missing'],
  ])('with %s are refused', (_, hex, problem) => {
    expect(() => ecdsaSignatureFromDer(Buffer.from(hex, 'hex'), 1)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: `malformed ECDSA signature: ${problem}` }),
    );
  });

  it('any bytes give a signature or a SignetError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), sizes, (bytes, size) => {
        try {
          expect(ecdsaSignatureFromDer(bytes, size)).toHaveLength(2 * size);
        } catch (error) {
          expect(error).toBeInstanceOf(SignetError);
        }
      }),
    );
  });
});
