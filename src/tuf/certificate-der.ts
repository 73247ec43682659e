/** What node:crypto's X509Certificate does not tell about a certificate (RFC 5280 §4.1). */
import type { X509Certificate } from 'node:crypto';
import { contextTag, DER_TAG, DerReader } from '../crypto/der.ts';

const BOOLEAN = 0x01;
/** DER knows one true (X.690 §11.1). */
const TRUE = 0xff;
export const BASIC_CONSTRAINTS = '2.5.29.19';

export interface CertificateExtension {
  /** Dotted decimal. */
  readonly oid: string;
  readonly isCritical: boolean;
  /** DER inside `extnValue`. */
  readonly value: Uint8Array;
}

/** @returns The OID of `signatureAlgorithm`. @throws {SignetError} INVALID_ARGUMENT */
export function signatureAlgorithmOf(certificate: X509Certificate): string {
  const outer = reader(certificate.raw).readSequence('certificate');
  outer.read(DER_TAG.SEQUENCE, 'tbsCertificate');
  return outer.readSequence('signatureAlgorithm').readOid('algorithm');
}

/** @throws {SignetError} INVALID_ARGUMENT */
export function extensionsOf(certificate: X509Certificate): CertificateExtension[] {
  const tbs = reader(certificate.raw).readSequence('certificate').readSequence('tbsCertificate');
  const last = contextTag(3, 'constructed');
  for (let tag = tbs.peekTag(); tag !== undefined && tag !== last; tag = tbs.peekTag()) tbs.read(tag, 'field');
  const explicit = tbs.readOptional(last, 'extensions');
  if (explicit === undefined) return [];
  const list = tbs.inside(explicit).readSequence('extensions');
  const extensions: CertificateExtension[] = [];
  while (list.peekTag() !== undefined) {
    const extension = list.readSequence('extension');
    const oid = extension.readOid('extnID');
    const critical = extension.readOptional(BOOLEAN, 'critical');
    const value = extension.read(DER_TAG.OCTET_STRING, 'extnValue');
    extensions.push({ oid, isCritical: critical?.[0] === TRUE, value });
  }
  return extensions;
}

export interface BasicConstraints {
  readonly isCa: boolean;
  /** How many CA certificates may follow below; undefined if there is no limit. */
  readonly pathLength: number | undefined;
}

/**
 * RFC 5280 §4.2.1.9. X509Certificate's own `ca` also looks at the key usage; Notary's idea of a leaf does not.
 *
 * @returns That of an end entity if the extension is not there @throws {SignetError} INVALID_ARGUMENT
 */
export function basicConstraintsOf(certificate: X509Certificate): BasicConstraints {
  const extension = extensionsOf(certificate).find(({ oid }) => oid === BASIC_CONSTRAINTS);
  if (extension === undefined) return { isCa: false, pathLength: undefined };
  const fields = reader(extension.value).readSequence('BasicConstraints');
  const isCa = fields.readOptional(BOOLEAN, 'cA')?.[0] === TRUE;
  const pathLength = fields.peekTag() === undefined ? undefined : fields.readSmallUnsigned('pathLenConstraint');
  return { isCa, pathLength };
}

function reader(der: Uint8Array): DerReader {
  return new DerReader(der, { what: 'certificate', code: 'INVALID_ARGUMENT' });
}
