/** Checks on what comes from a process that runs a vendor's library. Each throws INTERNAL for anything else. */
import { SignetError } from '../../errors.ts';

const MAX_TEXT = 64 * 1024;

/** The error for what is not in the protocol. */
export function violation(problem: string): SignetError {
  return new SignetError('INTERNAL', `token host protocol: ${problem}`);
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function record(value: unknown): Readonly<Record<string, unknown>> {
  if (isRecord(value)) return value;
  throw violation('an answer that is no object');
}

export function list(value: unknown, max: number): readonly unknown[] {
  if (Array.isArray(value) && value.length <= max) return value;
  throw violation(`an answer that is no list of at most ${max}`);
}

export function text(value: unknown): string {
  if (typeof value === 'string' && value.length <= MAX_TEXT) return value;
  throw violation('an answer without a text');
}

export function count(value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw violation('an answer without a number');
}
