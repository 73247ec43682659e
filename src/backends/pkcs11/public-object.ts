/** The attributes of a public key object ↔ the public key, in the encodings that modules really use. */
import { createPublicKey } from 'node:crypto';
import {
  DER_TAG,
  type DerNode,
  DerReader,
  derBitString,
  derOctetString,
  derOid,
  derSequence,
  encodeDer,
} from '../../crypto/der.ts';
import { curveByOid, curveByOpensslName, type NamedCurve } from '../../crypto/named-curves.ts';
import { type PublicKey, publicKeyOf, toKeyObject } from '../../crypto/public-key.ts';
import { SignetError } from '../../errors.ts';
import { CKK } from './constants.ts';
import { curveOfNumbers, isOnCurve } from './curve-points.ts';
import type { KeyFacts } from './host-protocol.ts';

/** What a token tells about a public key; which are present depends on the key type. */
export interface PublicAttributes {
  /** CKA_KEY_TYPE. */
  readonly keyType: number;
  readonly ecParams?: Uint8Array | undefined;
  readonly ecPoint?: Uint8Array | undefined;
  readonly modulus?: Uint8Array | undefined;
  readonly publicExponent?: Uint8Array | undefined;
}

const OID_EC_PUBLIC_KEY = '1.2.840.10045.2.1'; // RFC 5480 §2.1.1
const OID_RSA = '1.2.840.113549.1.1.1'; // RFC 8017 appendix A.1
const OID_ED25519 = '1.3.101.112'; // RFC 8410 §3
/** CKA_EC_PARAMS: DER of id-Ed25519. */
export const ED25519_PARAMS = encodeDer(derOid(OID_ED25519));
/** PKCS#11 v3.0's alternative: PrintableString "edwards25519". */
export const ED25519_PARAMS_BY_NAME = Buffer.from('130c656477617264733235353139', 'hex');
const ED25519_BYTES = 32;
const MAX_MODULUS_BYTES = 2048;
const MAX_EXPONENT_BYTES = 8;

const SUBJECT = { what: 'public key object', code: 'INTEGRITY' } as const;

function damaged(problem: string, cause?: unknown): SignetError {
  return new SignetError('INTEGRITY', `malformed ${SUBJECT.what}: ${problem}`, { cause });
}

/** @throws {SignetError} INTEGRITY if the object is malformed, UNSUPPORTED for other key types, curves and parameters */
export function publicKeyFromAttributes(attributes: PublicAttributes): PublicKey {
  switch (attributes.keyType) {
    case CKK.EC:
      return ecKey(required(attributes.ecParams, 'EC_PARAMS'), required(attributes.ecPoint, 'EC_POINT'));
    case CKK.EC_EDWARDS:
      return edwardsKey(required(attributes.ecParams, 'EC_PARAMS'), required(attributes.ecPoint, 'EC_POINT'));
    case CKK.RSA:
      return rsaKey(required(attributes.modulus, 'MODULUS'), required(attributes.publicExponent, 'PUBLIC_EXPONENT'));
    default:
      throw new SignetError(
        'UNSUPPORTED',
        `keys of PKCS#11 type 0x${attributes.keyType.toString(16)} are not supported`,
      );
  }
}

/** The attributes as they cross the protocol, in base64, → bytes. */
export function decodeAttributes(facts: Omit<KeyFacts, 'hasPrivate' | 'ckaId' | 'label'>): PublicAttributes {
  const bytes = (text: string | undefined) => (text === undefined ? undefined : Buffer.from(text, 'base64'));
  const { keyType, ecParams, ecPoint, modulus, publicExponent } = facts;
  return {
    keyType,
    ecParams: bytes(ecParams),
    ecPoint: bytes(ecPoint),
    modulus: bytes(modulus),
    publicExponent: bytes(publicExponent),
  };
}

/** The same as they cross the protocol, in base64. */
export function encodePublicKey(key: PublicKey): Omit<KeyFacts, 'hasPrivate' | 'ckaId' | 'label'> {
  const { keyType, ecParams, ecPoint, modulus, publicExponent } = attributesOfPublicKey(key);
  const base64 = (bytes: Uint8Array | undefined) =>
    bytes === undefined ? undefined : Buffer.from(bytes).toString('base64');
  return {
    keyType,
    ecParams: base64(ecParams),
    ecPoint: base64(ecPoint),
    modulus: base64(modulus),
    publicExponent: base64(publicExponent),
  };
}

/** The attributes to store a public key with. EC_POINT is wrapped in an OCTET STRING, as PKCS#11 v2.40 §2.3.3 has it. */
export function attributesOfPublicKey(key: PublicKey): PublicAttributes {
  switch (key.algorithm) {
    case 'ed25519':
      return {
        keyType: CKK.EC_EDWARDS,
        ecParams: ED25519_PARAMS,
        ecPoint: encodeDer(derOctetString(key.bytes)),
      };
    case 'ecdsa': {
      const curve = curveByOpensslName(toKeyObject(key).asymmetricKeyDetails?.namedCurve);
      if (curve === undefined) throw new SignetError('UNSUPPORTED', 'the curve of the key is not supported');
      const point = key.bytes.subarray(key.bytes.byteLength - pointBytes(curve));
      return { keyType: CKK.EC, ecParams: curveParams(curve), ecPoint: encodeDer(derOctetString(point)) };
    }
    case 'rsa': {
      const pkcs1 = toKeyObject(key).export({ format: 'der', type: 'pkcs1' });
      const reader = new DerReader(pkcs1, SUBJECT).readSequence('RSAPublicKey');
      const modulus = reader.readUnsigned('modulus');
      return { keyType: CKK.RSA, modulus, publicExponent: reader.readUnsigned('publicExponent') };
    }
  }
}

/** CKA_EC_PARAMS of a named curve. */
export function curveParams(curve: NamedCurve): Buffer {
  return encodeDer(derOid(curve.oid));
}

function required(value: Uint8Array | undefined, name: string): Uint8Array {
  if (value !== undefined && value.byteLength > 0) return value;
  throw damaged(`CKA_${name} is missing`);
}

function pointBytes(curve: NamedCurve): number {
  return 1 + 2 * curve.scalarBytes;
}

function ecKey(params: Uint8Array, ecPoint: Uint8Array): PublicKey {
  const curve = curveOf(params);
  const point = unwrapPoint(ecPoint, pointBytes(curve));
  if (point[0] !== 0x04) throw damaged('CKA_EC_POINT is not an uncompressed point'); // SEC 1 §2.3.3
  const algorithm = derSequence(derOid(OID_EC_PUBLIC_KEY), derOid(curve.oid));
  const isValid = isOnCurve(curve, point);
  if (isValid === undefined) return fromSpki(algorithm, point);
  if (!isValid) throw damaged('not a valid key');
  return { algorithm: 'ecdsa', bytes: encodeDer(derSequence(algorithm, derBitString(point))) };
}

/** CKA_EC_PARAMS is a choice (RFC 3279 §2.3.5): a curve's name, or all of its numbers. */
function curveOf(params: Uint8Array): NamedCurve {
  const reader = new DerReader(params, SUBJECT);
  if (reader.peekTag() === DER_TAG.SEQUENCE) return curveOfNumbers(params);
  const oid = reader.readOid('CKA_EC_PARAMS');
  reader.end();
  const curve = curveByOid(oid);
  if (curve === undefined) throw new SignetError('UNSUPPORTED', `EC keys on the curve ${oid} are not supported`);
  return curve;
}

function edwardsKey(params: Uint8Array, ecPoint: Uint8Array): PublicKey {
  if (!ED25519_PARAMS.equals(params) && !ED25519_PARAMS_BY_NAME.equals(params)) {
    throw new SignetError('UNSUPPORTED', 'Edwards keys on other curves than Ed25519 are not supported');
  }
  const key = { algorithm: 'ed25519', bytes: Buffer.from(unwrapPoint(ecPoint, ED25519_BYTES)) } as const;
  checkKey(() => toKeyObject(key));
  return key;
}

/** The point is wrapped in an OCTET STRING or bare: both exist. Told apart by length, as both may begin with 0x04. */
function unwrapPoint(ecPoint: Uint8Array, lengthBytes: number): Uint8Array {
  if (ecPoint.byteLength === lengthBytes) return ecPoint;
  const reader = new DerReader(ecPoint, SUBJECT);
  const point = reader.read(DER_TAG.OCTET_STRING, 'CKA_EC_POINT');
  reader.end();
  if (point.byteLength !== lengthBytes) throw damaged(`CKA_EC_POINT has not ${lengthBytes} bytes`);
  return point;
}

function rsaKey(modulus: Uint8Array, exponent: Uint8Array): PublicKey {
  if (modulus.byteLength > MAX_MODULUS_BYTES || exponent.byteLength > MAX_EXPONENT_BYTES) throw damaged('too long');
  const pkcs1 = derSequence(unsigned(modulus), unsigned(exponent));
  const none: DerNode = { tag: DER_TAG.NULL, content: [] };
  return fromSpki(derSequence(derOid(OID_RSA), none), encodeDer(pkcs1));
}

/** A big integer of PKCS#11 (big-endian, any number of leading zeros) as DER INTEGER. */
function unsigned(magnitude: Uint8Array): DerNode {
  let start = 0;
  while (start < magnitude.byteLength - 1 && magnitude[start] === 0) start++;
  const digits = magnitude.subarray(start);
  const isHigh = (digits[0] ?? 0) >= 0x80;
  return { tag: DER_TAG.INTEGER, content: isHigh ? Buffer.concat([Buffer.of(0), digits]) : digits };
}

/** Through node:crypto, which checks that the point is on the curve and writes the canonical encoding. */
function fromSpki(algorithm: DerNode, bits: Uint8Array): PublicKey {
  const key = encodeDer(derSequence(algorithm, derBitString(bits)));
  return checkKey(() => publicKeyOf(createPublicKey({ key, format: 'der', type: 'spki' })));
}

function checkKey<T>(make: () => T): T {
  try {
    return make();
  } catch (cause) {
    throw damaged('not a valid key', cause);
  }
}
