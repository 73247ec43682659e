/** A question that nobody waits for too long: an answer that comes too late is there for who asks next. */
import { LATE, orLate } from '../backends/deadline.ts';
import type { Secret } from '../crypto/secret.ts';

export interface LateAnswerOptions {
  /** How long it is kept if it came too late, milliseconds. */
  readonly keepMs: number;
  /** It is of no more use: the next one who asks needs another. */
  readonly onOver: () => void;
}

export class LateAnswer {
  readonly #answer: Promise<Secret | undefined>;
  readonly #onOver: () => void;
  #waiting = 0;
  /** It is there; runs out unless somebody takes it. */
  #keeping: NodeJS.Timeout | undefined;
  #secret: Secret | undefined;

  /** @param answer Taken over. Must not reject. */
  constructor(answer: Promise<Secret | undefined>, { keepMs, onOver }: LateAnswerOptions) {
    this.#onOver = onOver;
    this.#answer = answer.then((secret) => {
      this.#secret = secret;
      this.#keeping = setTimeout(() => this.discard(), keepMs).unref();
      return secret;
    });
  }

  /** @returns A copy of the secret, which the caller disposes of; undefined if there is none, or none in time */
  async wait(patienceMs: number): Promise<Secret | undefined> {
    this.#waiting++;
    try {
      const answer = await orLate(this.#answer, patienceMs);
      return answer === LATE ? undefined : answer?.clone();
    } finally {
      this.#waiting--;
      if (this.#keeping !== undefined) this.discard();
    }
  }

  /** Nobody is to have it any more, except for those who wait. */
  discard(): void {
    this.#onOver();
    if (this.#waiting > 0) return;
    clearTimeout(this.#keeping);
    this.#secret?.dispose();
  }
}
