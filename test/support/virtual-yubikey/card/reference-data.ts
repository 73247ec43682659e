/** A PIN or PUK with its retry counter (NIST SP 800-73-4 Part 2 §3.2). */
import type { AttemptCount } from './statistics.ts';
import { CommandRefused, refuse, retriesLeft } from './status-word.ts';

/** Octets on the wire: the characters, filled up with FF (§2.4.3). */
export const REFERENCE_DATA_BYTES = 8;
const MIN_CHARACTERS = 6;
const FACTORY_RETRIES = 3;

export class ReferenceData {
  readonly retriesTotal: number;
  readonly #count: AttemptCount;
  #value: Buffer;
  #retriesLeft: number;

  /** @param count Is told of every attempt. */
  constructor(characters: string, count: AttemptCount, retriesTotal: number = FACTORY_RETRIES) {
    this.#value = padded(characters);
    this.#count = count;
    this.retriesTotal = retriesTotal;
    this.#retriesLeft = retriesTotal;
  }

  get retriesLeft(): number {
    return this.#retriesLeft;
  }

  is(characters: string): boolean {
    return this.#value.equals(padded(characters));
  }

  /**
   * Compares, which costs a try if it fails and gives all tries back if not.
   *
   * @throws {CommandRefused} 63Cx with the tries left, 6983 without comparing if none was left
   */
  verify(candidate: Buffer): void {
    this.#count.attempts++;
    if (this.#retriesLeft > 0 && candidate.equals(this.#value)) {
      this.#retriesLeft = this.retriesTotal;
      return;
    }
    this.#count.failures++;
    if (this.#retriesLeft === 0) refuse('AUTHENTICATION_METHOD_BLOCKED');
    this.#retriesLeft--;
    throw new CommandRefused(retriesLeft(this.#retriesLeft));
  }

  /** Sets another value and gives all tries back. @param value As `requireWellFormed` wants it. */
  replace(value: Buffer): void {
    this.#value = Buffer.from(value);
    this.#retriesLeft = this.retriesTotal;
  }
}

/** @throws {CommandRefused} 6A80 for a value that no PIN or PUK can have: shorter than 6, or FF before its end */
export function requireWellFormed(value: Buffer): void {
  const end = value.indexOf(0xff);
  const length = end === -1 ? value.length : end;
  const isPadded = value.subarray(length).every((octet) => octet === 0xff);
  if (value.length !== REFERENCE_DATA_BYTES || length < MIN_CHARACTERS || !isPadded) refuse('WRONG_DATA');
}

function padded(characters: string): Buffer {
  const value = Buffer.alloc(REFERENCE_DATA_BYTES, 0xff);
  value.write(characters, 'latin1');
  return value;
}
