/** Waiting for something to become true, with a bound. */
import { setTimeout as delay } from 'node:timers/promises';

/**
 * Asks again and again until the answer is there.
 *
 * @param what For the error: `the server's port`.
 * @param probe Undefined and false mean "not yet"; anything it throws ends the wait.
 * @throws {Error} Nothing after `timeoutMs`.
 */
export async function waitFor<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  { timeoutMs = 15_000, intervalMs = 20 }: { readonly timeoutMs?: number; readonly intervalMs?: number } = {},
): Promise<T> {
  const giveUpAt = Date.now() + timeoutMs;
  for (;;) {
    const answer = await probe();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() >= giveUpAt) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
    await delay(intervalMs);
  }
}
