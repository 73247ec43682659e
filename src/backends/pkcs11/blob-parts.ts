/** Several byte strings in one blob, each behind its length (2 bytes). Secrets among them: callers zero what they get. */
import { SignetError } from '../../errors.ts';

const LENGTH_BYTES = 2;
const MAX_PART_BYTES = 0xffff;

/** @returns Memory of its own. @throws {SignetError} INVALID_ARGUMENT for a part of 64 KiB or more */
export function joinParts(parts: readonly Uint8Array[]): Buffer {
  if (parts.some((part) => part.byteLength > MAX_PART_BYTES)) {
    throw new SignetError('INVALID_ARGUMENT', `more than ${MAX_PART_BYTES} bytes for a token`);
  }
  const joined = Buffer.alloc(parts.reduce((sum, part) => sum + LENGTH_BYTES + part.byteLength, 0));
  let offset = 0;
  for (const part of parts) {
    joined.writeUInt16BE(part.byteLength, offset);
    joined.set(part, offset + LENGTH_BYTES);
    offset += LENGTH_BYTES + part.byteLength;
  }
  return joined;
}

/** @returns Views of the blob. */
export function splitParts(blob: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let offset = 0; offset < blob.length; ) {
    const end = offset + LENGTH_BYTES + blob.readUInt16BE(offset);
    parts.push(blob.subarray(offset + LENGTH_BYTES, end));
    offset = end;
  }
  return parts;
}
