/**
 * A rough guess at how long a passphrase withstands guessing, for a hint while it is chosen. It refuses nothing.
 *
 * The rule: what repeats, continues an alphabet or a row of keys adds little; everything else adds the bits of its
 * kind of character. Libraries that know word lists weigh a megabyte and judge better; a hint does not need them.
 */

/** Bytes a new passphrase has at least, without outer white space, as Notary counts. */
export const MIN_PASSPHRASE_BYTES = 8;

export type Strength = 'weak' | 'fair' | 'good';

/** Beyond reach of one machine, and of many, at the iterations that Signet seals with. */
const FAIR_BITS = 45;
const GOOD_BITS = 65;

/** Bits of one character, by kind: the logarithm of how many there are of it. */
const KINDS = [
  { from: 0x30, to: 0x39, bits: 3.3 },
  { from: 0x61, to: 0x7a, bits: 4.7 },
  { from: 0x41, to: 0x5a, bits: 4.7 },
] as const;
const OTHER_BITS = 5;
const ROWS = ['qwertyuiop', 'asdfghjkl', 'zxcvbnm', 'password', 'passphrase'].map((row) => Buffer.from(row));

export function strengthOf(bytes: Uint8Array): Strength {
  let bits = 0;
  const seen = new Set<number>();
  for (const [index, byte] of bytes.entries()) {
    const previous = bytes[index - 1];
    const isExpected = previous !== undefined && (Math.abs(byte - previous) <= 1 || isNeighbour(previous, byte));
    const own = KINDS.find(({ from, to }) => byte >= from && byte <= to)?.bits ?? OTHER_BITS;
    if (isExpected) bits += 0.5;
    else bits += seen.has(byte) ? own / 2 : own;
    seen.add(byte);
  }
  if (bits < FAIR_BITS) return 'weak';
  return bits < GOOD_BITS ? 'fair' : 'good';
}

/** One follows the other in a row of keys or in the commonest of words, in any case. */
function isNeighbour(previous: number, byte: number): boolean {
  const pair = Uint8Array.of(previous | 0x20, byte | 0x20);
  return ROWS.some((row) => row.indexOf(pair) >= 0);
}

/** Length without outer white space. No string is made of it, because that could not be zeroed. */
export function trimmedLength(bytes: Uint8Array): number {
  const isBlank = (byte: number | undefined) => byte === 0x20 || (byte !== undefined && byte >= 0x09 && byte <= 0x0d);
  let start = 0;
  let end = bytes.byteLength;
  while (start < end && isBlank(bytes[start])) start++;
  while (end > start && isBlank(bytes[end - 1])) end--;
  return end - start;
}
