/**
 * A passphrase or PIN in memory that can be zeroed and does not print itself.
 *
 * Node cannot promise that no other copy exists (strings, the kernel, a moved buffer); SECURITY.md says how far this goes.
 */
import { inspect } from 'node:util';
import { SignetError } from '../errors.ts';

export class Secret {
  #bytes: Buffer | undefined;

  /** Takes over `bytes`: the caller must not use or zero them afterwards. */
  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** A copy of the text as UTF-8. The string itself cannot be zeroed: prefer bytes where there is a choice. */
  static fromText(text: string): Secret {
    // Not from Buffer's shared pool: zeroing must reach all of it, and nothing else.
    const bytes = Buffer.alloc(Buffer.byteLength(text));
    bytes.write(text);
    return new Secret(bytes);
  }

  /** The bytes themselves, valid until `dispose()`. @throws {SignetError} INTERNAL after disposal */
  bytes(): Uint8Array {
    if (this.#bytes === undefined) throw new SignetError('INTERNAL', 'secret used after it was zeroed');
    return this.#bytes;
  }

  clone(): Secret {
    return new Secret(Buffer.alloc(this.bytes().byteLength, this.bytes()));
  }

  dispose(): void {
    this.#bytes?.fill(0);
    this.#bytes = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }

  [inspect.custom](): string {
    return '[secret]';
  }
}
