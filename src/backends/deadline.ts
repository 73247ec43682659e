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

/** What `orLate` answers in place of a result that is not there yet. */
export const LATE: unique symbol = Symbol('late');

/** Waits for so long. @returns `LATE` if the promise has not settled by then: it goes on, and may be waited for again. */
export async function orLate<Result>(promise: Promise<Result>, patienceMs: number): Promise<Result | typeof LATE> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<typeof LATE>((resolve) => {
    timer = setTimeout(resolve, patienceMs, LATE);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
