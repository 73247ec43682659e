/** The certificate extensions that Signet writes and looks at (RFC 5280 §4.2). */
import { SignetError } from '../errors.ts';
import {
  contextTag,
  DER_TAG,
  type DerNode,
  DerReader,
  type DerSubject,
  derBoolean,
  derOctetString,
  derOid,
  derSequence,
  derUnsigned,
  encodeDer,
} from './der.ts';

export const EXTENSION_OID = {
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
} as const;

/** RFC 5280 §4.2.1.12. */
export const CODE_SIGNING = '1.3.6.1.5.5.7.3.3';

export interface CertificateExtension {
  readonly oid: string;
  readonly critical: boolean;
  /** What is inside `extnValue`; by rule, not always, DER. */
  readonly value: Uint8Array;
}

/** The bits of KeyUsage in order (RFC 5280 §4.2.1.3). */
const KEY_USAGES = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const;

export type KeyUsage = (typeof KEY_USAGES)[number];

export interface BasicConstraints {
  readonly isAuthority: boolean;
  /** How many authorities may be below; undefined for any number. */
  readonly pathLength: number | undefined;
}

const SUBJECT: DerSubject = { what: 'certificate', code: 'INVALID_ARGUMENT' };
const MAX_EXTENSIONS = 64;

export function keyUsage(...usages: readonly KeyUsage[]): CertificateExtension {
  const bits = usages.map((usage) => KEY_USAGES.indexOf(usage));
  const last = Math.max(...bits);
  const octets = Buffer.alloc(2 + Math.floor(last / 8));
  // X.690 §11.2.2: trailing zero bits are left out; the first octet counts the unused ones.
  octets.writeUInt8(7 - (last % 8), 0);
  for (const bit of bits) {
    const index = 1 + Math.floor(bit / 8);
    octets.writeUInt8(octets.readUInt8(index) | (0x80 >> (bit % 8)), index);
  }
  const value = encodeDer({ tag: DER_TAG.BIT_STRING, content: octets });
  return { oid: EXTENSION_OID.keyUsage, critical: true, value };
}

/** @param purposes Object identifiers. */
export function extendedKeyUsage(...purposes: readonly string[]): CertificateExtension {
  const value = encodeDer(derSequence(...purposes.map(derOid)));
  return { oid: EXTENSION_OID.extendedKeyUsage, critical: false, value };
}

export function basicConstraints(isAuthority: boolean, pathLength?: number): CertificateExtension {
  const content = [
    ...(isAuthority ? [derBoolean(true)] : []),
    ...(isAuthority && pathLength !== undefined ? [derUnsigned(pathLength)] : []),
  ];
  return { oid: EXTENSION_OID.basicConstraints, critical: true, value: encodeDer(derSequence(...content)) };
}

/** GeneralName's uniformResourceIdentifier (RFC 5280 §4.2.1.6). */
const URI_TAG = contextTag(6, 'primitive');

/** @param uri ASCII (IA5String). */
export function subjectAltNameUri(uri: string): CertificateExtension {
  const value = encodeDer(derSequence({ tag: URI_TAG, content: Buffer.from(uri, 'ascii') }));
  return { oid: EXTENSION_OID.subjectAltName, critical: false, value };
}

/** The URIs among the alternative names of a certificate's subject. @throws {SignetError} INVALID_ARGUMENT */
export function subjectAltNameUris(extensions: Extensions): readonly string[] {
  const extension = extensions.get(EXTENSION_OID.subjectAltName);
  if (extension === undefined) return [];
  const names = new DerReader(extension.value, SUBJECT).readSequence('subjectAltName');
  const uris: string[] = [];
  while (names.peekTag() !== undefined) {
    const { tag, content } = names.readElement('GeneralName');
    if (tag === URI_TAG) uris.push(Buffer.from(content).toString('latin1'));
  }
  return uris;
}

/** One Extension (RFC 5280 §4.1); `critical` is left out when false. */
export function derExtension({ oid, critical, value }: CertificateExtension): DerNode {
  return derSequence(derOid(oid), ...(critical ? [derBoolean(true)] : []), derOctetString(value));
}

/** @param content Of the element `[3]` in TBSCertificate. @throws {SignetError} the reader's code */
export function readExtensions(outer: DerReader, content: Uint8Array): ReadonlyMap<string, CertificateExtension> {
  const wrapper = outer.inside(content);
  const list = wrapper.readSequence('extensions');
  wrapper.end();
  const extensions = new Map<string, CertificateExtension>();
  while (list.peekTag() !== undefined) {
    const reader: DerReader = list.readSequence('extension');
    const oid = reader.readOid('extnID');
    const critical = reader.readOptional(DER_TAG.BOOLEAN, 'critical')?.some((octet) => octet !== 0) ?? false;
    const value = reader.read(DER_TAG.OCTET_STRING, 'extnValue');
    reader.end();
    // RFC 5280 §4.2: not more than one of a kind.
    if (extensions.has(oid)) list.fail(`extension ${oid} is there twice`);
    if (extensions.size >= MAX_EXTENSIONS) list.fail('too many extensions');
    extensions.set(oid, { oid, critical, value });
  }
  return extensions;
}

type Extensions = ReadonlyMap<string, CertificateExtension>;

/** @returns Undefined if the extension is missing. @throws {SignetError} INVALID_ARGUMENT if it is malformed */
export function basicConstraintsOf(extensions: Extensions): BasicConstraints | undefined {
  const extension = extensions.get(EXTENSION_OID.basicConstraints);
  if (extension === undefined) return undefined;
  const outer = new DerReader(extension.value, SUBJECT);
  const reader: DerReader = outer.readSequence('BasicConstraints');
  outer.end();
  const isAuthority = reader.readOptional(DER_TAG.BOOLEAN, 'cA')?.some((octet) => octet !== 0) ?? false;
  const pathLength = reader.peekTag() === DER_TAG.INTEGER ? reader.readSmallUnsigned('pathLenConstraint') : undefined;
  reader.end();
  return { isAuthority, pathLength };
}

/** @returns Undefined if the extension is missing: any use. @throws {SignetError} INVALID_ARGUMENT if it is malformed */
export function keyUsageOf(extensions: Extensions): ReadonlySet<KeyUsage> | undefined {
  const extension = extensions.get(EXTENSION_OID.keyUsage);
  if (extension === undefined) return undefined;
  const reader = new DerReader(extension.value, SUBJECT);
  const [unused, ...octets] = reader.read(DER_TAG.BIT_STRING, 'KeyUsage');
  reader.end();
  if (unused === undefined || unused > 7) throw new SignetError('INVALID_ARGUMENT', 'malformed certificate: KeyUsage');
  return new Set(KEY_USAGES.filter((_, bit) => ((octets[Math.floor(bit / 8)] ?? 0) & (0x80 >> (bit % 8))) !== 0));
}
