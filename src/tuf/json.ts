/**
 * A bounded JSON reader that sees what Go's `encoding/json` sees, for bytes from servers, other programs and people.
 *
 * `JSON.parse` cannot do: it hides duplicate members and the order of members, moves names that look like numbers,
 * and knows no bound on depth or size.
 */
import { isUtf8 } from 'node:buffer';
import { type ErrorCode, SignetError } from '../errors.ts';

export type JsonValue = null | boolean | number | string | JsonArray | JsonObject;
export type JsonArray = readonly JsonValue[];
/** Members in the order of the text. A Map, because names are data: `__proto__` is a fine name for a target. */
export type JsonObject = ReadonlyMap<string, JsonValue>;

/** What is being read or written, for messages, and the code of the errors about it. */
export interface JsonSubject {
  /** As `targets metadata`. */
  readonly what: string;
  readonly code: Extract<ErrorCode, 'INVALID_ARGUMENT' | 'METADATA_REJECTED'>;
}

export interface JsonOptions {
  /** Go lets the last of several members with one name win. 'reject' is for signed data, where they are an attack. */
  readonly duplicates: 'reject' | 'last-wins';
  /** 'exact' rejects numbers that Go's float64 would change, fractions included; 'float64' changes them as Go does. */
  readonly numbers: 'exact' | 'float64';
  /** Longest text in bytes. */
  readonly maxBytes: number;
}

/** Deepest nesting of arrays and objects. Notary's own files have 6 levels, custom data comes on top. */
const MAX_DEPTH = 256;
/** Most values in one text, names not counted: some 300 000 targets. Bounds the memory that hostile text can take. */
const MAX_VALUES = 2_000_000;

/**
 * Reads one JSON text (RFC 8259). Invalid UTF-8 and lone surrogates become U+FFFD, as in Go.
 *
 * @throws {SignetError} The subject's code, with the position in characters; the text itself is never quoted.
 */
export function parseJson(bytes: Uint8Array, subject: JsonSubject, options: JsonOptions): JsonValue {
  if (bytes.byteLength > options.maxBytes) {
    throw new SignetError(subject.code, `${subject.what} is larger than ${options.maxBytes} bytes`);
  }
  return new JsonParser(decodeUtf8(bytes), subject, options).document();
}

/** Go replaces each byte that is part of no character; TextDecoder replaces runs of them (WHATWG Encoding §4.8.1). */
function decodeUtf8(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isUtf8(buffer)) return buffer.toString('utf8');
  let text = '';
  for (let offset = 0; offset < buffer.length; ) {
    const lead = buffer[offset] ?? 0;
    const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    const character = buffer.subarray(offset, offset + length);
    const isValid = character.length === length && isUtf8(character);
    text += isValid ? character.toString('utf8') : '\ufffd';
    offset += isValid ? length : 1;
  }
  return text;
}

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};
const HEX4 = /^[0-9a-fA-F]{4}$/;
const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;
/** Longest number literal. Longer ones are no numbers that anybody means. */
const MAX_NUMBER_LENGTH = 400;

class JsonParser {
  readonly #text: string;
  readonly #subject: JsonSubject;
  readonly #options: JsonOptions;
  #offset = 0;
  #values = 0;

  constructor(text: string, subject: JsonSubject, options: JsonOptions) {
    this.#text = text;
    this.#subject = subject;
    this.#options = options;
  }

  document(): JsonValue {
    const value = this.#value(0);
    this.#skipBlanks();
    if (this.#offset < this.#text.length) this.#fail('text after the value');
    return value;
  }

  #value(depth: number): JsonValue {
    if (depth > MAX_DEPTH) this.#fail(`nesting deeper than ${MAX_DEPTH} levels`);
    if (++this.#values > MAX_VALUES) this.#fail(`more than ${MAX_VALUES} values`);
    this.#skipBlanks();
    switch (this.#text[this.#offset]) {
      case '{':
        return this.#object(depth);
      case '[':
        return this.#array(depth);
      case '"':
        return this.#string();
      case 't':
        return this.#literal('true', true);
      case 'f':
        return this.#literal('false', false);
      case 'n':
        return this.#literal('null', null);
      default:
        return this.#number();
    }
  }

  #object(depth: number): JsonObject {
    const members = new Map<string, JsonValue>();
    this.#offset++;
    if (this.#accept('}')) return members;
    do {
      this.#skipBlanks();
      if (this.#text[this.#offset] !== '"') this.#fail('a member without a name');
      const name = this.#string();
      if (!this.#accept(':')) this.#fail('a member without a value');
      if (members.has(name)) {
        if (this.#options.duplicates === 'reject') this.#fail('two members with the same name');
        members.delete(name); // its place is that of the last one
      }
      members.set(name, this.#value(depth + 1));
    } while (this.#accept(','));
    if (!this.#accept('}')) this.#fail('an object that does not end');
    return members;
  }

  #array(depth: number): JsonArray {
    const items: JsonValue[] = [];
    this.#offset++;
    if (this.#accept(']')) return items;
    do items.push(this.#value(depth + 1));
    while (this.#accept(','));
    if (!this.#accept(']')) this.#fail('an array that does not end');
    return items;
  }

  #string(): string {
    const text = this.#text;
    let result = '';
    let start = ++this.#offset;
    for (;;) {
      const unit = text.charCodeAt(this.#offset); // NaN at the end
      if (unit === 0x22) break;
      if (unit === 0x5c) {
        result += text.slice(start, this.#offset) + this.#escape();
        start = this.#offset;
      } else if (unit >= 0x20) this.#offset++;
      else this.#fail('a string that does not end, or a control character in it');
    }
    result += text.slice(start, this.#offset++);
    return result.toWellFormed();
  }

  #escape(): string {
    const kind = this.#text[this.#offset + 1] ?? '';
    if (kind === 'u') {
      const digits = this.#text.slice(this.#offset + 2, this.#offset + 6);
      if (!HEX4.test(digits)) this.#fail('a malformed escape');
      this.#offset += 6;
      return String.fromCharCode(Number.parseInt(digits, 16));
    }
    const character = Object.hasOwn(ESCAPES, kind) ? ESCAPES[kind] : undefined;
    if (character === undefined) this.#fail('a malformed escape');
    this.#offset += 2;
    return character;
  }

  #number(): number {
    const start = this.#offset;
    let end = start;
    while ('+-.0123456789eE'.includes(this.#text[end] ?? ' ') && end - start <= MAX_NUMBER_LENGTH) end++;
    const literal = this.#text.slice(start, end);
    if (!NUMBER.test(literal)) this.#fail('no value');
    const value = Number(literal);
    if (!Number.isFinite(value)) this.#fail('a number out of range');
    if (this.#options.numbers === 'exact' && !isExactInteger(literal, value)) {
      this.#fail('a number that is no integer, or too large to be kept as it is');
    }
    this.#offset = end;
    return value + 0; // -0 is 0
  }

  #literal<T extends JsonValue>(text: string, value: T): T {
    if (!this.#text.startsWith(text, this.#offset)) this.#fail('no value');
    this.#offset += text.length;
    return value;
  }

  #accept(character: string): boolean {
    this.#skipBlanks();
    if (this.#text[this.#offset] !== character) return false;
    this.#offset++;
    return true;
  }

  #skipBlanks(): void {
    for (;;) {
      const unit = this.#text.charCodeAt(this.#offset);
      if (unit !== 0x20 && unit !== 0x0a && unit !== 0x0d && unit !== 0x09) return;
      this.#offset++;
    }
  }

  #fail(problem: string): never {
    throw new SignetError(
      this.#subject.code,
      `malformed ${this.#subject.what}: ${problem} at position ${this.#offset}`,
    );
  }
}

/** Whether the literal names exactly the float64 that it is read as, an integer that fits int64. */
function isExactInteger(literal: string, value: number): boolean {
  if (!Number.isInteger(value) || Math.abs(value) >= 2 ** 63) return false;
  const [mantissa = '', exponent = '0'] = literal.toLowerCase().split('e');
  const [whole = '', fraction = ''] = mantissa.split('.');
  const digits = (whole + fraction).replace(/0+$/, '');
  if (digits === '' || digits === '-') return true; // zero, whatever its exponent
  const zeros = Number(exponent) + whole.length - digits.length;
  // |value| < 2⁶³ bounds the zeros that follow the digits
  return zeros >= 0 && BigInt(digits + '0'.repeat(zeros)) === BigInt(value);
}
