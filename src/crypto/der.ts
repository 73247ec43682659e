/**
 * Strict DER (X.690 §10), as far as keys and certificates need it: a reader over views and a writer into one fresh buffer.
 *
 * Nothing here turns content into strings or copies it needlessly, so that whoever owns a buffer with key bytes can
 * zero all of it.
 */
import { type ErrorCode, SignetError } from '../errors.ts';

/** Identifier octets (X.690 §8.1.2) in use; multi-octet tags do not occur in key formats and are refused. */
export const DER_TAG = {
  BOOLEAN: 0x01,
  INTEGER: 0x02,
  BIT_STRING: 0x03,
  OCTET_STRING: 0x04,
  NULL: 0x05,
  OBJECT_IDENTIFIER: 0x06,
  UTF8_STRING: 0x0c,
  PRINTABLE_STRING: 0x13,
  T61_STRING: 0x14,
  IA5_STRING: 0x16,
  UTC_TIME: 0x17,
  GENERALIZED_TIME: 0x18,
  BMP_STRING: 0x1e,
  SEQUENCE: 0x30,
  SET: 0x31,
} as const;

/** Identifier octet of a context-specific tag `[number]`, number 0 to 30. */
export function contextTag(number: number, form: 'primitive' | 'constructed'): number {
  return (form === 'constructed' ? 0xa0 : 0x80) | number;
}

/** What is being read, for messages, and the code of the errors about it. */
export interface DerSubject {
  readonly what: string;
  readonly code: Extract<ErrorCode, 'INVALID_ARGUMENT' | 'INTEGRITY'>;
  /** The remedy where something in it is well-formed, but not supported. */
  readonly conversion?: string;
}

/** Lengths above this (16 MiB) are not looked at: nothing we read is that long. */
const MAX_LENGTH_OCTETS = 3;
/** Longest object identifier looked at, in octets of content. */
const MAX_OID_BYTES = 64;

/** One element as it was found; both are views of the bytes given to the reader. */
export interface DerElement {
  readonly tag: number;
  readonly content: Uint8Array;
  /** Identifier and length octets included. */
  readonly encoded: Uint8Array;
}

/** Reads the elements of one constructed value in order. Everything returned is a view of the bytes given. */
export class DerReader {
  readonly #bytes: Uint8Array;
  readonly #subject: DerSubject;
  #offset = 0;

  /** @param bytes Neither kept beyond the reader's life nor changed. */
  constructor(bytes: Uint8Array, subject: DerSubject) {
    this.#bytes = bytes;
    this.#subject = subject;
  }

  /** The next element's identifier octet; undefined at the end. */
  peekTag(): number | undefined {
    return this.#bytes[this.#offset];
  }

  /** @returns The content of the next element. @throws {SignetError} the subject's code if it is not a `tag` */
  read(tag: number, name: string): Uint8Array {
    const found = this.peekTag();
    if (found !== undefined && found !== tag) {
      this.fail(`unexpected tag 0x${found.toString(16).padStart(2, '0')} instead of ${name}`);
    }
    return this.readElement(name).content;
  }

  /** The next element whatever its tag. @throws {SignetError} the subject's code if there is none */
  readElement(name: string): DerElement {
    const tag = this.peekTag();
    if (tag === undefined) this.fail(`${name} is missing`);
    const first = this.#offset;
    const { length, lengthOctets } = this.#readLength(first + 1, name);
    const from = first + 1 + lengthOctets;
    if (length > this.#bytes.byteLength - from) this.fail(`${name} is truncated`);
    this.#offset = from + length;
    return {
      tag,
      content: this.#bytes.subarray(from, this.#offset),
      encoded: this.#bytes.subarray(first, this.#offset),
    };
  }

  /** As `read`, but undefined if the next element has another tag or there is none. */
  readOptional(tag: number, name: string): Uint8Array | undefined {
    return this.peekTag() === tag ? this.read(tag, name) : undefined;
  }

  readSequence(name: string): DerReader {
    return this.inside(this.read(DER_TAG.SEQUENCE, name));
  }

  /** A reader over the content of an element, with the same subject. */
  inside(content: Uint8Array): DerReader {
    return new DerReader(content, this.#subject);
  }

  /** @returns The big-endian magnitude without leading zeros; zero is one zero octet. Negative numbers are refused. */
  readUnsigned(name: string): Uint8Array {
    const content = this.read(DER_TAG.INTEGER, name);
    const [first, second] = content;
    if (first === undefined) this.fail(`${name} is empty`);
    if (first >= 0x80) this.fail(`${name} is negative`);
    if (first !== 0 || second === undefined) return content;
    if (second < 0x80) this.fail(`${name} is not minimally encoded`);
    return content.subarray(1);
  }

  /** A number of at most four octets. */
  readSmallUnsigned(name: string): number {
    const magnitude = this.readUnsigned(name);
    if (magnitude.byteLength > 4) this.fail(`${name} is too large`);
    return magnitude.reduce((value, octet) => value * 0x100 + octet, 0);
  }

  /** @returns Dotted decimal, as `1.2.840.10045.2.1` (X.690 §8.19). */
  readOid(name: string): string {
    const content = this.read(DER_TAG.OBJECT_IDENTIFIER, name);
    if (content.byteLength > MAX_OID_BYTES) this.fail(`${name} is too long`);
    const subidentifiers: number[] = [];
    let value = 0;
    let isPartial = false;
    for (const octet of content) {
      if (!isPartial && octet === 0x80) this.fail(`${name} is not minimally encoded`);
      value = value * 0x80 + (octet & 0x7f);
      if (value > Number.MAX_SAFE_INTEGER) this.fail(`${name} has a component that is too large`);
      isPartial = octet >= 0x80;
      if (isPartial) continue;
      subidentifiers.push(value);
      value = 0;
    }
    const [first, ...rest] = subidentifiers;
    if (isPartial || first === undefined) this.fail(`${name} is truncated`);
    const root = Math.min(Math.floor(first / 40), 2);
    return [root, first - root * 40, ...rest].join('.');
  }

  /** Content of a BIT STRING of whole octets; `content` is what `read` gave for it. */
  bitStringOctets(content: Uint8Array, name: string): Uint8Array {
    if (content[0] !== 0) this.fail(`${name} is not a string of whole octets`);
    return content.subarray(1);
  }

  /** Refuses anything that follows. */
  end(): void {
    if (this.#offset !== this.#bytes.byteLength) this.fail('trailing bytes');
  }

  fail(problem: string): never {
    throw new SignetError(this.#subject.code, `malformed ${this.#subject.what}: ${problem}`);
  }

  /** The refusal of something that is well-formed. @param feature As in "… is not supported". */
  unsupported(feature: string): SignetError {
    const { what, conversion } = this.#subject;
    const options = conversion === undefined ? {} : { hint: conversion };
    return new SignetError('UNSUPPORTED', `${what}: ${feature} is not supported`, options);
  }

  /** X.690 §10.1: definite form, as few octets as possible. */
  #readLength(offset: number, name: string): { readonly length: number; readonly lengthOctets: number } {
    const first = this.#bytes[offset];
    if (first === undefined) this.fail(`${name} is truncated`);
    if (first < 0x80) return { length: first, lengthOctets: 1 };
    const octets = first & 0x7f;
    if (octets === 0) this.fail(`${name} has an indefinite length`);
    if (octets > MAX_LENGTH_OCTETS) this.fail(`${name} is too long`);
    let length = 0;
    for (let index = 1; index <= octets; index++) {
      const octet = this.#bytes[offset + index];
      if (octet === undefined) this.fail(`${name} is truncated`);
      length = length * 0x100 + octet;
    }
    if (length < 0x80 || length < 0x100 ** (octets - 1)) this.fail(`${name} has a non-minimal length`);
    return { length, lengthOctets: 1 + octets };
  }
}

/** True if the bytes are the encoding of one SEQUENCE and nothing else; its content is not looked at. */
export function isDerSequence(bytes: Uint8Array): boolean {
  const reader = new DerReader(bytes, { what: 'value', code: 'INVALID_ARGUMENT' });
  try {
    reader.readSequence('sequence');
    reader.end();
    return true;
  } catch {
    return false;
  }
}

/** An element to be written; content is either octets or the elements inside. */
export interface DerNode {
  readonly tag: number;
  readonly content: Uint8Array | readonly DerNode[];
}

export function derSequence(...content: readonly DerNode[]): DerNode {
  return { tag: DER_TAG.SEQUENCE, content };
}

export function derOctetString(content: Uint8Array): DerNode {
  return { tag: DER_TAG.OCTET_STRING, content };
}

/** A BIT STRING of whole octets. @param content Public: a copy of it is made that nobody zeroes. */
export function derBitString(content: Uint8Array): DerNode {
  return { tag: DER_TAG.BIT_STRING, content: Buffer.concat([Buffer.of(0), content]) };
}

/** @param value A safe integer, 0 or more. */
export function derUnsigned(value: number): DerNode {
  const octets: number[] = [];
  for (let rest = value; rest > 0 || octets.length === 0; rest = Math.floor(rest / 0x100)) octets.unshift(rest % 0x100);
  if ((octets[0] ?? 0) >= 0x80) octets.unshift(0);
  return { tag: DER_TAG.INTEGER, content: Uint8Array.from(octets) };
}

/** A non-negative INTEGER. @param magnitude Big-endian; leading zeros are dropped. Public: a copy of it is made. */
export function derUnsignedBytes(magnitude: Uint8Array): DerNode {
  const first = magnitude.findIndex((octet) => octet !== 0);
  const minimal = first < 0 ? Buffer.of(0) : magnitude.subarray(first);
  const isNegative = (minimal[0] ?? 0) >= 0x80;
  return { tag: DER_TAG.INTEGER, content: isNegative ? Buffer.concat([Buffer.of(0), minimal]) : minimal };
}

export function derBoolean(value: boolean): DerNode {
  return { tag: DER_TAG.BOOLEAN, content: Uint8Array.of(value ? 0xff : 0) };
}

/** A constructed element `[number]` around others. */
export function derExplicit(number: number, ...content: readonly DerNode[]): DerNode {
  return { tag: contextTag(number, 'constructed'), content };
}

/** An element that is encoded already. @throws {SignetError} INVALID_ARGUMENT if it is not exactly one element */
export function derEncoded(encoded: Uint8Array): DerNode {
  const reader = new DerReader(encoded, { what: 'DER', code: 'INVALID_ARGUMENT' });
  const { tag, content } = reader.readElement('element');
  reader.end();
  return { tag, content };
}

/** @param dotted At least two components. */
export function derOid(dotted: string): DerNode {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const octets = [first * 40 + second, ...rest].flatMap((component) => {
    const groups = [component % 0x80];
    for (let high = Math.floor(component / 0x80); high > 0; high = Math.floor(high / 0x80)) {
      groups.unshift(0x80 | (high % 0x80));
    }
    return groups;
  });
  return { tag: DER_TAG.OBJECT_IDENTIFIER, content: Uint8Array.from(octets) };
}

/** @returns A fresh buffer outside Buffer's shared pool, with the only copy made of the content; the caller may zero it. */
export function encodeDer(node: DerNode): Buffer {
  const out = Buffer.alloc(encodedLength(node));
  write(node, out, 0);
  return out;
}

function contentLength({ content }: DerNode): number {
  return content instanceof Uint8Array
    ? content.byteLength
    : content.reduce((sum, child) => sum + encodedLength(child), 0);
}

function lengthOctets(length: number): readonly number[] {
  if (length < 0x80) return [length];
  const octets: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 0x100)) octets.unshift(rest % 0x100);
  return [0x80 | octets.length, ...octets];
}

function encodedLength(node: DerNode): number {
  const length = contentLength(node);
  return 1 + lengthOctets(length).length + length;
}

/** @returns The offset after the element. */
function write(node: DerNode, out: Buffer, offset: number): number {
  const header = [node.tag, ...lengthOctets(contentLength(node))];
  out.set(header, offset);
  let position = offset + header.length;
  if (node.content instanceof Uint8Array) {
    out.set(node.content, position);
    return position + node.content.byteLength;
  }
  for (const child of node.content) position = write(child, out, position);
  return position;
}
