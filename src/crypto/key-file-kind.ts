/** What kind of file some bytes are, and what to say about the kinds that hold no key for Signet. */
import { SignetError } from '../errors.ts';
import { DerReader } from './der.ts';
import { pemLabels } from './pem.ts';
import { looksLikePkcs12 } from './pkcs12.ts';

/** A bundle of a hundred keys is 50 KiB. */
const MAX_FILE_BYTES = 1024 * 1024;
/** How far into a file its kind is looked for. */
const SNIFFED_BYTES = 64;
const DER_SEQUENCE = 0x30;
const UTF8_BOM = Buffer.of(0xef, 0xbb, 0xbf);

export const SSH_HINT = 'convert a copy of it with "ssh-keygen -p -m PKCS8 -f COPY" (RSA and ECDSA keys)';
const ACCEPTED_HINT = 'give a PEM, DER, PKCS#12 (.p12, .pfx) or JWK file';

/** The structures of RFC 5958, RFC 5915, RFC 8017, RFC 5280, by the tags of what is inside their outer sequence. */
export type DerKind = 'pkcs8' | 'sealed-pkcs8' | 'sec1' | 'pkcs1' | 'certificate' | 'spki' | 'pkcs1-public';

export type FileContents =
  | { readonly kind: 'pem'; readonly text: Uint8Array }
  | { readonly kind: 'json'; readonly text: Uint8Array }
  | { readonly kind: 'der'; readonly structure: DerKind; readonly der: Uint8Array }
  | { readonly kind: 'pkcs12'; readonly file: Uint8Array };

/**
 * @returns Views of `bytes`.
 * @throws {SignetError} INVALID_ARGUMENT if the file is empty, too large or of no known kind; UNSUPPORTED for a kind that
 *   is known and not read
 */
export function detectFile(bytes: Uint8Array): FileContents {
  if (bytes.byteLength > MAX_FILE_BYTES) throw new SignetError('INVALID_ARGUMENT', 'the file is larger than 1 MiB');
  const text = UTF8_BOM.equals(bytes.subarray(0, UTF8_BOM.length)) ? bytes.subarray(UTF8_BOM.length) : bytes;
  const start = Buffer.from(text.subarray(0, SNIFFED_BYTES)).toString('latin1').trimStart();
  if (bytes.byteLength === 0) throw new SignetError('INVALID_ARGUMENT', 'the file is empty');
  if (looksLikePkcs12(bytes)) return { kind: 'pkcs12', file: bytes };
  if (bytes[0] === DER_SEQUENCE) {
    const structure = derKind(bytes);
    if (structure !== undefined) return { kind: 'der', structure, der: bytes };
  }
  if (start.startsWith('{')) return { kind: 'json', text };
  if (pemLabels(text).length > 0) return { kind: 'pem', text };
  throw refusal(start);
}

function derKind(bytes: Uint8Array): DerKind | undefined {
  const tags: string[] = [];
  try {
    const outer = new DerReader(bytes, { what: 'file', code: 'INVALID_ARGUMENT' });
    const inner: DerReader = outer.readSequence('file');
    outer.end();
    while (inner.peekTag() !== undefined) tags.push(inner.readElement('element').tag.toString(16).padStart(2, '0'));
  } catch {
    return undefined;
  }
  const shape = tags.join(' ');
  return SHAPES.find(([pattern]) => pattern.test(shape))?.[1];
}

const SHAPES: readonly (readonly [RegExp, DerKind])[] = [
  [/^02 30 04( a0)?( 81)?$/, 'pkcs8'],
  [/^30 04$/, 'sealed-pkcs8'],
  [/^02 04( a0)?( a1)?$/, 'sec1'],
  [/^02( 02){8}( 30)?$/, 'pkcs1'],
  [/^30 30 03$/, 'certificate'],
  [/^30 03$/, 'spki'],
  [/^02 02$/, 'pkcs1-public'],
];

function refusal(start: string): SignetError {
  if (/^(?:ssh-|ecdsa-sha2-|sk-|---- BEGIN SSH2)/.test(start)) {
    return unsupported('the file holds an OpenSSH public key', 'convert it with "ssh-keygen -e -m PKCS8 -f FILE"');
  }
  if (start.startsWith('PuTTY-User-Key-File')) {
    return unsupported('the file holds a PuTTY key', `export it from PuTTYgen as an OpenSSH key, then ${SSH_HINT}`);
  }
  if (/^(?:\xff\xfe|\xfe\xff)/.test(start)) {
    return unsupported('the file is encoded in UTF-16', 'save it as UTF-8');
  }
  return new SignetError('INVALID_ARGUMENT', 'the file is no key file of a known kind', { hint: ACCEPTED_HINT });
}

function unsupported(message: string, hint: string): SignetError {
  return new SignetError('UNSUPPORTED', message, { hint });
}
