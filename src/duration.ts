/** Durations as Go writes them (`time.ParseDuration`), because operators of notary-signer write them so. */

/** 576 h. Not much more fits setTimeout's 2^31 - 1 ms, beyond which it fires at once. */
export const MAX_TIMER_MS = 24 * 24 * 3_600_000;

const NANOSECONDS_OF: ReadonlyMap<string, bigint> = new Map([
  ['ns', 1n],
  ['us', 1_000n],
  ['\u00b5s', 1_000n], // micro sign
  ['\u03bcs', 1_000n], // Greek mu
  ['ms', 1_000_000n],
  ['s', 1_000_000_000n],
  ['m', 60_000_000_000n],
  ['h', 3_600_000_000_000n],
]);

const NANOSECONDS_PER_MS = 1_000_000n;
const MAX_LENGTH = 64;
const TERM = /(\d+(?:\.\d*)?|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)/y;

/**
 * Reads `1h30m`, `500ms`, `1.5s` or `0`.
 *
 * @returns Whole milliseconds, rounded up, so that no positive duration becomes 0 (which means "never" or "not at all"
 *   where it is allowed); undefined if `text` is not an unsigned Go duration.
 */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0;
  if (text.length === 0 || text.length > MAX_LENGTH) return undefined;
  let nanoseconds = 0n;
  TERM.lastIndex = 0;
  while (TERM.lastIndex < text.length) {
    const [, amount, unit] = TERM.exec(text) ?? [];
    if (amount === undefined || unit === undefined) return undefined;
    nanoseconds += inNanoseconds(amount, NANOSECONDS_OF.get(unit) ?? 0n);
  }
  return Number((nanoseconds + NANOSECONDS_PER_MS - 1n) / NANOSECONDS_PER_MS);
}

/** Exact: binary fractions would turn `1.001s` into something else. Below one nanosecond is cut off, as in Go. */
function inNanoseconds(amount: string, unit: bigint): bigint {
  const [whole = '', fraction = ''] = amount.split('.');
  return BigInt(whole) * unit + (BigInt(fraction) * unit) / 10n ** BigInt(fraction.length);
}

/** `ms` in its largest whole unit, as `parseDuration` reads it: 90 000 → `90s`. */
export function formatDuration(ms: number): string {
  if (ms === 0) return '0s';
  if (ms % 3_600_000 === 0) return `${ms / 3_600_000}h`;
  if (ms % 60_000 === 0) return `${ms / 60_000}m`;
  if (ms % 1_000 === 0) return `${ms / 1_000}s`;
  return `${ms}ms`;
}
