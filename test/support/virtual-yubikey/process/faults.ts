/** Delays and status words that tests order for the next commands. */
import { setTimeout as delay } from 'node:timers/promises';
import { isChained } from '../card/apdu.ts';
import { type InstructionName, instructionName } from '../card/tables.ts';

/** An instruction, or all of them. */
export type Target = InstructionName | 'ANY';

interface OrderedAnswer {
  readonly statusWord: number;
  timesLeft: number;
}

export class Faults {
  readonly #delays = new Map<Target, number>();
  readonly #answers = new Map<Target, OrderedAnswer>();

  /** From now on every answer to `target` takes `delayMs` longer; 0 ends that. */
  setDelay(target: Target, delayMs: number): void {
    this.#delays.set(target, delayMs);
  }

  /** The next `times` commands of `target` are not executed, but answered with `statusWord`. */
  order(target: Target, statusWord: number, times: number): void {
    this.#answers.set(target, { statusWord, timesLeft: times });
  }

  /** Forgets all orders. */
  clear(): void {
    this.#delays.clear();
    this.#answers.clear();
  }

  /**
   * Waits as ordered.
   *
   * @param powerLost Ends the waiting.
   * @returns The answer that was ordered instead of the card's, if any. Parts of a chain but the last are let through.
   * @throws {Error} AbortError
   */
  async before(apdu: Buffer, powerLost: AbortSignal): Promise<Buffer | undefined> {
    if (isChained(apdu)) return undefined;
    const name = instructionName(apdu[1] ?? 0);
    const delayMs = (this.#delays.get('ANY') ?? 0) + (name === undefined ? 0 : (this.#delays.get(name) ?? 0));
    if (delayMs > 0) await delay(delayMs, undefined, { signal: powerLost });
    const answer = this.#take(name) ?? this.#take('ANY');
    return answer === undefined ? undefined : Buffer.of(answer >> 8, answer & 0xff);
  }

  #take(target: Target | undefined): number | undefined {
    const answer = target === undefined ? undefined : this.#answers.get(target);
    if (answer === undefined || answer.timesLeft <= 0) return undefined;
    answer.timesLeft--;
    return answer.statusWord;
  }
}
