/**
 * PEM as Go's `encoding/pem` reads and writes it: what `notary` and `docker` share with us (RFC 1421 headers included).
 *
 * The text is read as bytes, not as a string, because an unencrypted block is a private key.
 */
import { SignetError } from '../errors.ts';

export interface PemBlock {
  /** The label of the BEGIN line, as `EC PRIVATE KEY`. */
  readonly type: string;
  /** Names are case-sensitive; the last of several equal names counts. */
  readonly headers: ReadonlyMap<string, string>;
  /** A buffer of its own; for an unencrypted key the caller zeroes it. */
  readonly bytes: Buffer;
}

const BEGIN = Buffer.from('\n-----BEGIN ');
const END = Buffer.from('\n-----END ');
const DASHES = '-----';
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const TAB = 0x09;
const PADDING = 0x3d; // =
/** Far longer than any real one. */
const MAX_LABEL_BYTES = 64;
/** Columns of base64 that Go writes per line. */
const LINE_WIDTH = 64;

/** @returns The first well-formed block, leading text skipped; undefined if there is none. */
export function parsePem(text: Uint8Array): PemBlock | undefined {
  return new PemScanner(text).next();
}

/** @returns Every well-formed block in order; text between them and malformed blocks are skipped, as Go does. */
export function parsePemBlocks(text: Uint8Array): PemBlock[] {
  const scanner = new PemScanner(text);
  const blocks: PemBlock[] = [];
  for (let block = scanner.next(); block !== undefined; block = scanner.next()) blocks.push(block);
  return blocks;
}

/** @returns The labels of all BEGIN lines in order, also of malformed blocks; cut off after `MAX_LABEL_BYTES`. */
export function pemLabels(text: Uint8Array): string[] {
  const buffer = Buffer.from(text.buffer, text.byteOffset, text.byteLength);
  const bare = BEGIN.subarray(1);
  const labels: string[] = [];
  let start = buffer.subarray(0, bare.length).equals(bare) ? bare.length : after(buffer.indexOf(BEGIN));
  while (start >= 0) {
    const line = buffer.toString('latin1', start, start + MAX_LABEL_BYTES);
    labels.push(/^[^\r\n]*?(?=-----|[\r\n]|$)/.exec(line)?.[0] ?? '');
    start = after(buffer.indexOf(BEGIN, start));
  }
  return labels;
}

/** Where the label begins, of what `indexOf(BEGIN)` found. */
function after(found: number): number {
  return found < 0 ? -1 : found + BEGIN.length;
}

interface Line {
  /** Without the line end and trailing blanks. */
  readonly text: string;
  /** Where the following line starts. */
  readonly next: number;
}

/** One pass over the text, in time linear in its length whatever it holds. */
class PemScanner {
  readonly #text: Buffer;
  #offset = 0;
  /** Start of the next END line, remembered because several BEGIN lines may share it. */
  #end = -1;

  constructor(text: Uint8Array) {
    this.#text = Buffer.from(text.buffer, text.byteOffset, text.byteLength);
  }

  next(): PemBlock | undefined {
    while (this.#seekBegin()) {
      const block = this.#readBlock();
      if (block !== undefined) return block;
    }
    return undefined;
  }

  /** Moves behind `-----BEGIN ` at the start of a line. */
  #seekBegin(): boolean {
    const bare = BEGIN.subarray(1);
    if (this.#text.subarray(this.#offset, this.#offset + bare.length).equals(bare)) {
      this.#offset += bare.length;
      return true;
    }
    const found = this.#text.indexOf(BEGIN, this.#offset);
    if (found < 0) return false;
    this.#offset = found + BEGIN.length;
    return true;
  }

  /** @returns Undefined if the block is malformed; the scanner then stands where Go goes on looking. */
  #readBlock(): PemBlock | undefined {
    const label = this.#line(this.#offset);
    this.#offset = label.next;
    if (!label.text.endsWith(DASHES)) return undefined;
    const type = label.text.slice(0, -DASHES.length);

    const headers = this.#readHeaders();
    const start = this.#offset;
    const isEmpty = headers.size === 0 && this.#startsWith(END.subarray(1), start);
    const end = isEmpty ? start - 1 : this.#nextEnd(start);
    if (end < 0) return undefined;
    const trailer = this.#line(end + END.length);
    if (trailer.text !== `${type}${DASHES}`) return undefined;

    const bytes = decodeBase64(this.#text.subarray(start, Math.max(start, end)));
    if (bytes === undefined) return undefined;
    this.#offset = trailer.next;
    return { type, headers, bytes };
  }

  /** Lines with a colon are headers; base64 has none. */
  #readHeaders(): Map<string, string> {
    const headers = new Map<string, string>();
    while (this.#offset < this.#text.length) {
      const { start, end, next } = this.#lineBounds(this.#offset);
      const colon = this.#text.subarray(start, end).indexOf(':');
      if (colon < 0) break;
      const name = this.#text.toString('utf8', start, start + colon);
      const value = this.#text.toString('utf8', start + colon + 1, end);
      headers.set(trimWhiteSpace(name), trimWhiteSpace(value));
      this.#offset = next;
    }
    return headers;
  }

  #nextEnd(from: number): number {
    if (this.#end < from && this.#end !== this.#text.length) {
      const found = this.#text.indexOf(END, from);
      this.#end = found < 0 ? this.#text.length : found;
    }
    return this.#end === this.#text.length ? -1 : this.#end;
  }

  #startsWith(prefix: Uint8Array, offset: number): boolean {
    return this.#text.subarray(offset, offset + prefix.length).equals(prefix);
  }

  #line(offset: number): Line {
    const { start, end, next } = this.#lineBounds(offset);
    return { text: this.#text.toString('utf8', start, end), next };
  }

  #lineBounds(start: number): { readonly start: number; readonly end: number; readonly next: number } {
    const feed = this.#text.indexOf(LINE_FEED, start);
    let end = feed < 0 ? this.#text.length : feed;
    const next = feed < 0 ? end : feed + 1;
    if (feed >= 0 && end > start && this.#text[end - 1] === CARRIAGE_RETURN) end--;
    while (end > start && (this.#text[end - 1] === SPACE || this.#text[end - 1] === TAB)) end--;
    return { start, end, next };
  }
}

const WHITE_SPACE = /^\p{White_Space}$/u;

/** Go's `strings.TrimSpace`, which differs from `trim()` in U+0085 and U+FEFF. */
function trimWhiteSpace(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && WHITE_SPACE.test(text.charAt(start))) start++;
  while (end > start && WHITE_SPACE.test(text.charAt(end - 1))) end--;
  return text.slice(start, end);
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const INVALID = 0xff;
const SEXTETS = Uint8Array.from({ length: 256 }, (_, octet) => {
  const sextet = ALPHABET.indexOf(String.fromCharCode(octet));
  return sextet < 0 ? INVALID : sextet;
});

/**
 * Standard padded base64 (RFC 4648 §4) with white space between, strict otherwise. Node's own decoder skips what it
 * does not know and takes strings, which cannot be zeroed.
 */
function decodeBase64(text: Uint8Array): Buffer | undefined {
  const out = Buffer.alloc(Math.floor((text.byteLength * 3) / 4));
  const length = decodeInto(out, text);
  if (length !== undefined) return out.subarray(0, length);
  out.fill(0);
  return undefined;
}

/** @returns How many bytes were written; undefined for malformed base64. */
function decodeInto(out: Buffer, text: Uint8Array): number | undefined {
  let length = 0;
  let quantum = 0;
  let characters = 0;
  let padding = 0;
  for (const octet of text) {
    if (octet === LINE_FEED || octet === CARRIAGE_RETURN || octet === SPACE || octet === TAB) continue;
    const isPadding = octet === PADDING;
    const sextet = isPadding ? 0 : (SEXTETS[octet] ?? INVALID);
    if (isPadding) padding++;
    if (sextet === INVALID || padding > 2 || (padding > 0 && !isPadding)) return undefined;
    quantum = (quantum << 6) | sextet;
    if (++characters % 4 !== 0) continue;
    out.writeUIntBE(quantum & 0xffffff, length, 3);
    length += 3 - padding;
    quantum = 0;
  }
  return characters % 4 === 0 ? length : undefined;
}

/** What a header or a label must not hold, lest it be read back as something else. */
const CONTROL = /\p{Cc}/u;

/**
 * The text Go's encoder writes: `Proc-Type` first, the other headers sorted by name, an empty line after them, base64
 * in 64 columns.
 *
 * @throws {SignetError} INVALID_ARGUMENT for a label, header name or value that would not be read back as it is
 */
export function formatPem(block: {
  readonly type: string;
  readonly headers: ReadonlyMap<string, string> | Readonly<Record<string, string>>;
  readonly bytes: Uint8Array;
}): string {
  if (CONTROL.test(block.type)) throw new SignetError('INVALID_ARGUMENT', 'PEM type has a control character');
  const base64 = Buffer.from(block.bytes.buffer, block.bytes.byteOffset, block.bytes.byteLength).toString('base64');
  const body: string[] = [];
  for (let start = 0; start < base64.length; start += LINE_WIDTH) body.push(base64.slice(start, start + LINE_WIDTH));
  const headers = headerLines(block.headers);
  const lines = [
    `${DASHES}BEGIN ${block.type}${DASHES}`,
    ...headers,
    ...(headers.length > 0 ? [''] : []),
    ...body,
    `${DASHES}END ${block.type}${DASHES}`,
  ];
  return `${lines.join('\n')}\n`;
}

function headerLines(headers: ReadonlyMap<string, string> | Readonly<Record<string, string>>): string[] {
  const entries = headers instanceof Map ? [...headers] : Object.entries(headers);
  for (const [name, value] of entries) checkHeader(name, value);
  const rank = (name: string) => (name === 'Proc-Type' ? 0 : 1);
  return entries
    .toSorted(([a], [b]) => rank(a) - rank(b) || Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map(([name, value]) => `${name}: ${value}`);
}

function checkHeader(name: string, value: string): void {
  if (CONTROL.test(name) || name.includes(':') || name === '' || trimWhiteSpace(name) !== name) {
    throw new SignetError(
      'INVALID_ARGUMENT',
      'PEM header name is empty or has a colon, control character or outer blank',
    );
  }
  if (CONTROL.test(value) || trimWhiteSpace(value) !== value) {
    throw new SignetError(
      'INVALID_ARGUMENT',
      `PEM header "${name}" has a control character or outer blank in its value`,
    );
  }
}
