/** Elements of a tag, a length of one byte and a value each, as in small data of PIV and Yubico. */

/** @returns The value of the first element with this tag; undefined if there is none before the bytes end or go wrong. */
export function findValue(bytes: Buffer | undefined, tag: number): Buffer | undefined {
  for (let offset = 0; bytes !== undefined && offset + 2 <= bytes.length; ) {
    const end = offset + 2 + bytes.readUInt8(offset + 1);
    if (end > bytes.length) return undefined;
    if (bytes.readUInt8(offset) === tag) return bytes.subarray(offset + 2, end);
    offset = end;
  }
  return undefined;
}
