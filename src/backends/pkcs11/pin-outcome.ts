/** What came of a PIN: a try of it, or the lack of one. */
import type { Secret } from '../../crypto/secret.ts';
import { type ErrorCode, SignetError } from '../../errors.ts';
import type { PinTry } from './pin-memory.ts';

/** A PIN for one operation. The caller disposes of `pin` and tells the outcome. */
export interface OperationPin {
  readonly pin: Secret;
  readonly outcome: PinTry;
}

/** There is no PIN to try, which is no failure of anything. */
export class NoPin extends SignetError {}

/** Of a PIN that nothing is to be remembered of. */
export const NO_OUTCOME: PinTry = {
  accepted: async () => undefined,
  refused: async () => undefined,
  notTried: async () => undefined,
  unanswered: async () => undefined,
};

/** What a request that changes things is answered only if it was not begun. */
const NOT_BEGUN: readonly ErrorCode[] = ['PIN_LOCKED', 'OVERLOADED', 'CANCELLED', 'DEADLINE_EXCEEDED'];
/** What is answered if the PIN was found right, or was not looked at because there was no login. */
const NOT_REFUSED: readonly ErrorCode[] = ['TOUCH_TIMEOUT', 'PIN_REQUIRED'];

/** Tells a try's outcome from the error that it ended with. */
export async function settle(outcome: PinTry, error: unknown): Promise<void> {
  const code = error instanceof SignetError ? error.code : 'INTERNAL';
  if (code === 'PIN_INCORRECT') await outcome.refused();
  else if (NOT_BEGUN.includes(code) || NOT_REFUSED.includes(code)) await outcome.notTried();
  else await outcome.unanswered();
}

/** Whether a person's PIN would help. */
export function canBeAsked(error: unknown): boolean {
  return error instanceof SignetError && (error.code === 'PIN_REQUIRED' || error.code === 'PIN_INCORRECT');
}

/** Whether the PIN that is configured is of no use, or cannot be had. */
export function isAboutPin(error: SignetError): boolean {
  return ['PIN_REQUIRED', 'PIN_INCORRECT', 'PIN_LOCKED', 'CONFIGURATION', 'INTEGRITY'].includes(error.code);
}
