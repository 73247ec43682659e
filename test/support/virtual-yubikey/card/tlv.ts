/** BER-TLV as PIV uses it (NIST SP 800-73-4 Part 2; ISO/IEC 7816-4 §5.2.2): tags of one to three octets, definite lengths. */
import { refuse } from './status-word.ts';

/** One data object; `value` is a view of what was parsed. */
export interface Tlv {
  readonly tag: number;
  readonly value: Buffer;
}

/**
 * Parses data objects that follow one another.
 *
 * @param bytes Nothing is copied.
 * @throws {CommandRefused} 6A80 if they are not well-formed or do not fill `bytes` exactly.
 */
export function parseTlvs(bytes: Buffer): readonly Tlv[] {
  const objects: Tlv[] = [];
  for (let offset = 0; offset < bytes.length; ) {
    const tag = readTag(bytes, offset);
    const length = readLength(bytes, tag.end);
    const end = length.end + length.length;
    if (end > bytes.length) refuse('WRONG_DATA');
    objects.push({ tag: tag.tag, value: bytes.subarray(length.end, end) });
    offset = end;
  }
  return objects;
}

/** The value of the first object with `tag`, if there is one. */
export function findTlv(objects: readonly Tlv[], tag: number): Buffer | undefined {
  return objects.find((object) => object.tag === tag)?.value;
}

/** The value of the object with `tag`. @throws {CommandRefused} 6A80 if there is none. */
export function requireTlv(objects: readonly Tlv[], tag: number): Buffer {
  return findTlv(objects, tag) ?? refuse('WRONG_DATA');
}

/** Encodes one data object around its parts. */
export function tlv(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const value = Buffer.concat(parts);
  return Buffer.concat([bigEndian(tag), encodeLength(value.length), value]);
}

/** ISO/IEC 7816-4 §5.2.2.1: low five bits all set announce more octets, of which all but the last have bit 8. */
function readTag(bytes: Buffer, start: number): { readonly tag: number; readonly end: number } {
  let tag = octet(bytes, start);
  let end = start + 1;
  if ((tag & 0x1f) !== 0x1f) return { tag, end };
  for (let isLast = false; !isLast; end++) {
    if (end - start === 3) refuse('WRONG_DATA');
    const next = octet(bytes, end);
    tag = tag * 0x100 + next;
    isLast = next < 0x80;
  }
  return { tag, end };
}

function readLength(bytes: Buffer, start: number): { readonly length: number; readonly end: number } {
  const first = octet(bytes, start);
  if (first < 0x80) return { length: first, end: start + 1 };
  const octets = first & 0x7f;
  if (octets === 0 || octets > 2) refuse('WRONG_DATA');
  const end = start + 1 + octets;
  if (end > bytes.length) refuse('WRONG_DATA');
  return { length: bytes.readUIntBE(start + 1, octets), end };
}

function encodeLength(length: number): Buffer {
  if (length < 0x80) return Buffer.of(length);
  const octets = bigEndian(length);
  return Buffer.concat([Buffer.of(0x80 | octets.length), octets]);
}

function bigEndian(value: number): Buffer {
  const length = value < 0x100 ? 1 : value < 0x1_0000 ? 2 : 3;
  const octets = Buffer.alloc(length);
  octets.writeUIntBE(value, 0, length);
  return octets;
}

function octet(bytes: Buffer, offset: number): number {
  return bytes[offset] ?? refuse('WRONG_DATA');
}
