/**
 * Which token an operation began with. Tokens are swapped while people look for a PIN: what began with one ends with it or
 * fails, and nothing that was meant for one, a PIN or a new key, reaches another that is in its place by then.
 */
import { SignetError } from '../errors.ts';
import type { SignContext } from './backend.ts';
import { derivedContext } from './derived-context.ts';
import type { WhichToken } from './token-facts.ts';

/** A call that is about one token. */
export type BoundContext = SignContext & { readonly token: WhichToken };

/** @throws {SignetError} TOKEN_NOT_PRESENT if the call is about another token already */
export function boundTo({ label, serial }: WhichToken, context: SignContext): BoundContext {
  const token = { label, serial };
  requireSameToken(context.token, token);
  return derivedContext(context, { token }) as BoundContext;
}

/** As far as tokens tell: some modules give all of theirs the same serial number. */
export function isSameToken(one: WhichToken, other: WhichToken | undefined): boolean {
  return one.serial === other?.serial && one.label === other.label;
}

/** @param began Undefined: any will do. @throws {SignetError} TOKEN_NOT_PRESENT */
export function requireSameToken(began: WhichToken | undefined, present: WhichToken | undefined): void {
  if (began !== undefined && !isSameToken(began, present)) throw anotherToken(began, present);
}

/** For a caller whose token was replaced by another one. */
export function anotherToken(began: WhichToken, present: WhichToken | undefined): SignetError {
  const now = present === undefined ? 'none' : nameOf(present);
  return new SignetError('TOKEN_NOT_PRESENT', `the operation began with ${nameOf(began)}, and now ${now} is there`, {
    hint: 'nothing was done to that one: put the first one back, or begin again',
  });
}

function nameOf({ label, serial }: WhichToken): string {
  return `token "${label}" (serial number ${serial})`;
}
