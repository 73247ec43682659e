/**
 * The signature algorithms of certificates that Signet makes and accepts, one row each. SHA-1 and MD5 are not among them:
 * Notary refuses them as well.
 */
import { constants, hash as digestOf, type KeyObject, verify } from 'node:crypto';
import { SignetError } from '../errors.ts';
import { algorithmRow, DIGEST_BYTES, type KeyAlgorithm, type SignatureHash } from './algorithms.ts';
import { DER_TAG, type DerNode, derExplicit, derOid, derSequence, derUnsigned, encodeDer } from './der.ts';
import { ecdsaSignatureToDer } from './ecdsa-signature.ts';
import { type CurveName, curveByOpensslName } from './named-curves.ts';
import { type PublicKey, toKeyObject } from './public-key.ts';
import type { SignInput } from './sign-input.ts';

interface Row {
  readonly key: KeyAlgorithm;
  readonly hash: SignatureHash | null;
  readonly isPss: boolean;
  /** DER AlgorithmIdentifier; a certificate's must be the same octets. */
  readonly identifier: Buffer;
  /** The same without parameters, where a reader must accept that too. */
  readonly alternative?: Buffer;
}

const NULL: DerNode = { tag: DER_TAG.NULL, content: Buffer.of() };
/** NIST's CSOR. */
const HASH_OID: Readonly<Record<SignatureHash, string>> = {
  sha256: '2.16.840.1.101.3.4.2.1',
  sha384: '2.16.840.1.101.3.4.2.2',
  sha512: '2.16.840.1.101.3.4.2.3',
};

/** RFC 5758 §3.2: no parameters. */
function ecdsa(hash: SignatureHash, oid: string): Row {
  return { key: 'ecdsa', hash, isPss: false, identifier: encodeDer(derSequence(derOid(oid))) };
}

/** RFC 4055 §5: NULL, but none must be accepted as well; Yubico writes such certificates. */
function pkcs1(hash: SignatureHash, oid: string): Row {
  const identifier = encodeDer(derSequence(derOid(oid), NULL));
  return { key: 'rsa', hash, isPss: false, identifier, alternative: encodeDer(derSequence(derOid(oid))) };
}

/** RFC 4055 §3.1: the same hash in MGF1, salt as long as the hash, trailer left out. §2.1: NULL beside the hash, or none. */
function pss(hash: SignatureHash): Row {
  const oid = derOid(HASH_OID[hash]);
  const identifier = pssIdentifier(hash, derSequence(oid, NULL));
  return { key: 'rsa', hash, isPss: true, identifier, alternative: pssIdentifier(hash, derSequence(oid)) };
}

function pssIdentifier(hash: SignatureHash, hashAlgorithm: DerNode): Buffer {
  const parameters = derSequence(
    derExplicit(0, hashAlgorithm),
    derExplicit(1, derSequence(derOid('1.2.840.113549.1.1.8'), hashAlgorithm)),
    derExplicit(2, derUnsigned(DIGEST_BYTES[hash])),
  );
  return encodeDer(derSequence(derOid('1.2.840.113549.1.1.10'), parameters));
}

const TABLE = {
  'ecdsa-with-SHA256': ecdsa('sha256', '1.2.840.10045.4.3.2'),
  'ecdsa-with-SHA384': ecdsa('sha384', '1.2.840.10045.4.3.3'),
  'ecdsa-with-SHA512': ecdsa('sha512', '1.2.840.10045.4.3.4'),
  sha256WithRSAEncryption: pkcs1('sha256', '1.2.840.113549.1.1.11'),
  sha384WithRSAEncryption: pkcs1('sha384', '1.2.840.113549.1.1.12'),
  sha512WithRSAEncryption: pkcs1('sha512', '1.2.840.113549.1.1.13'),
  'RSASSA-PSS-SHA256': pss('sha256'),
  'RSASSA-PSS-SHA384': pss('sha384'),
  'RSASSA-PSS-SHA512': pss('sha512'),
  // RFC 8410 §3: no parameters.
  Ed25519: { key: 'ed25519', hash: null, isPss: false, identifier: encodeDer(derSequence(derOid('1.3.101.112'))) },
} as const satisfies Record<string, Row>;

export type CertificateSignatureAlgorithm = keyof typeof TABLE;

/** @returns Undefined for an algorithm that is not accepted. @param identifier DER AlgorithmIdentifier. */
export function signatureAlgorithmByIdentifier(identifier: Uint8Array): CertificateSignatureAlgorithm | undefined {
  const found = Object.entries<Row>(TABLE).find(
    ([, row]) => row.identifier.equals(identifier) || row.alternative?.equals(identifier) === true,
  );
  return found?.[0] as CertificateSignatureAlgorithm | undefined;
}

/** The DER AlgorithmIdentifier that a certificate names. */
export function signatureAlgorithmIdentifier(name: CertificateSignatureAlgorithm): Uint8Array {
  return TABLE[name].identifier;
}

const BY_CURVE: Readonly<Record<CurveName, CertificateSignatureAlgorithm>> = {
  'P-224': 'ecdsa-with-SHA256',
  'P-256': 'ecdsa-with-SHA256',
  'P-384': 'ecdsa-with-SHA384',
  'P-521': 'ecdsa-with-SHA512',
};

/**
 * What a key signs certificates with: ECDSA with the hash of the curve's strength, as Go takes it. RSA keys sign with
 * PSS, because every home of a key makes such signatures; Notary, Go and OpenSSL read them.
 *
 * @throws {SignetError} INVALID_ARGUMENT for a malformed key, UNSUPPORTED for another curve
 */
export function defaultSignatureAlgorithm(signer: PublicKey): CertificateSignatureAlgorithm {
  switch (signer.algorithm) {
    case 'ed25519':
      return 'Ed25519';
    case 'rsa':
      return 'RSASSA-PSS-SHA256';
    case 'ecdsa': {
      const curve = curveByOpensslName(toKeyObject(signer).asymmetricKeyDetails?.namedCurve);
      if (curve === undefined) throw new SignetError('UNSUPPORTED', 'EC keys on this curve are not supported');
      return BY_CURVE[curve.name];
    }
  }
}

/**
 * What the signer's home is given: the message itself where the key's own hash is the algorithm's, a digest otherwise.
 *
 * @throws {SignetError} INVALID_ARGUMENT if the key cannot sign with that algorithm
 */
export function signInputOf(name: CertificateSignatureAlgorithm, signer: PublicKey, tbs: Uint8Array): SignInput {
  const row: Row = TABLE[name];
  if (row.key !== signer.algorithm) {
    throw new SignetError('INVALID_ARGUMENT', `${signer.algorithm} keys do not sign with ${name}`);
  }
  if (row.hash === null || row.hash === algorithmRow(signer.algorithm).messageHash) return { message: tbs };
  return { digest: digestOf(row.hash, tbs, 'buffer'), hash: row.hash };
}

/** A signature in the port's encoding → what `signatureValue` holds. @throws {SignetError} INVALID_ARGUMENT */
export function toCertificateSignature(name: CertificateSignatureAlgorithm, signature: Uint8Array): Uint8Array {
  return TABLE[name].key === 'ecdsa' ? ecdsaSignatureToDer(signature) : signature;
}

/** @returns False for any signature that does not verify, and for a key of another type. It does not throw. */
export function verifyCertificateSignature(
  name: CertificateSignatureAlgorithm,
  key: KeyObject,
  tbs: Uint8Array,
  signature: Uint8Array,
): boolean {
  const row: Row = TABLE[name];
  const type = { ecdsa: 'ec', rsa: 'rsa', ed25519: 'ed25519' }[row.key];
  if (key.asymmetricKeyType !== type) return false;
  const padding = row.isPss
    ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: row.hash === null ? 0 : DIGEST_BYTES[row.hash] }
    : {};
  try {
    return verify(row.hash, tbs, { key, ...padding }, signature);
  } catch {
    return false;
  }
}
