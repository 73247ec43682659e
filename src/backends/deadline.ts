/** Waiting with a bound. */
import type { SignetError } from '../errors.ts';

/**
 * @param onTimeout Makes the error, and ends what was waited for if it can. What the promise does later is ignored.
 * @throws {SignetError} what `onTimeout` made
 */
export function within<Result>(
  promise: Promise<Result>,
  timeoutMs: number,
  onTimeout: () => SignetError,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(onTimeout()), timeoutMs);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
