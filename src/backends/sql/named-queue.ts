/** One job per name at a time, in the order of asking. */
import type { SignetError } from '../../errors.ts';
import { within } from '../deadline.ts';

/**
 * In front of a lock that the database keeps: of one process only one caller per name waits there, so that waiting does
 * not use up the connections that the holder's other work may need.
 */
export class NamedQueue {
  readonly #tails = new Map<string, Promise<void>>();

  /**
   * @param onTimeout Makes the error for a turn that does not come within `timeoutMs`.
   * @throws {SignetError} what `onTimeout` made; what `job` rejects with
   */
  async run<Result>(
    name: string,
    options: { readonly timeoutMs: number; readonly onTimeout: () => SignetError },
    job: () => Promise<Result>,
  ): Promise<Result> {
    const previous = this.#tails.get(name) ?? Promise.resolve();
    let finish = (): void => {};
    const own = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const tail = previous.then(() => own);
    this.#tails.set(name, tail);
    // Not when this turn ends: who gave up waiting must not make the next one forget who is still at work.
    void tail.then(() => this.#tails.get(name) === tail && this.#tails.delete(name));
    try {
      await within(previous, options.timeoutMs, options.onTimeout);
      return await job();
    } finally {
      finish();
    }
  }
}
