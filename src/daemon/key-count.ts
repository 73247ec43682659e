/** How many keys a backend has, for the metrics: asked seldom, because counting the rows of a large table takes seconds. */
import type { KeyBackend } from '../backends/backend.ts';

const MAX_AGE_MS = 60_000;

export class KeyCount {
  readonly #backend: Pick<KeyBackend, 'count'>;
  readonly #now: () => number;
  #counted: { readonly at: number; readonly keys: Promise<number | undefined> } | undefined;

  /** @param now Milliseconds of a clock that nobody sets. */
  constructor(backend: Pick<KeyBackend, 'count'>, now: () => number = () => performance.now()) {
    this.#backend = backend;
    this.#now = now;
  }

  /**
   * @returns At most a minute old. Undefined if the backend could not tell: no number is better than a wrong one, and
   *   `signet_backend_up` tells why. It is not asked more often for that.
   */
  read(): Promise<number | undefined> {
    const now = this.#now();
    if (this.#counted === undefined || now - this.#counted.at >= MAX_AGE_MS) {
      this.#counted = { at: now, keys: this.#backend.count().catch(() => undefined) };
    }
    return this.#counted.keys;
  }
}
