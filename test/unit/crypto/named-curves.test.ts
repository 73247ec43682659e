import { p256, p384, p521 } from '@noble/curves/nist.js';
import { describe, expect, it } from 'vitest';
import { curveByOid, curveByOpensslName } from '../../../src/crypto/named-curves.ts';

describe('the table of curves', () => {
  it.each([
    ['1.2.840.10045.3.1.7', 'P-256', p256],
    ['1.3.132.0.34', 'P-384', p384],
    ['1.3.132.0.35', 'P-521', p521],
  ] as const)('has the order and size that @noble/curves knows for %s, %s', (oid, name, noble) => {
    const curve = curveByOid(oid);
    expect(curve?.name).toBe(name);
    expect(curve?.scalarBytes).toBe(noble.lengths.secretKey);
    expect(BigInt(`0x${curve?.order}`)).toBe(noble.Point.Fn.ORDER);
  });

  it.each(['1.3.132.0.33', '1.2.840.10045.3.1.7', '1.3.132.0.34', '1.3.132.0.35'])(
    'writes the order of %s in full',
    (oid) => {
      const curve = curveByOid(oid);
      expect(curve?.order).toHaveLength(2 * (curve?.scalarBytes ?? 0));
      expect(curveByOpensslName(curve?.opensslName)).toBe(curve);
    },
  );

  it('lacks secp256k1', () => {
    expect(curveByOid('1.3.132.0.10')).toBeUndefined();
    expect(curveByOpensslName('secp256k1')).toBeUndefined();
    expect(curveByOpensslName(undefined)).toBeUndefined();
  });
});
