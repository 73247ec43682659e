/**
 * BER (X.690 §8) → DER, for PKCS#12 files: Java, NSS and macOS write indefinite lengths and strings in pieces. Everything
 * else in Signet reads DER only.
 */
import { SignetError } from '../errors.ts';
import { DER_TAG, type DerNode, type DerSubject, encodeDer } from './der.ts';

const CONSTRUCTED = 0x20;
const CONSTRUCTED_OCTET_STRING = DER_TAG.OCTET_STRING | CONSTRUCTED;
const INDEFINITE = 0x80;
const MAX_LENGTH_OCTETS = 4;
/** Real files have twelve levels at most. */
const MAX_DEPTH = 32;

/**
 * Rewrites one element with definite, minimal lengths and OCTET STRINGs in one piece. Content that is not constructed is
 * kept as it is: what is inside an OCTET STRING is still BER.
 *
 * @returns A fresh buffer with the only copy made of the content; the caller may zero it.
 * @throws {SignetError} the subject's code if it is malformed or anything follows
 */
export function berToDer(bytes: Uint8Array, subject: DerSubject): Buffer {
  const { node, next } = new BerReader(bytes, subject).read(0, bytes.byteLength, 0);
  if (next !== bytes.byteLength) throw malformed(subject, 'trailing bytes');
  return encodeDer(node);
}

function malformed(subject: DerSubject, problem: string): SignetError {
  return new SignetError(subject.code, `malformed ${subject.what}: ${problem}`);
}

class BerReader {
  readonly #bytes: Uint8Array;
  readonly #subject: DerSubject;

  constructor(bytes: Uint8Array, subject: DerSubject) {
    this.#bytes = bytes;
    this.#subject = subject;
  }

  /** Reads the element at `offset`, which ends before `end`. */
  read(offset: number, end: number, depth: number): { readonly node: DerNode; readonly next: number } {
    if (depth > MAX_DEPTH) throw malformed(this.#subject, 'too many levels');
    const tag = this.#octet(offset, end);
    if ((tag & 0x1f) === 0x1f) throw malformed(this.#subject, 'a tag of several octets');
    const { from, length } = this.#length(offset + 1, end);
    if (length === undefined) {
      if ((tag & CONSTRUCTED) === 0) throw malformed(this.#subject, 'a string of indefinite length');
      const { children, next } = this.#children(from, end, depth, true);
      return { node: constructed(tag, children), next };
    }
    const next = from + length;
    if (next > end) throw malformed(this.#subject, 'an element is truncated');
    if ((tag & CONSTRUCTED) === 0) return { node: { tag, content: this.#bytes.subarray(from, next) }, next };
    return { node: constructed(tag, this.#children(from, next, depth, false).children), next };
  }

  /** @param isIndefinite Whether two zero octets end the list (§8.1.5), or `end` does. */
  #children(from: number, end: number, depth: number, isIndefinite: boolean) {
    const children: DerNode[] = [];
    let offset = from;
    while (offset < end || isIndefinite) {
      if (isIndefinite && this.#octet(offset, end) === 0) {
        if (this.#octet(offset + 1, end) !== 0) throw malformed(this.#subject, 'a tag that is zero');
        return { children, next: offset + 2 };
      }
      const { node, next } = this.read(offset, end, depth + 1);
      children.push(node);
      offset = next;
    }
    return { children, next: offset };
  }

  /** @returns Where the content starts, and its length unless it is indefinite. */
  #length(offset: number, end: number): { readonly from: number; readonly length: number | undefined } {
    const first = this.#octet(offset, end);
    if (first < INDEFINITE) return { from: offset + 1, length: first };
    if (first === INDEFINITE) return { from: offset + 1, length: undefined };
    const octets = first & 0x7f;
    if (octets > MAX_LENGTH_OCTETS) throw malformed(this.#subject, 'an element is too long');
    let length = 0;
    for (let index = 1; index <= octets; index++) length = length * 0x100 + this.#octet(offset + index, end);
    return { from: offset + 1 + octets, length };
  }

  #octet(offset: number, end: number): number {
    const octet = offset < end ? this.#bytes[offset] : undefined;
    if (octet === undefined) throw malformed(this.#subject, 'an element is truncated');
    return octet;
  }
}

/** Pieces of a string become the string. */
function constructed(tag: number, children: readonly DerNode[]): DerNode {
  const isString = tag === CONSTRUCTED_OCTET_STRING && children.every((child) => child.tag === DER_TAG.OCTET_STRING);
  return isString ? { tag: DER_TAG.OCTET_STRING, content: joined(children) } : { tag, content: children };
}

function joined(pieces: readonly DerNode[]): Uint8Array {
  return Buffer.concat(pieces.flatMap(({ content }) => (content instanceof Uint8Array ? [content] : [])));
}
