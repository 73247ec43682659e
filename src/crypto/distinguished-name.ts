/** X.501 names of certificates (RFC 5280 §4.1.2.4). Two names are equal when their encodings are, as for Go. */
import { SignetError } from '../errors.ts';
import { DER_TAG, type DerElement, type DerReader, derOid, derSequence, encodeDer } from './der.ts';

export interface DistinguishedName {
  /** The encoding, a SEQUENCE. */
  readonly der: Uint8Array;
  /** The last common name, which is the one Go shows; undefined if there is none. */
  readonly commonName: string | undefined;
  /** RFC 4514 text without control characters, for people; cut off if it is long. */
  readonly text: string;
}

const COMMON_NAME = '2.5.4.3';

/** RFC 4514 §3, and emailAddress of RFC 2985. */
const LABELS: ReadonlyMap<string, string> = new Map([
  [COMMON_NAME, 'CN'],
  ['2.5.4.5', 'serialNumber'],
  ['2.5.4.6', 'C'],
  ['2.5.4.7', 'L'],
  ['2.5.4.8', 'ST'],
  ['2.5.4.10', 'O'],
  ['2.5.4.11', 'OU'],
  ['0.9.2342.19200300.100.1.25', 'DC'],
  ['1.2.840.113549.1.9.1', 'emailAddress'],
]);

/** For messages and listings. */
const MAX_TEXT_LENGTH = 300;
/** More attributes than any real name has. */
const MAX_ATTRIBUTES = 64;
/** PrintableString (X.680 §41.4). Go writes other text as UTF8String. */
const PRINTABLE = /^[A-Za-z0-9 '()+,\-./:=?]*$/;

/**
 * The name `CN=<commonName>`, encoded as Go does.
 *
 * @param commonName Not empty; longer than the 64 characters of RFC 5280 is allowed, because GUNs are.
 * @throws {SignetError} INVALID_ARGUMENT
 */
export function nameFromCommonName(commonName: string): DistinguishedName {
  if (commonName === '' || /\p{Cc}|\p{Cs}/u.test(commonName)) {
    throw new SignetError('INVALID_ARGUMENT', 'the common name of a certificate is empty or has a control character');
  }
  const tag = PRINTABLE.test(commonName) ? DER_TAG.PRINTABLE_STRING : DER_TAG.UTF8_STRING;
  const attribute = derSequence(derOid(COMMON_NAME), { tag, content: Buffer.from(commonName) });
  const der = encodeDer(derSequence({ tag: DER_TAG.SET, content: [attribute] }));
  return { der, commonName, text: shortened(`CN=${escapeValue(commonName)}`) };
}

/** Reads the next element as a name. @throws {SignetError} the reader's code */
export function readName(reader: DerReader, what: string): DistinguishedName {
  const { tag, content, encoded } = reader.readElement(what);
  if (tag !== DER_TAG.SEQUENCE) reader.fail(`${what} is not a name`);
  const names = reader.inside(content);
  const parts: string[] = [];
  let commonName: string | undefined;
  while (names.peekTag() !== undefined) {
    const set = names.inside(names.read(DER_TAG.SET, 'RelativeDistinguishedName'));
    const attributes: string[] = [];
    do {
      const attribute: DerReader = set.readSequence('AttributeTypeAndValue');
      const type = attribute.readOid('attribute type');
      const value = attribute.readElement('attribute value');
      attribute.end();
      const text = decodeString(attribute, value);
      if (type === COMMON_NAME && text !== undefined) commonName = text;
      const shown = text === undefined ? `#${Buffer.from(value.encoded).toString('hex')}` : escapeValue(text);
      attributes.push(`${LABELS.get(type) ?? type}=${shown}`);
    } while (set.peekTag() !== undefined);
    parts.unshift(attributes.join('+'));
    if (parts.length > MAX_ATTRIBUTES) reader.fail(`${what} has too many attributes`);
  }
  return { der: encoded, commonName, text: shortened(parts.join(',')) };
}

function shortened(text: string): string {
  return text.length > MAX_TEXT_LENGTH ? `${text.slice(0, MAX_TEXT_LENGTH)}…` : text;
}

/** DirectoryString and IA5String; undefined for other types. */
function decodeString(reader: DerReader, { tag, content }: DerElement): string | undefined {
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  switch (tag) {
    case DER_TAG.UTF8_STRING:
      try {
        return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
      } catch {
        return reader.fail('a name is not UTF-8');
      }
    case DER_TAG.PRINTABLE_STRING:
    case DER_TAG.IA5_STRING:
    case DER_TAG.T61_STRING:
      return bytes.toString('latin1');
    case DER_TAG.BMP_STRING:
      if (bytes.length % 2 !== 0) reader.fail('a name is cut off inside a character');
      return Buffer.from(bytes).swap16().toString('utf16le');
    default:
      return undefined;
  }
}

/** RFC 4514 §2.4; control and unpaired surrogate characters as well, because the text goes to terminals and logs. */
function escapeValue(value: string): string {
  return value
    .replaceAll(/[,+"\\<>;=]/g, '\\$&')
    .replaceAll(/^[ #]| $/g, '\\$&')
    .replaceAll(/\p{Cc}|\p{Cf}|\p{Cs}|\p{Zl}|\p{Zp}/gu, (character) =>
      [...Buffer.from(character)].map((octet) => `\\${octet.toString(16).padStart(2, '0')}`).join(''),
    );
}
