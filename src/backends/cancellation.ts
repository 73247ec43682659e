import { SignetError } from '../errors.ts';
import type { SignContext } from './backend.ts';

/** A look at whether the caller has gone, without making a signal. @throws {SignetError} CANCELLED */
export function throwIfCancelled(context: SignContext): void {
  if (context.cancelled ?? context.signal?.aborted) throw new SignetError('CANCELLED', 'the call was cancelled');
}
