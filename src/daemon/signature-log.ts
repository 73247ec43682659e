/** The record of a signature as a line of the log. */
import type { SignRecord } from '../signing/sign-service.ts';
import { describeError, type Logger } from './log.ts';

export function logSignature(record: SignRecord, log: Logger): void {
  const level = levelOf(record.outcome);
  // The level is asked first: the digest below is paid for only if somebody reads it.
  if (!log.isLevelEnabled(level)) return;
  const { caller, keyId, located, algorithm, outcome, durationMs, queueMs, contentBytes } = record;
  const fields = {
    caller,
    keyId,
    role: located?.info.role ?? null,
    gun: located?.info.gun ?? null,
    algorithm: algorithm ?? null,
    backend: located?.backend.name ?? null,
    durationMs: round(durationMs),
    queueMs: round(queueMs),
    outcome,
    contentBytes,
    contentSha256: record.contentDigest(),
  };
  if (outcome === 'ok') log[level](fields, 'signed');
  else log[level]({ ...fields, ...describeError(record.error, log) }, 'signing failed');
}

/** What a client did wrong, or gave up, is no fault of the daemon. */
function levelOf(outcome: SignRecord['outcome']): 'debug' | 'info' | 'warn' | 'error' {
  switch (outcome) {
    case 'ok':
    case 'CANCELLED':
      return 'info';
    case 'KEY_NOT_FOUND':
      return 'warn';
    case 'INVALID_ARGUMENT':
      return 'debug'; // `calls.ts` tells it, with the rest of what it refuses
    default:
      return 'error';
  }
}

/** Microseconds are enough for a log. */
function round(milliseconds: number): number {
  return Math.round(milliseconds * 1000) / 1000;
}
