/** X.509 certificates (RFC 5280 §4.1) of the card: its attestations, their issuers, and those of preset keys. */
import { randomBytes } from 'node:crypto';
import {
  contextTag,
  DER_TAG,
  type DerNode,
  DerReader,
  derBitString,
  derOctetString,
  derOid,
  derSequence,
  derUnsigned,
  encodeDer,
} from '../../../../src/crypto/der.ts';
import type { KeyPair } from './key-pair.ts';

export interface CertificateContent {
  /** DER Names. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly extensions: readonly Extension[];
}

export interface Extension {
  readonly oid: string;
  readonly isCritical?: boolean;
  /** What the OCTET STRING holds: DER, or in Yubico's extensions bare octets. */
  readonly value: Uint8Array;
}

const COMMON_NAME_OID = '2.5.4.3';
const BASIC_CONSTRAINTS_OID = '2.5.29.19';
const TAG = { BOOLEAN: 0x01, UTF8_STRING: 0x0c, SET: 0x31, UTC_TIME: 0x17, GENERALIZED_TIME: 0x18 } as const;
/** RFC 5280 §4.1.2.5: UTCTime up to here. */
const FIRST_GENERALIZED_YEAR = 2050;
const TRUE = { tag: TAG.BOOLEAN, content: Buffer.of(0xff) };

/** An authority's basicConstraints (RFC 5280 §4.2.1.9). @param pathLength How many authorities may stand below it. */
export function authority(pathLength: number): Extension {
  return {
    oid: BASIC_CONSTRAINTS_OID,
    isCritical: true,
    value: encodeDer(derSequence(TRUE, derUnsigned(pathLength))),
  };
}

/** @returns The DER of a certificate with a random serial number, signed by `issuerKey`. */
export function issueCertificate(content: CertificateContent, issuerKey: KeyPair): Buffer {
  const { oid, hasNull } = issuerKey.certificateAlgorithm;
  const algorithm = derSequence(derOid(oid), ...(hasNull ? [{ tag: DER_TAG.NULL, content: [] }] : []));
  const toBeSigned = derSequence(
    { tag: contextTag(0, 'constructed'), content: [derUnsigned(2)] },
    { tag: DER_TAG.INTEGER, content: Buffer.concat([Buffer.of(0x01), randomBytes(15)]) },
    algorithm,
    embedded(content.issuer),
    derSequence(time(content.notBefore), time(content.notAfter)),
    embedded(content.subject),
    embedded(content.spki),
    ...(content.extensions.length === 0 ? [] : [extensions(content.extensions)]),
  );
  const signature = issuerKey.signCertificate(encodeDer(toBeSigned));
  return encodeDer(derSequence(toBeSigned, algorithm, derBitString(signature)));
}

/** `-----BEGIN CERTIFICATE-----` (RFC 7468 §5). */
export function certificatePem(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n');
}

/** A DER Name of one attribute. */
export function commonName(text: string): Buffer {
  const value = { tag: TAG.UTF8_STRING, content: Buffer.from(text) };
  return encodeDer(derSequence({ tag: TAG.SET, content: [derSequence(derOid(COMMON_NAME_OID), value)] }));
}

/** @returns The DER Name of whom a certificate is about. @throws {SignetError} INVALID_ARGUMENT if it is not one */
export function subjectOf(certificate: Uint8Array): Buffer {
  const outer = new DerReader(certificate, { what: 'certificate', code: 'INVALID_ARGUMENT' });
  const content = outer.readSequence('certificate').readSequence('tbsCertificate');
  content.read(contextTag(0, 'constructed'), 'version');
  content.read(DER_TAG.INTEGER, 'serialNumber');
  for (const field of ['signature', 'issuer', 'validity']) content.readSequence(field);
  return encodeDer({ tag: DER_TAG.SEQUENCE, content: content.read(DER_TAG.SEQUENCE, 'subject') });
}

function time(date: Date): DerNode {
  const digits = date.toISOString().replace(/\.\d+Z$|[-T:]/g, '');
  return date.getUTCFullYear() < FIRST_GENERALIZED_YEAR
    ? { tag: TAG.UTC_TIME, content: Buffer.from(`${digits.slice(2)}Z`) }
    : { tag: TAG.GENERALIZED_TIME, content: Buffer.from(`${digits}Z`) };
}

function extensions(list: readonly Extension[]): DerNode {
  const nodes = list.map(({ oid, isCritical = false, value }) =>
    derSequence(derOid(oid), ...(isCritical ? [TRUE] : []), derOctetString(value)),
  );
  return { tag: contextTag(3, 'constructed'), content: [derSequence(...nodes)] };
}

/** A SEQUENCE that is encoded already. */
function embedded(der: Uint8Array): DerNode {
  const reader = new DerReader(der, { what: 'encoded value', code: 'INVALID_ARGUMENT' });
  return { tag: DER_TAG.SEQUENCE, content: reader.read(DER_TAG.SEQUENCE, 'value') };
}
