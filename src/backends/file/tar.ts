/** A plain tar file (POSIX.1-2017 ustar, with pax headers for long names) of regular files. No links, owners or times. */
import { ByteReader } from '../../crypto/byte-reader.ts';
import { SignetError } from '../../errors.ts';

const BLOCK = 512;
/** Field lengths and offsets of a ustar header. */
const NAME = { at: 0, bytes: 100 };
const SIZE = { at: 124, bytes: 12 };
const CHECKSUM = { at: 148, bytes: 8 };
const TYPE = 156;
const MAGIC = { at: 257, text: 'ustar\x0000' };
const REGULAR = '0';
const PAX = 'x';
const MAX_PAX_BYTES = 4096;

export interface TarEntry {
  readonly name: string;
  readonly content: Buffer;
}

/** Two empty blocks: without them the file was cut short. */
export const TAR_END: Buffer = Buffer.alloc(2 * BLOCK);

/** @returns The entry as it stands in the file: headers, content, padding. */
export function tarEntry(name: string, content: Uint8Array): Buffer {
  const parts: Uint8Array[] = [];
  const bytes = Buffer.from(name);
  if (bytes.length > NAME.bytes || bytes.length !== name.length) {
    const record = Buffer.from(paxRecord('path', name));
    parts.push(header('pax-header', record.length, PAX), record, padding(record.length));
  }
  parts.push(header(bytes.subarray(0, NAME.bytes).toString('latin1'), content.byteLength, REGULAR));
  return Buffer.concat([...parts, content, padding(content.byteLength)]);
}

/**
 * Reads what `tarEntry` wrote.
 *
 * @param limitOf How large the content of a name may be, in bytes.
 * @throws {SignetError} INTEGRITY for anything else: other types, wrong checksums, no end
 */
export async function* readTar(
  source: AsyncIterable<Uint8Array>,
  limitOf: (name: string) => number,
): AsyncIterable<TarEntry> {
  const input = new ByteReader(source);
  let longName: string | undefined;
  for (;;) {
    const block = await input.take(BLOCK);
    if (block.length === BLOCK && block.every((byte) => byte === 0)) break;
    const { name: shortName, size, type } = parseHeader(block);
    const name = longName ?? shortName;
    longName = undefined;
    if (size > (type === PAX ? MAX_PAX_BYTES : limitOf(name))) throw malformed();
    const content = await input.take(size);
    const filler = await input.take(padding(size).length);
    if (content.length < size || filler.length < padding(size).length) throw malformed();
    if (type === PAX) longName = parsePax(content);
    else yield { name, content: Buffer.from(content) };
  }
  if (longName !== undefined) throw malformed();
  // To its end: only then is it known that nothing was cut off. Programs pad with more empty blocks.
  for await (const piece of input.rest()) if (piece.some((byte) => byte !== 0)) throw malformed();
}

function header(name: string, size: number, type: string): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(name, NAME.at, NAME.bytes, 'latin1');
  block.write('0000600\x000000000\x000000000\x00', 100, 'latin1'); // mode, uid, gid
  block.write(octal(size, SIZE.bytes), SIZE.at, 'latin1');
  block.write(octal(0, 12), 136, 'latin1'); // mtime
  block.write(' '.repeat(CHECKSUM.bytes), CHECKSUM.at, 'latin1');
  block.write(type, TYPE, 'latin1');
  block.write(MAGIC.text, MAGIC.at, 'latin1');
  block.write(`${checksum(block).toString(8).padStart(6, '0')}\x00 `, CHECKSUM.at, 'latin1');
  return block;
}

function parseHeader(block: Buffer): { readonly name: string; readonly size: number; readonly type: string } {
  if (block.length < BLOCK) throw malformed();
  const field = ({ at, bytes }: { readonly at: number; readonly bytes: number }) => {
    const text = block.toString('latin1', at, at + bytes);
    const end = text.indexOf('\x00');
    return end === -1 ? text : text.slice(0, end);
  };
  const type = String.fromCharCode(block[TYPE] ?? 0);
  const size = /^[0-7]{11}$/.test(field(SIZE)) ? Number.parseInt(field(SIZE), 8) : Number.NaN;
  const stored = Number.parseInt(field(CHECKSUM), 8);
  const blank = Buffer.from(block).fill(' ', CHECKSUM.at, CHECKSUM.at + CHECKSUM.bytes);
  const isUstar = block.toString('latin1', MAGIC.at, MAGIC.at + MAGIC.text.length) === MAGIC.text;
  const isKnown = type === REGULAR || type === PAX;
  if (!isUstar || !isKnown || Number.isNaN(size) || stored !== checksum(blank)) throw malformed();
  return { name: field(NAME), size, type };
}

function checksum(block: Buffer): number {
  return block.reduce((sum, byte) => sum + byte, 0);
}

function octal(value: number, bytes: number): string {
  return `${value.toString(8).padStart(bytes - 1, '0')}\x00`;
}

function padding(size: number): Buffer {
  return Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
}

/** Its length counts itself: POSIX.1-2017 pax, "pax Extended Header". */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  const bytes = Buffer.byteLength(rest);
  let length = bytes + String(bytes).length;
  if (bytes + String(length).length !== length) length = bytes + String(length).length;
  return `${length}${rest}`;
}

function parsePax(content: Buffer): string {
  const text = content.toString();
  const path = /^\d{1,5} path=([^\n]+)\n$/.exec(text)?.[1];
  if (path === undefined || paxRecord('path', path) !== text) throw malformed();
  return path;
}

function malformed(): SignetError {
  return new SignetError('INTEGRITY', 'the archive holds something else than a backup of keys');
}
