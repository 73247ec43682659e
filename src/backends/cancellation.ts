import { SignetError } from '../errors.ts';
import type { SignContext } from './backend.ts';

/** A look at whether the caller has gone, without making a signal. @throws {SignetError} CANCELLED */
export function throwIfCancelled(context: SignContext): void {
  if (context.cancelled ?? context.signal?.aborted) throw cancelled();
}

/** The error that a caller is told who has gone. */
export function cancelled(): SignetError {
  return new SignetError('CANCELLED', 'the call was cancelled');
}

/** @throws {SignetError} CANCELLED as soon as the signal says so; the promise goes on unheard */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  if (signal.aborted) throw cancelled();
  let abort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(cancelled());
    signal.addEventListener('abort', abort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (abort !== undefined) signal.removeEventListener('abort', abort);
  }
}
