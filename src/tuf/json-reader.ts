/** Reads the members of JSON objects into typed values, with errors that say which member is wrong. */
import { SignetError } from '../errors.ts';
import type { JsonArray, JsonObject, JsonSubject, JsonValue } from './json.ts';

/**
 * One object of a known form. Unknown members are ignored, as in Go; they are dropped when the metadata is written
 * again, because Go drops them and files must be what Go writes.
 */
export class JsonReader {
  readonly subject: JsonSubject;
  readonly #members: JsonObject;
  readonly #path: string;

  /**
   * @param names The members that the object may have. Go matches names in any capitals; we reject another spelling
   *   instead of guessing which of two is meant.
   * @param path Of the object in the text, for messages, as `signed.roles`; constant texts only
   */
  constructor(value: JsonValue | undefined, names: readonly string[], path: string, subject: JsonSubject) {
    this.subject = subject;
    this.#path = path;
    this.#members = asObject(value, path, subject);
    const folded = new Set(names.map(fold));
    for (const name of this.#members.keys()) {
      if (folded.has(fold(name)) && !names.includes(name)) this.fail('has a member in wrong capitals');
    }
  }

  /** True if the member is absent or null, which are the same to Go. */
  isNull(name: string): boolean {
    return (this.#members.get(name) ?? null) === null;
  }

  value(name: string): JsonValue {
    return this.#members.get(name) ?? null;
  }

  string(name: string): string {
    return asString(this.#members.get(name), `${this.#path}.${name}`, this.subject);
  }

  boolean(name: string): boolean {
    const value = this.#members.get(name);
    return typeof value === 'boolean' ? value : this.fail(`has no boolean ${name}`);
  }

  /** @returns A safe integer. */
  integer(name: string, minimum: number): number {
    const value = this.#members.get(name);
    if (typeof value !== 'number') return this.fail(`has no number ${name}`);
    if (!Number.isSafeInteger(value) || value < minimum) this.fail(`has a ${name} out of range`);
    return value;
  }

  object(name: string): JsonObject {
    return asObject(this.#members.get(name), `${this.#path}.${name}`, this.subject);
  }

  array(name: string): JsonArray {
    const value = this.#members.get(name);
    return Array.isArray(value) ? (value as JsonArray) : this.fail(`has no array ${name}`);
  }

  strings(name: string): string[] {
    return this.array(name).map((item) => asString(item, `${this.#path}.${name}`, this.subject));
  }

  base64(name: string): Buffer {
    return asBase64(this.#members.get(name), `${this.#path}.${name}`, this.subject);
  }

  fail(problem: string): never {
    throw malformed(this.subject, `${this.#path} ${problem}`);
  }
}

/** The error for text that is JSON, but not what it should be. */
export function malformed(subject: JsonSubject, problem: string): SignetError {
  return new SignetError(subject.code, `malformed ${subject.what}: ${problem}`);
}

export function asObject(value: JsonValue | undefined, path: string, subject: JsonSubject): JsonObject {
  if (value instanceof Map) return value;
  throw malformed(subject, `${path} is not an object`);
}

/**
 * Standard padded base64 (RFC 4648 §4). Go also takes line breaks and stray bits; nobody writes them, and two texts for
 * the same bytes would be read as one.
 */
export function asBase64(value: JsonValue | undefined, path: string, subject: JsonSubject): Buffer {
  const text = asString(value, path, subject);
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text) throw malformed(subject, `${path} is not base64`);
  return bytes;
}

function asString(value: JsonValue | undefined, path: string, subject: JsonSubject): string {
  if (typeof value === 'string') return value;
  throw malformed(subject, `${path} is not a string`);
}

export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

/** Go's simple case folding, as far as it can reach ASCII names (U+017F and U+212A included). */
function fold(name: string): string {
  return name.toUpperCase().toLowerCase();
}
