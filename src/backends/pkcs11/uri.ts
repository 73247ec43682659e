/**
 * `pkcs11:` URIs, RFC 7512: how tokens are named in the configuration and keys in `KeyInfo.location`.
 *
 * Stricter than the RFC in two places: `pin-value` is refused, because whoever stores the URI would store the PIN; and of
 * the attributes that the RFC does not define only `x-…` are passed over, so that a mistyped one is not.
 */
import { SignetError } from '../../errors.ts';

const OBJECT_TYPES = ['public', 'private', 'cert', 'secret-key', 'data'] as const;
export type ObjectType = (typeof OBJECT_TYPES)[number];

/** What a URI says; texts are decoded. */
export interface Pkcs11Uri {
  readonly token?: string;
  readonly manufacturer?: string;
  readonly serial?: string;
  readonly model?: string;
  readonly libraryManufacturer?: string;
  readonly libraryDescription?: string;
  /** `major` or `major.minor`. */
  readonly libraryVersion?: string;
  readonly slotManufacturer?: string;
  readonly slotDescription?: string;
  readonly slotId?: number;
  /** CKA_LABEL. */
  readonly object?: string;
  readonly type?: ObjectType;
  /** CKA_ID. */
  readonly id?: Uint8Array;
  readonly pinSource?: string;
  readonly moduleName?: string;
  readonly modulePath?: string;
}

interface AttributeRow {
  readonly name: string;
  readonly property: keyof Pkcs11Uri;
  readonly part: 'path' | 'query';
  /** Bytes, decoded. Fields of CK_TOKEN_INFO and CK_SLOT_INFO have these sizes: a longer text names nothing. */
  readonly maxBytes: number;
  readonly kind: 'text' | 'bytes' | 'number' | 'type' | 'version';
}

const LABEL_BYTES = 1024;
const PATH_BYTES = 4096;

const ATTRIBUTES: readonly AttributeRow[] = [
  { name: 'token', property: 'token', part: 'path', maxBytes: 32, kind: 'text' },
  { name: 'manufacturer', property: 'manufacturer', part: 'path', maxBytes: 32, kind: 'text' },
  { name: 'serial', property: 'serial', part: 'path', maxBytes: 16, kind: 'text' },
  { name: 'model', property: 'model', part: 'path', maxBytes: 16, kind: 'text' },
  { name: 'library-manufacturer', property: 'libraryManufacturer', part: 'path', maxBytes: 32, kind: 'text' },
  { name: 'library-description', property: 'libraryDescription', part: 'path', maxBytes: 32, kind: 'text' },
  { name: 'library-version', property: 'libraryVersion', part: 'path', maxBytes: 7, kind: 'version' },
  { name: 'slot-manufacturer', property: 'slotManufacturer', part: 'path', maxBytes: 32, kind: 'text' },
  { name: 'slot-description', property: 'slotDescription', part: 'path', maxBytes: 64, kind: 'text' },
  { name: 'slot-id', property: 'slotId', part: 'path', maxBytes: 10, kind: 'number' },
  { name: 'object', property: 'object', part: 'path', maxBytes: LABEL_BYTES, kind: 'text' },
  { name: 'type', property: 'type', part: 'path', maxBytes: 10, kind: 'type' },
  { name: 'id', property: 'id', part: 'path', maxBytes: LABEL_BYTES, kind: 'bytes' },
  { name: 'pin-source', property: 'pinSource', part: 'query', maxBytes: PATH_BYTES, kind: 'text' },
  { name: 'module-name', property: 'moduleName', part: 'query', maxBytes: 255, kind: 'text' },
  { name: 'module-path', property: 'modulePath', part: 'query', maxBytes: PATH_BYTES, kind: 'text' },
];

const SCHEME = 'pkcs11:';
const MAX_CHARACTERS = 16_384;
const MAX_SLOT_ID = 0xffffffff;
/** RFC 7512 §2.3: what may stand for itself in a value, beside letters, digits and `-._~`. */
const PLAIN = { path: /^[A-Za-z0-9\-._~:[\]@!$'()*+,=&]$/, query: /^[A-Za-z0-9\-._~:[\]@!$'()*+,=/?|]$/ };
const VENDOR_NAME = /^x-[a-z0-9_-]{1,64}$/i;

function invalid(problem: string, hint?: string): SignetError {
  return new SignetError('INVALID_ARGUMENT', `malformed pkcs11 URI: ${problem}`, hint === undefined ? {} : { hint });
}

/**
 * Reads a URI.
 *
 * @throws {SignetError} INVALID_ARGUMENT; values are not quoted in the message
 */
export function parsePkcs11Uri(text: string): Pkcs11Uri {
  if (text.length > MAX_CHARACTERS) throw invalid(`longer than ${MAX_CHARACTERS} characters`);
  // RFC 3986 §3.1: schemes are written in any case.
  if (text.slice(0, SCHEME.length).toLowerCase() !== SCHEME) throw invalid('it does not begin with "pkcs11:"');
  const rest = text.slice(SCHEME.length);
  const question = rest.indexOf('?');
  const uri: Record<string, unknown> = {};
  readAttributes(question < 0 ? rest : rest.slice(0, question), 'path', uri);
  if (question >= 0) readAttributes(rest.slice(question + 1), 'query', uri);
  return uri;
}

function readAttributes(text: string, part: 'path' | 'query', uri: Record<string, unknown>): void {
  if (text === '') return;
  for (const attribute of text.split(part === 'path' ? ';' : '&')) {
    const equals = attribute.indexOf('=');
    if (equals < 1) throw invalid(`an attribute of its ${part} has no name or no value`);
    const name = attribute.slice(0, equals);
    if (name === 'pin-value') {
      throw invalid(
        'pin-value would store the PIN',
        'use pin-source=file:/path of a file that only its owner can read',
      );
    }
    const row = ATTRIBUTES.find((known) => known.name === name && known.part === part);
    if (row === undefined && !VENDOR_NAME.test(name)) {
      throw invalid(`unknown attribute ${JSON.stringify(name.slice(0, 64))} in its ${part}`, remedyFor(name, part));
    }
    const value = decode(attribute.slice(equals + 1), name, part);
    if (row === undefined) continue;
    if (Object.hasOwn(uri, row.property)) throw invalid(`"${name}" is given twice`);
    uri[row.property] = typedValue(row, value);
  }
}

function remedyFor(name: string, part: 'path' | 'query'): string {
  const elsewhere = ATTRIBUTES.find((known) => known.name === name);
  if (elsewhere === undefined) return `use ${namesOf(part)}`;
  return elsewhere.part === 'query' ? `write it after a "?"` : 'write it before the "?", with ";" between';
}

function namesOf(part: 'path' | 'query'): string {
  return ATTRIBUTES.filter((row) => row.part === part)
    .map((row) => row.name)
    .join(', ');
}

function decode(text: string, name: string, part: 'path' | 'query'): Buffer {
  const bytes: number[] = [];
  for (let index = 0; index < text.length; index++) {
    const character = text.charAt(index);
    if (character !== '%') {
      if (!PLAIN[part].test(character)) throw invalid(`a character of "${name.slice(0, 64)}" must be percent-encoded`);
      bytes.push(character.charCodeAt(0));
      continue;
    }
    const hex = text.slice(index + 1, index + 3);
    if (!/^[0-9A-Fa-f]{2}$/.test(hex)) throw invalid(`"${name.slice(0, 64)}" has an incomplete percent-encoding`);
    bytes.push(Number.parseInt(hex, 16));
    index += 2;
  }
  return Buffer.from(bytes);
}

function typedValue({ name, kind, maxBytes }: AttributeRow, bytes: Buffer): unknown {
  if (bytes.length > maxBytes) throw invalid(`"${name}" is longer than ${maxBytes} bytes`);
  switch (kind) {
    case 'bytes':
      if (bytes.length === 0) throw invalid(`"${name}" is empty`);
      return bytes;
    case 'text':
      return decodeText(name, bytes);
    case 'number': {
      const text = decodeText(name, bytes);
      if (!/^(0|[1-9]\d{0,9})$/.test(text) || Number(text) > MAX_SLOT_ID) throw invalid(`"${name}" is not a number`);
      return Number(text);
    }
    case 'version': {
      const text = decodeText(name, bytes);
      if (!/^\d{1,3}(\.\d{1,3})?$/.test(text)) throw invalid(`"${name}" is not a version`);
      return text;
    }
    case 'type': {
      const text = decodeText(name, bytes);
      if (OBJECT_TYPES.some((type) => type === text)) return text;
      throw invalid(`"${name}" is not one of ${OBJECT_TYPES.join(', ')}`);
    }
  }
}

function decodeText(name: string, bytes: Buffer): string {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw invalid(`"${name}" is not UTF-8`);
  }
  if (text.includes('\0')) throw invalid(`"${name}" has a NUL character`);
  return text;
}

/** Writes a URI that `parsePkcs11Uri` reads as the same; attributes come in a fixed order. */
export function formatPkcs11Uri(uri: Pkcs11Uri): string {
  const written = (part: 'path' | 'query') =>
    ATTRIBUTES.filter((row) => row.part === part && uri[row.property] !== undefined).map(
      (row) => `${row.name}=${encode(row, uri[row.property])}`,
    );
  const query = written('query').join('&');
  return `${SCHEME}${written('path').join(';')}${query === '' ? '' : `?${query}`}`;
}

function encode({ kind, part }: AttributeRow, value: unknown): string {
  const bytes = value instanceof Uint8Array ? value : Buffer.from(String(value));
  let text = '';
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    // RFC 7512 §2.3: the whole of a binary id should be percent-encoded.
    const isPlain = kind !== 'bytes' && byte < 0x80 && PLAIN[part].test(character) && character !== '&';
    text += isPlain ? character : `%${byte.toString(16).padStart(2, '0').toUpperCase()}`;
  }
  return text;
}
