/** The elliptic curves of Notary's ECDSA keys (FIPS 186-4 D.1.2), by object identifier. */

export type CurveName = 'P-224' | 'P-256' | 'P-384' | 'P-521';

export interface NamedCurve {
  readonly name: CurveName;
  /** RFC 5480 §2.1.1.1. */
  readonly oid: string;
  /** OpenSSL's name, as in `KeyObject.asymmetricKeyDetails.namedCurve`. */
  readonly opensslName: string;
  /** Bytes of a private scalar, and of each half of a signature. */
  readonly scalarBytes: number;
  /** n, as hex of `scalarBytes`. Scalars are 1 to n − 1. */
  readonly order: string;
}

const CURVES: readonly NamedCurve[] = [
  {
    name: 'P-224',
    oid: '1.3.132.0.33',
    opensslName: 'secp224r1',
    scalarBytes: 28,
    order: 'ffffffffffffffffffffffffffff16a2e0b8f03e13dd29455c5c2a3d',
  },
  {
    name: 'P-256',
    oid: '1.2.840.10045.3.1.7',
    opensslName: 'prime256v1',
    scalarBytes: 32,
    order: 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551',
  },
  {
    name: 'P-384',
    oid: '1.3.132.0.34',
    opensslName: 'secp384r1',
    scalarBytes: 48,
    order: 'ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973',
  },
  {
    name: 'P-521',
    oid: '1.3.132.0.35',
    opensslName: 'secp521r1',
    scalarBytes: 66,
    order:
      '01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409',
  },
];

/** @returns Undefined for a curve that Notary does not sign with (secp256k1, Brainpool, …). */
export function curveByOid(oid: string): NamedCurve | undefined {
  return CURVES.find((curve) => curve.oid === oid);
}

export function curveByOpensslName(opensslName: string | undefined): NamedCurve | undefined {
  return CURVES.find((curve) => curve.opensslName === opensslName);
}

/** @param name As `P-256`; these are also JOSE's names (RFC 7518 §6.2.1.1), but for P-224. */
export function curveByName(name: string): NamedCurve | undefined {
  return CURVES.find((curve) => curve.name === name);
}
