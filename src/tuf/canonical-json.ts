/**
 * Canonical JSON of docker/go, Notary's dialect: the text that signatures cover, and the text that files hold.
 *
 * Files are the same text with more escapes. notary-server computes hashes over its own serialisation of what it
 * parsed, so a file that is not exactly the text Go would write makes a collection unusable.
 */
import { SignetError } from '../errors.ts';
import type { JsonSubject, JsonValue } from './json.ts';

/** In signed text only these two are escaped; everything else is raw, control characters included. */
const SIGNED_ESCAPES = /["\\]/g;
/**
 * In files Go also escapes what HTML and JavaScript could trip over. Control characters occur in custom data only
 * (`encodeMetadata` refuses them elsewhere), which Go copies as it is written.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must be found
const FILE_ESCAPES = /["\\<>&\u2028\u2029\u0000-\u001f]/g;

/**
 * The canonical text: no white space, members sorted by the bytes of their names, integers as int64.
 *
 * @throws {SignetError} The subject's code, in the words of docker/go, for a number with a fraction
 */
export function canonicalJson(value: JsonValue, subject: JsonSubject): string {
  return new Writer(SIGNED_ESCAPES, (character) => `\\${character}`, subject).text(value);
}

/** The text of a file whose signed text is `canonicalJson(value)`. @throws {SignetError} As `canonicalJson`. */
export function fileJson(value: JsonValue, subject: JsonSubject): string {
  return new Writer(FILE_ESCAPES, fileEscape, subject).text(value);
}

function fileEscape(character: string): string {
  if (character === '"' || character === '\\') return `\\${character}`;
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

class Writer {
  readonly #escaped: RegExp;
  readonly #escapeOf: (character: string) => string;
  readonly #subject: JsonSubject;

  constructor(escaped: RegExp, escapeOf: (character: string) => string, subject: JsonSubject) {
    this.#escaped = escaped;
    this.#escapeOf = escapeOf;
    this.#subject = subject;
  }

  text(value: JsonValue): string {
    if (typeof value === 'string') return `"${value.replace(this.#escaped, this.#escapeOf)}"`;
    if (typeof value === 'number') return this.#integer(value);
    if (value === null || typeof value === 'boolean') return String(value);
    if (!isObject(value)) return `[${value.map((item) => this.text(item)).join(',')}]`;
    const members = [...value].sort(([a], [b]) => compareUtf8(a, b));
    return `{${members.map(([name, member]) => `${this.text(name)}:${this.text(member)}`).join(',')}}`;
  }

  /** Go converts float64 to int64; what does not fit becomes the smallest int64 (amd64). */
  #integer(value: number): string {
    if (!Number.isInteger(value)) throw new SignetError(this.#subject.code, `json: unsupported value: ${value}`);
    if (Number.isSafeInteger(value)) return String(value);
    return String(Math.abs(value) < 2 ** 63 ? BigInt(value) : -(2n ** 63n));
  }
}

function isObject(
  value: Exclude<JsonValue, string | number | boolean | null>,
): value is ReadonlyMap<string, JsonValue> {
  return value instanceof Map;
}

/**
 * Compares strings by their UTF-8 bytes, which is the order of code points; JavaScript's own order is that of UTF-16
 * units, where U+E000 to U+FFFF come after the characters beyond.
 */
export function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const difference = codePointRank(a.charCodeAt(index)) - codePointRank(b.charCodeAt(index));
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** Ranks surrogates above all other units. */
function codePointRank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
