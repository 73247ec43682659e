/**
 * The plaintext encodings of private keys ↔ node:crypto keys: PKCS#8 in Notary's dialect and in the standard one, SEC1,
 * PKCS#1 and Notary's raw Ed25519.
 *
 * The structure is checked here, not left to OpenSSL, which accepts scalars out of range and public halves of other keys.
 */
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { SignetError } from '../errors.ts';
import {
  contextTag,
  DER_TAG,
  DerReader,
  derBitString,
  derOctetString,
  derOid,
  derSequence,
  derUnsigned,
  encodeDer,
} from './der.ts';
import { curveByOid, curveByOpensslName, type NamedCurve } from './named-curves.ts';
import { publicKeyOf } from './public-key.ts';

const OID = {
  ecPublicKey: '1.2.840.10045.2.1', // RFC 5480 §2.1.1
  rsaEncryption: '1.2.840.113549.1.1.1', // RFC 8017 appendix A.1
  ed25519: '1.3.101.112', // RFC 8410 §3
  notaryEd25519: '1.3.6.1.4.1.11591.15.1', // GNU's arc; the only one that Notary reads and writes
} as const;

/** PrivateKeyInfo of an Ed25519 key up to its 32 bytes (RFC 8410 §7). */
const ED25519_PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const ED25519_BYTES = 32;
/** public ‖ seed ‖ public: Go's 64-byte private key behind the public half. */
const NOTARY_ED25519_BYTES = 3 * ED25519_BYTES;

const RSA_MIN_BITS = 1024;
const RSA_MAX_BITS = 16384;
/** Go refuses longer public exponents, so no key that Notary can use has one. */
const RSA_MAX_EXPONENT_BYTES = 4;

function invalid(message: string, cause?: unknown): SignetError {
  return new SignetError('INVALID_ARGUMENT', message, { cause });
}

function importKey(what: string, der: Buffer, type: 'pkcs1' | 'pkcs8' | 'sec1'): KeyObject {
  try {
    return createPrivateKey({ key: der, format: 'der', type });
  } catch (cause) {
    throw invalid(`malformed ${what} private key`, cause);
  }
}

/**
 * Reads PrivateKeyInfo or OneAsymmetricKey (RFC 5208 §5, RFC 5958 §2), Notary's dialect included: version 1 without a
 * public key, Ed25519 under GNU's identifier.
 *
 * @param der Not changed.
 * @throws {SignetError} INVALID_ARGUMENT, UNSUPPORTED
 */
export function decodePkcs8(der: Uint8Array): KeyObject {
  const outer = new DerReader(der, { what: 'PKCS#8 private key', code: 'INVALID_ARGUMENT' });
  const info: DerReader = outer.readSequence('PrivateKeyInfo');
  outer.end();
  const version = info.readSmallUnsigned('version');
  if (version > 1) info.fail('unknown version');
  const algorithm: DerReader = info.readSequence('privateKeyAlgorithm');
  const oid = algorithm.readOid('algorithm');
  const privateKey = info.read(DER_TAG.OCTET_STRING, 'privateKey');
  info.readOptional(contextTag(0, 'constructed'), 'attributes');
  const publicKey = version === 1 ? info.readOptional(contextTag(1, 'primitive'), 'publicKey') : undefined;
  info.end();

  const key = decodeByAlgorithm(oid, algorithm, privateKey);
  algorithm.end();
  if (publicKey !== undefined) checkPublicHalf(key, info.bitStringOctets(publicKey, 'publicKey'));
  return key;
}

function decodeByAlgorithm(oid: string, parameters: DerReader, privateKey: Uint8Array): KeyObject {
  switch (oid) {
    case OID.ecPublicKey:
      return decodeSec1(privateKey, readCurve(parameters));
    case OID.rsaEncryption:
      if (parameters.readOptional(DER_TAG.NULL, 'parameters')?.byteLength) parameters.fail('NULL is not empty');
      return decodePkcs1(privateKey);
    case OID.notaryEd25519:
      return decodeNotaryEd25519(privateKey);
    case OID.ed25519: {
      const reader = parameters.inside(privateKey);
      const seed = reader.read(DER_TAG.OCTET_STRING, 'CurvePrivateKey');
      reader.end();
      return fromSeed(seed);
    }
    default:
      throw new SignetError('UNSUPPORTED', `private keys with the algorithm identifier ${oid} are not supported`);
  }
}

function readCurve(parameters: DerReader): NamedCurve {
  if (parameters.peekTag() === DER_TAG.SEQUENCE) {
    throw new SignetError('UNSUPPORTED', 'EC keys with explicit curve parameters are not supported');
  }
  const oid = parameters.readOid('curve');
  const curve = curveByOid(oid);
  if (curve === undefined) throw new SignetError('UNSUPPORTED', `EC keys on the curve ${oid} are not supported`);
  return curve;
}

/**
 * Reads ECPrivateKey (RFC 5915 §3).
 *
 * @param der Not changed.
 * @param outerCurve The curve, where the encoding around it has told it; one in `der` must then be the same.
 * @throws {SignetError} INVALID_ARGUMENT, UNSUPPORTED
 */
export function decodeSec1(der: Uint8Array, outerCurve?: NamedCurve): KeyObject {
  const outer = new DerReader(der, { what: 'EC private key', code: 'INVALID_ARGUMENT' });
  const key: DerReader = outer.readSequence('ECPrivateKey');
  outer.end();
  if (key.readSmallUnsigned('version') !== 1) key.fail('unknown version');
  const scalar = key.read(DER_TAG.OCTET_STRING, 'privateKey');
  const innerCurve = readInnerCurve(key);
  const publicKey = key.readOptional(contextTag(1, 'constructed'), 'publicKey');
  key.end();
  const curve = outerCurve ?? innerCurve;
  if (curve === undefined) key.fail('no curve is named');
  if (innerCurve !== undefined && innerCurve !== curve) key.fail('two different curves are named');

  const object = fromScalar(scalar, curve);
  if (publicKey !== undefined) {
    const reader = key.inside(publicKey);
    const point = reader.bitStringOctets(reader.read(DER_TAG.BIT_STRING, 'publicKey'), 'publicKey');
    reader.end();
    checkPublicHalf(object, point);
  }
  return object;
}

function readInnerCurve(key: DerReader): NamedCurve | undefined {
  const content = key.readOptional(contextTag(0, 'constructed'), 'parameters');
  if (content === undefined) return undefined;
  const reader = key.inside(content);
  const curve = readCurve(reader);
  reader.end();
  return curve;
}

/**
 * RFC 5915 asks for scalars of exactly the order's length. Go also reads those without their leading zeros or with
 * more of them, which old programs wrote.
 */
function fromScalar(scalar: Uint8Array, curve: NamedCurve): KeyObject {
  const padded = Buffer.alloc(curve.scalarBytes);
  let der: Buffer | undefined;
  try {
    const surplus = Math.max(0, scalar.byteLength - padded.length);
    padded.set(scalar.subarray(surplus), padded.length - (scalar.byteLength - surplus));
    const isInRange =
      scalar.subarray(0, surplus).every((octet) => octet === 0) &&
      padded.some((octet) => octet !== 0) &&
      padded.compare(Buffer.from(curve.order, 'hex')) < 0;
    if (!isInRange) throw invalid(`malformed EC private key: the scalar is out of range for ${curve.name}`);
    const parameters = { tag: contextTag(0, 'constructed'), content: [derOid(curve.oid)] };
    der = encodeDer(derSequence(derUnsigned(1), derOctetString(padded), parameters));
    return importKey('EC', der, 'sec1');
  } finally {
    padded.fill(0);
    der?.fill(0);
  }
}

/**
 * Reads RSAPrivateKey with two primes (RFC 8017 appendix A.1.2).
 *
 * @param der Not changed.
 * @throws {SignetError} INVALID_ARGUMENT, UNSUPPORTED
 * @remarks Signs once, to find halves that do not belong together: 1.5 ms for 3072 bits.
 */
export function decodePkcs1(der: Uint8Array): KeyObject {
  const outer = new DerReader(der, { what: 'RSA private key', code: 'INVALID_ARGUMENT' });
  const key: DerReader = outer.readSequence('RSAPrivateKey');
  outer.end();
  if (key.readSmallUnsigned('version') !== 0) {
    throw new SignetError('UNSUPPORTED', 'RSA keys with more than two primes are not supported');
  }
  const bits = bitLength(key.readUnsigned('modulus'));
  if (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS) {
    throw new SignetError('UNSUPPORTED', `RSA keys of ${bits} bits are not supported`, {
      hint: `use one of ${RSA_MIN_BITS} to ${RSA_MAX_BITS} bits`,
    });
  }
  if (key.readUnsigned('publicExponent').byteLength > RSA_MAX_EXPONENT_BYTES) key.fail('publicExponent is too large');
  // Bounded by the modulus, so that no operation takes longer than the modulus allows for.
  const readBounded = (name: string): number => {
    const length = bitLength(key.readUnsigned(name));
    if (length > bits) key.fail(`${name} is larger than the modulus`);
    return length;
  };
  readBounded('privateExponent');
  const primeBits = readBounded('prime1') + readBounded('prime2');
  if (primeBits !== bits && primeBits !== bits + 1) key.fail('the primes do not fit the modulus');
  for (const name of ['exponent1', 'exponent2', 'coefficient']) readBounded(name);
  key.end();

  const object = importKey('RSA', Buffer.from(der.buffer, der.byteOffset, der.byteLength), 'pkcs1');
  checkPair(object);
  return object;
}

function bitLength(magnitude: Uint8Array): number {
  return magnitude.byteLength * 8 - (Math.clz32(magnitude[0] ?? 0) - 24);
}

function checkPair(key: KeyObject): void {
  const probe = Buffer.from('pairwise consistency test');
  let isPair: boolean;
  try {
    isPair = verify('sha256', probe, createPublicKey(key), sign('sha256', probe, key));
  } catch (cause) {
    throw invalid('malformed RSA private key: it cannot sign', cause);
  }
  if (!isPair) throw invalid('malformed RSA private key: the public half belongs to another key');
}

/**
 * Reads public ‖ seed ‖ public, what Notary keeps of an Ed25519 key in `ED25519 PRIVATE KEY` and in the SQL table.
 *
 * @param bytes Not changed.
 * @throws {SignetError} INVALID_ARGUMENT
 */
export function decodeNotaryEd25519(bytes: Uint8Array): KeyObject {
  if (bytes.byteLength !== NOTARY_ED25519_BYTES) {
    throw invalid(`malformed Ed25519 private key: ${bytes.byteLength} bytes instead of ${NOTARY_ED25519_BYTES}`);
  }
  const key = fromSeed(bytes.subarray(ED25519_BYTES, 2 * ED25519_BYTES));
  checkPublicHalf(key, bytes.subarray(0, ED25519_BYTES));
  checkPublicHalf(key, bytes.subarray(2 * ED25519_BYTES));
  return key;
}

function fromSeed(seed: Uint8Array): KeyObject {
  if (seed.byteLength !== ED25519_BYTES) {
    throw invalid(`malformed Ed25519 private key: a seed of ${seed.byteLength} bytes instead of ${ED25519_BYTES}`);
  }
  const der = Buffer.alloc(ED25519_PKCS8_PREFIX.length + ED25519_BYTES);
  try {
    der.set(ED25519_PKCS8_PREFIX);
    der.set(seed, ED25519_PKCS8_PREFIX.length);
    return importKey('Ed25519', der, 'pkcs8');
  } finally {
    der.fill(0);
  }
}

/** @param stored As the key's standard writes it: EC point, possibly compressed; RSAPublicKey; 32 bytes of Ed25519. */
function checkPublicHalf(key: KeyObject, stored: Uint8Array): void {
  if (publicEncodings(key).some((encoding) => Buffer.compare(encoding, stored) === 0)) return;
  throw invalid('malformed private key: the public half belongs to another key');
}

function publicEncodings(key: KeyObject): readonly Uint8Array[] {
  const { algorithm, bytes } = publicKeyOf(key);
  switch (algorithm) {
    case 'ed25519':
      return [bytes];
    case 'rsa':
      return [createPublicKey(key).export({ format: 'der', type: 'pkcs1' })];
    case 'ecdsa': {
      // The point ends the SubjectPublicKeyInfo; SEC 1 §2.3.3 for its two forms.
      const { scalarBytes } = curveOf(key);
      const x = bytes.subarray(-2 * scalarBytes, -scalarBytes);
      const y = bytes.subarray(-scalarBytes);
      const sign = 2 | ((y.at(-1) ?? 0) & 1);
      return [Buffer.from([4, ...x, ...y]), Buffer.from([sign, ...x])];
    }
  }
}

/** The curve of an EC key made by this module. */
export function curveOf(key: KeyObject): NamedCurve {
  const curve = curveByOpensslName(key.asymmetricKeyDetails?.namedCurve);
  if (curve === undefined) throw new SignetError('INTERNAL', 'EC key on an unknown curve');
  return curve;
}

/**
 * Writes Notary's dialect of PrivateKeyInfo: EC with version 1 and a SEC1 key that names curve and public key, RSA
 * without the NULL parameter, Ed25519 under GNU's identifier as public ‖ seed ‖ public.
 *
 * @returns A fresh buffer, which the caller zeroes.
 */
export function encodePkcs8(key: KeyObject): Buffer {
  const { algorithm, bytes: publicBytes } = publicKeyOf(key);
  switch (algorithm) {
    case 'ecdsa':
      return encodeEc(key, publicBytes);
    case 'rsa':
      return wrap(OID.rsaEncryption, key.export({ format: 'der', type: 'pkcs1' }));
    case 'ed25519': {
      const pkcs8 = key.export({ format: 'der', type: 'pkcs8' });
      const notary = Buffer.alloc(NOTARY_ED25519_BYTES);
      notary.set(publicBytes, 0);
      notary.set(pkcs8.subarray(-ED25519_BYTES), ED25519_BYTES);
      notary.set(publicBytes, 2 * ED25519_BYTES);
      pkcs8.fill(0);
      return wrap(OID.notaryEd25519, notary);
    }
  }
}

/** Not OpenSSL's own encoding, which lacks the public key if the one it read did. */
function encodeEc(key: KeyObject, spki: Uint8Array): Buffer {
  const { oid, scalarBytes } = curveOf(key);
  const point = spki.subarray(-(1 + 2 * scalarBytes));
  const parameters = { tag: contextTag(0, 'constructed'), content: [derOid(oid)] };
  const publicKey = { tag: contextTag(1, 'constructed'), content: [derBitString(point)] };
  return useScalar(key, (scalar) => {
    const sec1 = derSequence(derUnsigned(1), derOctetString(scalar), parameters, publicKey);
    const algorithm = derSequence(derOid(OID.ecPublicKey), derOid(oid));
    return encodeDer(derSequence(derUnsigned(1), algorithm, { tag: DER_TAG.OCTET_STRING, content: [sec1] }));
  });
}

/**
 * Lends the private scalar of an EC key.
 *
 * @param use Given `scalarBytes` of the curve, which are zeroed when it returns.
 */
export function useScalar<T>(key: KeyObject, use: (scalar: Uint8Array) => T): T {
  const sec1 = key.export({ format: 'der', type: 'sec1' });
  try {
    const reader = new DerReader(sec1, { what: 'EC private key', code: 'INVALID_ARGUMENT' }).readSequence(
      'ECPrivateKey',
    );
    reader.readSmallUnsigned('version');
    return use(reader.read(DER_TAG.OCTET_STRING, 'privateKey'));
  } finally {
    sec1.fill(0);
  }
}

/** Zeroes `privateKey`. */
function wrap(algorithm: string, privateKey: Buffer): Buffer {
  try {
    return encodeDer(derSequence(derUnsigned(0), derSequence(derOid(algorithm)), derOctetString(privateKey)));
  } finally {
    privateKey.fill(0);
  }
}
