/** X.509 certificates (RFC 5280): reading, and PEM around them. Nothing here says that one can be trusted. */
import { createPublicKey, hash, type KeyObject } from 'node:crypto';
import { SignetError } from '../errors.ts';
import { type CertificateExtension, readExtensions } from './certificate-extensions.ts';
import {
  type CertificateSignatureAlgorithm,
  signatureAlgorithmByIdentifier,
  verifyCertificateSignature,
} from './certificate-signature.ts';
import { readTime } from './certificate-time.ts';
import { contextTag, DER_TAG, DerReader } from './der.ts';
import { type DistinguishedName, readName } from './distinguished-name.ts';
import { formatPem, parsePemBlocks } from './pem.ts';
import { fromSpki, type PublicKey } from './public-key.ts';

export interface Certificate {
  readonly der: Uint8Array;
  readonly version: 1 | 2 | 3;
  /** Hex of the INTEGER's octets, as `openssl x509 -serial` but for leading zeros. */
  readonly serialNumber: string;
  readonly issuer: DistinguishedName;
  readonly subject: DistinguishedName;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** DER SubjectPublicKeyInfo, not looked into: `certificatePublicKey` reads it. */
  readonly subjectPublicKeyInfo: Uint8Array;
  /** By object identifier. */
  readonly extensions: ReadonlyMap<string, CertificateExtension>;
  /** Undefined for an algorithm that Signet does not accept. */
  readonly signatureAlgorithm: CertificateSignatureAlgorithm | undefined;
  readonly signatureAlgorithmOid: string;
  /** TBSCertificate, what is signed. */
  readonly tbs: Uint8Array;
  readonly signature: Uint8Array;
}

const PEM_TYPE = 'CERTIFICATE';
/** Far above any real one. */
const MAX_CERTIFICATE_BYTES = 64 * 1024;
/** RFC 5280 §4.1.2.2 allows 20; certificates with more exist. */
const MAX_SERIAL_BYTES = 64;

/**
 * Reads one certificate. Its signature is not checked.
 *
 * @param der Kept: the certificate has views of it.
 * @throws {SignetError} INVALID_ARGUMENT
 */
export function parseCertificate(der: Uint8Array): Certificate {
  const outer = new DerReader(der, { what: 'certificate', code: 'INVALID_ARGUMENT' });
  if (der.byteLength > MAX_CERTIFICATE_BYTES) outer.fail('larger than 64 KiB');
  const certificate: DerReader = outer.readSequence('Certificate');
  outer.end();
  const tbs = certificate.readElement('tbsCertificate');
  if (tbs.tag !== DER_TAG.SEQUENCE) certificate.fail('tbsCertificate is not a sequence');
  const signatureAlgorithm = certificate.readElement('signatureAlgorithm').encoded;
  const bits = certificate.read(DER_TAG.BIT_STRING, 'signatureValue');
  const signature = certificate.bitStringOctets(bits, 'signatureValue');
  certificate.end();

  const fields = readTbs(certificate.inside(tbs.content));
  // RFC 5280 §4.1.1.2: must be the same, or the signature would not cover its own algorithm.
  if (Buffer.compare(fields.algorithm, signatureAlgorithm) !== 0) {
    certificate.fail('two different signature algorithms are named');
  }
  const identifier: DerReader = certificate.inside(signatureAlgorithm).readSequence('signatureAlgorithm');
  const { algorithm: _, ...contents } = fields;
  return {
    der,
    ...contents,
    signatureAlgorithm: signatureAlgorithmByIdentifier(signatureAlgorithm),
    signatureAlgorithmOid: identifier.readOid('signatureAlgorithm'),
    tbs: tbs.encoded,
    signature,
  };
}

/** RFC 5280 §4.1. */
function readTbs(tbs: DerReader) {
  const version = readVersion(tbs);
  const serial = tbs.read(DER_TAG.INTEGER, 'serialNumber');
  if (serial.byteLength === 0 || serial.byteLength > MAX_SERIAL_BYTES) tbs.fail('serialNumber is empty or too long');
  const algorithm = tbs.readElement('signature').encoded;
  const issuer = readName(tbs, 'issuer');
  const validity: DerReader = tbs.readSequence('validity');
  const notBefore = readTime(validity, 'notBefore');
  const notAfter = readTime(validity, 'notAfter');
  validity.end();
  const subject = readName(tbs, 'subject');
  const subjectPublicKeyInfo = tbs.readElement('subjectPublicKeyInfo').encoded;
  for (const [number, name] of ['issuerUniqueID', 'subjectUniqueID'].entries()) {
    tbs.readOptional(contextTag(number + 1, 'primitive'), name);
  }
  const content = version === 3 ? tbs.readOptional(contextTag(3, 'constructed'), 'extensions') : undefined;
  tbs.end();
  const extensions = content === undefined ? new Map<never, never>() : readExtensions(tbs, content);
  const serialNumber = Buffer.from(serial).toString('hex');
  return {
    version,
    serialNumber,
    algorithm,
    issuer,
    notBefore,
    notAfter,
    subject,
    subjectPublicKeyInfo,
    extensions,
  };
}

function readVersion(tbs: DerReader): 1 | 2 | 3 {
  const content = tbs.readOptional(contextTag(0, 'constructed'), 'version');
  if (content === undefined) return 1;
  const reader = tbs.inside(content);
  const version = reader.readSmallUnsigned('version') + 1;
  reader.end();
  if (version !== 1 && version !== 2 && version !== 3) return tbs.fail('unknown version');
  return version;
}

/**
 * Reads all PEM blocks of type CERTIFICATE, in order; other blocks and text between them are skipped.
 *
 * @throws {SignetError} INVALID_ARGUMENT if one is malformed or there is none
 */
export function parseCertificatesPem(text: Uint8Array): readonly Certificate[] {
  const blocks = parsePemBlocks(text).filter((block) => block.type === PEM_TYPE);
  if (blocks.length === 0) throw new SignetError('INVALID_ARGUMENT', 'no PEM block of type CERTIFICATE');
  return blocks.map((block) => parseCertificate(block.bytes));
}

/** PEM as Go writes it: what Notary's metadata holds as the public key of a certificate. */
export function certificatePem(certificate: Pick<Certificate, 'der'>): string {
  return formatPem({ type: PEM_TYPE, headers: {}, bytes: certificate.der });
}

/** @throws {SignetError} INVALID_ARGUMENT, UNSUPPORTED for a key that Notary does not sign with */
export function certificatePublicKey(certificate: Certificate): PublicKey {
  return fromSpki(certificate.subjectPublicKeyInfo);
}

/** SHA-256 of the encoding, lower-case hex. */
export function certificateFingerprint(certificate: Pick<Certificate, 'der'>): string {
  return hash('sha256', certificate.der, 'hex');
}

/**
 * True if `issuer` is named as the issuer and its key made the signature. Says nothing about whether it may issue
 * certificates: see `verifyChain`.
 */
export function isIssuedBy(certificate: Certificate, issuer: Certificate): boolean {
  if (Buffer.compare(certificate.issuer.der, issuer.subject.der) !== 0) return false;
  const name = certificate.signatureAlgorithm;
  const key = keyObjectOf(issuer);
  if (name === undefined || key === undefined) return false;
  return verifyCertificateSignature(name, key, certificate.tbs, certificate.signature);
}

/** Authorities may have keys that Notary knows nothing of; undefined for those OpenSSL does not read either. */
function keyObjectOf(certificate: Certificate): KeyObject | undefined {
  try {
    return createPublicKey({ key: Buffer.from(certificate.subjectPublicKeyInfo), format: 'der', type: 'spki' });
  } catch {
    return undefined;
  }
}
