/** The asymmetric keys of a card: made, imported, and used as GENERATE, IMPORT and GENERAL AUTHENTICATE do. */
import {
  constants,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  privateEncrypt,
  sign as signMessage,
} from 'node:crypto';
import { DerReader, derOctetString, derOid, derSequence, derUnsigned, encodeDer } from '../../../../src/crypto/der.ts';
import { curveByOpensslName, type NamedCurve } from '../../../../src/crypto/named-curves.ts';
import { decodePkcs1, decodePkcs8, decodeSec1, useScalar } from '../../../../src/crypto/private-key-info.ts';
import { derInteger, inverse, signDigest, toBigInt } from './ecdsa.ts';
import { refuse } from './status-word.ts';
import type { KeyAlgorithm } from './tables.ts';
import { findTlv, requireTlv, type Tlv, tlv } from './tlv.ts';

/** A private key inside the card. */
export interface KeyPair {
  readonly algorithm: KeyAlgorithm;
  /** DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7). */
  readonly spki: Buffer;
  /** What GENERATE answers inside of tag 7F49. */
  readonly publicObjects: Buffer;
  /**
   * What GENERAL AUTHENTICATE does: ECDSA over a digest (DER), RSA over a padded block, Ed25519 over a message.
   *
   * @throws {CommandRefused} 6A80 for an input of a length that the algorithm does not take.
   */
  use(input: Buffer): Buffer;
  readonly certificateAlgorithm: CertificateAlgorithm;
  /** Signs a certificate's content with `certificateAlgorithm`. */
  signCertificate(toBeSigned: Buffer): Buffer;
}

/** AlgorithmIdentifier of the signatures on certificates. */
export interface CertificateAlgorithm {
  readonly oid: string;
  /** The parameters are NULL rather than absent. */
  readonly hasNull: boolean;
}

/** What differs between the kinds of keys. */
type Operations = Omit<KeyPair, 'algorithm' | 'spki'>;

const PKCS8_DER = { type: 'pkcs8', format: 'der' } as const;
const SPKI_DER = { type: 'spki', format: 'der' } as const;
const ED25519_BYTES = 32;
/** RFC 8410 §3. */
const ED25519_OID = '1.3.101.112';
const RSA_PUBLIC_EXPONENT = 65537;
/** RFC 8017 appendix A.2.4. */
const SHA256_WITH_RSA_OID = '1.2.840.113549.1.1.11';
/** RFC 5758 §3.2. */
const ECDSA_HASHES = {
  'P-256': { hash: 'sha256', oid: '1.2.840.10045.4.3.2' },
  'P-384': { hash: 'sha384', oid: '1.2.840.10045.4.3.3' },
} as const;

/** Makes a key. RSA takes up to seconds, which leave the event loop free. */
export async function generateKey(algorithm: KeyAlgorithm): Promise<KeyPair> {
  // DER both ways: exporting the fresh key as an object can stop Node 20 for ever (nodejs/node #64851).
  const encodings = { privateKeyEncoding: PKCS8_DER, publicKeyEncoding: SPKI_DER };
  const key = await new Promise<Buffer>((resolve, reject) => {
    const done = (error: Error | null, _publicKey: Buffer, privateKey: Buffer) =>
      error === null ? resolve(privateKey) : reject(error);
    switch (algorithm) {
      case 'P-256':
      case 'P-384':
        return generateKeyPair('ec', { namedCurve: algorithm, ...encodings }, done);
      case 'Ed25519':
        return generateKeyPair('ed25519', encodings, done);
      default: {
        const modulusLength = Number(algorithm.slice('RSA-'.length));
        return generateKeyPair('rsa', { modulusLength, publicExponent: RSA_PUBLIC_EXPONENT, ...encodings }, done);
      }
    }
  });
  return keyPair(createPrivateKey({ key, ...PKCS8_DER }));
}

/**
 * Takes a key as IMPORT ASYMMETRIC KEY (FE) brings it.
 *
 * @throws {CommandRefused} 6A80 for a key that is incomplete or not of this algorithm.
 */
export function importKey(algorithm: KeyAlgorithm, objects: readonly Tlv[]): KeyPair {
  try {
    const imported = keyPair(decodeImported(algorithm, objects));
    return imported.algorithm === algorithm ? imported : refuse('WRONG_DATA');
  } catch {
    return refuse('WRONG_DATA');
  }
}

/** Takes a key from PrivateKeyInfo in DER (RFC 5208 §5). @throws {Error} for a key that no PIV card holds */
export function keyFromPkcs8(pkcs8: Uint8Array): KeyPair {
  return keyPair(decodePkcs8(pkcs8));
}

function decodeImported(algorithm: KeyAlgorithm, objects: readonly Tlv[]): KeyObject {
  switch (algorithm) {
    case 'P-256':
    case 'P-384': {
      const curve = namedCurve(algorithm === 'P-256' ? 'prime256v1' : 'secp384r1');
      const scalar = requireTlv(objects, 0x06);
      if (scalar.length !== curve.scalarBytes) refuse('WRONG_DATA');
      return decodeSec1(encodeDer(derSequence(derUnsigned(1), derOctetString(scalar))), curve);
    }
    case 'Ed25519': {
      const seed = encodeDer(derOctetString(requireTlv(objects, 0x07)));
      const algorithmIdentifier = derSequence(derOid(ED25519_OID));
      return decodePkcs8(encodeDer(derSequence(derUnsigned(0), algorithmIdentifier, derOctetString(seed))));
    }
    default:
      return decodeRsaParts(objects);
  }
}

/** RFC 8017 appendix A.1.2; the card is given p, q and the CRT values, and takes 65537 for the public exponent. */
function decodeRsaParts(objects: readonly Tlv[]): KeyObject {
  const [p, q] = [0x01, 0x02].map((tag) => toBigInt(requireTlv(objects, tag))) as [bigint, bigint];
  const e = BigInt(RSA_PUBLIC_EXPONENT);
  const d = inverse(e, (p - 1n) * (q - 1n));
  // 03 to 05 are dP, dQ and qInv, which follow from the others: wrong ones would only make a key that cannot sign.
  const crt = [0x03, 0x04, 0x05].map((tag) => toBigInt(findTlv(objects, tag) ?? refuse('WRONG_DATA')));
  const numbers = [0n, p * q, e, d, p, q, ...crt];
  return decodePkcs1(encodeDer(derSequence(...numbers.map(derInteger))));
}

function keyPair(key: KeyObject): KeyPair {
  const spki = createPublicKey(key).export(SPKI_DER);
  switch (key.asymmetricKeyType) {
    case 'ec': {
      const curve = namedCurve(key.asymmetricKeyDetails?.namedCurve);
      if (curve.name !== 'P-256' && curve.name !== 'P-384') throw new TypeError(`no PIV card has ${curve.name}`);
      return { algorithm: curve.name, spki, ...ecOperations(key, curve, ECDSA_HASHES[curve.name], spki) };
    }
    case 'ed25519':
      return { algorithm: 'Ed25519', spki, ...ed25519Operations(key, spki) };
    case 'rsa': {
      const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
      if (bits !== 1024 && bits !== 2048 && bits !== 3072 && bits !== 4096) {
        throw new TypeError(`no PIV card has RSA keys of ${bits} bits`);
      }
      return { algorithm: `RSA-${bits}`, spki, ...rsaOperations(key, bits / 8) };
    }
    default:
      throw new TypeError(`no PIV card has keys of type ${key.asymmetricKeyType}`);
  }
}

function ecOperations(
  key: KeyObject,
  curve: NamedCurve,
  { hash, oid }: (typeof ECDSA_HASHES)[keyof typeof ECDSA_HASHES],
  spki: Buffer,
): Operations {
  const scalar = useScalar(key, toBigInt);
  return {
    publicObjects: tlv(0x86, spki.subarray(-(1 + 2 * curve.scalarBytes))),
    use: (digest) => {
      if (digest.length === 0 || digest.length > curve.scalarBytes) refuse('WRONG_DATA');
      return signDigest(curve, scalar, digest);
    },
    certificateAlgorithm: { oid, hasNull: false },
    signCertificate: (content) => signMessage(hash, content, key),
  };
}

function ed25519Operations(key: KeyObject, spki: Buffer): Operations {
  const use = (message: Buffer) => signMessage(null, message, key);
  return {
    publicObjects: tlv(0x86, spki.subarray(-ED25519_BYTES)),
    use,
    certificateAlgorithm: { oid: ED25519_OID, hasNull: false },
    signCertificate: use,
  };
}

function rsaOperations(key: KeyObject, modulusLength: number): Operations {
  const pkcs1 = createPublicKey(key).export({ type: 'pkcs1', format: 'der' });
  const reader = new DerReader(pkcs1, { what: 'RSA public key', code: 'INVALID_ARGUMENT' }).readSequence('key');
  const [modulus, exponent] = [reader.readUnsigned('modulus'), reader.readUnsigned('publicExponent')];
  return {
    publicObjects: Buffer.concat([tlv(0x81, modulus), tlv(0x82, exponent)]),
    use: (block) => {
      if (block.length !== modulusLength || toBigInt(block) >= toBigInt(modulus)) refuse('WRONG_DATA');
      return privateEncrypt({ key, padding: constants.RSA_NO_PADDING }, block);
    },
    certificateAlgorithm: { oid: SHA256_WITH_RSA_OID, hasNull: true },
    signCertificate: (content) => signMessage('sha256', content, key),
  };
}

function namedCurve(opensslName: string | undefined): NamedCurve {
  const curve = curveByOpensslName(opensslName);
  if (curve === undefined) throw new TypeError(`no PIV card has the curve ${opensslName}`);
  return curve;
}
