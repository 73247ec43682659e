import { generateKeyPairSync } from 'node:crypto';
import { p256 } from '@noble/curves/nist.js';
import { describe, expect, it } from 'vitest';
import { CKK } from '../../../../src/backends/pkcs11/constants.ts';
import {
  attributesOfPublicKey,
  type PublicAttributes,
  publicKeyFromAttributes,
} from '../../../../src/backends/pkcs11/public-object.ts';
import { DER_TAG, derOctetString, derOid, derSequence, encodeDer } from '../../../../src/crypto/der.ts';
import { PrivateKey } from '../../../../src/crypto/private-key.ts';

const privateKeyEncoding = { format: 'der', type: 'pkcs8' } as const;
const publicKeyEncoding = { format: 'der', type: 'spki' } as const;
const P256 = Buffer.from('06082a8648ce3d030107', 'hex');

function publicKeyOn(namedCurve: string) {
  return PrivateKey.fromPkcs8(
    generateKeyPairSync('ec', { namedCurve, privateKeyEncoding, publicKeyEncoding }).privateKey,
  ).publicKey;
}

/** ECParameters of P-256 in full (RFC 3279 §2.3.5), or of a curve that differs. */
function explicitP256(
  other: Partial<Record<'p' | 'b' | 'order' | 'cofactor', bigint>> & { generator?: P256Point } = {},
) {
  const curve = p256.Point.CURVE();
  const bytes = (number: bigint) => Buffer.from(number.toString(16).padStart(64, '0'), 'hex');
  const integer = (number: bigint) => {
    const magnitude = number < 256n ? Buffer.of(Number(number)) : bytes(number);
    const isHigh = (magnitude[0] ?? 0) >= 0x80;
    return { tag: DER_TAG.INTEGER, content: isHigh ? Buffer.concat([Buffer.of(0), magnitude]) : magnitude };
  };
  return encodeDer(
    derSequence(
      integer(1n),
      derSequence(derOid('1.2.840.10045.1.1'), integer(other.p ?? curve.p)), // prime-field
      derSequence(derOctetString(bytes(curve.a)), derOctetString(bytes(other.b ?? curve.b))),
      derOctetString((other.generator ?? p256.Point.BASE).toBytes(false)),
      integer(other.order ?? curve.n),
      integer(other.cofactor ?? 1n),
    ),
  );
}

type P256Point = typeof p256.Point.BASE;

describe('public key objects', () => {
  it.each(['P-224', 'P-256', 'P-384', 'P-521'])('give a %s key back, with a wrapped and with a bare point', (curve) => {
    const key = publicKeyOn(curve);
    const attributes = attributesOfPublicKey(key);
    expect(publicKeyFromAttributes(attributes)).toEqual(key);
    const { ecPoint = Buffer.alloc(0) } = attributes;
    const bare = ecPoint.subarray(ecPoint[1] === 0x81 ? 3 : 2);
    expect(bare[0]).toBe(4);
    expect(publicKeyFromAttributes({ ...attributes, ecPoint: bare })).toEqual(key);
  });

  it('give a P-256 key back whose curve is told by its numbers, as ykcs11 does for imported keys', () => {
    const key = publicKeyOn('P-256');
    const { ecPoint, keyType } = attributesOfPublicKey(key);
    expect(publicKeyFromAttributes({ keyType, ecPoint, ecParams: explicitP256() })).toEqual(key);
  });

  it('are refused if one of these numbers is another: a curve that looks like P-256 is not it', () => {
    const { ecPoint, keyType } = attributesOfPublicKey(publicKeyOn('P-256'));
    const { BASE } = p256.Point;
    const others = [
      { generator: BASE.double() },
      { generator: BASE.negate() },
      { order: p256.Point.CURVE().n - 2n },
      { b: p256.Point.CURVE().b + 1n },
      { p: p256.Point.CURVE().p - 2n },
      { cofactor: 2n },
    ];
    for (const other of others) {
      expect(() => publicKeyFromAttributes({ keyType, ecPoint, ecParams: explicitP256(other) })).toThrow(
        expect.objectContaining({ code: 'UNSUPPORTED' }),
      );
    }
  });

  it('give an Ed25519 key back, by object identifier and by name', async () => {
    const { publicKey } = await PrivateKey.generate('ed25519');
    const attributes = attributesOfPublicKey(publicKey);
    const byName = Buffer.from('130c656477617264733235353139', 'hex');
    for (const read of [attributes, { ...attributes, ecParams: byName }, { ...attributes, ecPoint: publicKey.bytes }]) {
      expect(publicKeyFromAttributes(read)).toEqual(publicKey);
    }
  });

  it('give an RSA key back, with and without leading zeros', async () => {
    const { publicKey } = await PrivateKey.generate('rsa');
    const { modulus = Buffer.alloc(0), ...rest } = attributesOfPublicKey(publicKey);
    for (const zeros of [0, 1, 3]) {
      const padded = { ...rest, modulus: Buffer.concat([Buffer.alloc(zeros), modulus]) };
      expect(publicKeyFromAttributes(padded)).toEqual(publicKey);
    }
  });

  it.each<[string, PublicAttributes, string]>([
    ['no point', { keyType: CKK.EC, ecParams: P256 }, 'INTEGRITY'],
    ['no curve', { keyType: CKK.EC, ecPoint: Buffer.alloc(65, 4) }, 'INTEGRITY'],
    ['a point off the curve', { keyType: CKK.EC, ecParams: P256, ecPoint: Buffer.alloc(65, 4) }, 'INTEGRITY'],
    ['a compressed point', { keyType: CKK.EC, ecParams: P256, ecPoint: Buffer.alloc(33, 2) }, 'INTEGRITY'],
    [
      'incomplete explicit parameters',
      { keyType: CKK.EC, ecParams: Buffer.from('3003020101', 'hex'), ecPoint: Buffer.alloc(65, 4) },
      'INTEGRITY',
    ],
    [
      'a curve of others',
      { keyType: CKK.EC, ecParams: Buffer.from('06052b8104000a', 'hex'), ecPoint: Buffer.alloc(65, 4) },
      'UNSUPPORTED',
    ],
    [
      'Ed448',
      { keyType: CKK.EC_EDWARDS, ecParams: Buffer.from('06032b6571', 'hex'), ecPoint: Buffer.alloc(57) },
      'UNSUPPORTED',
    ],
    [
      'an endless modulus',
      { keyType: CKK.RSA, modulus: Buffer.alloc(5000, 1), publicExponent: Buffer.of(3) },
      'INTEGRITY',
    ],
    ['a type that we do not know', { keyType: 0x1f }, 'UNSUPPORTED'],
  ])('with %s are refused', (_, attributes, code) => {
    expect(() => publicKeyFromAttributes(attributes)).toThrow(expect.objectContaining({ code }));
  });
});
