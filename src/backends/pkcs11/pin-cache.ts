import type { Secret } from '../../crypto/secret.ts';

/** A PIN that a person gave, for as long as was configured. */
export class PinCache {
  readonly #ttlMs: number;
  #pin: Secret | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param ttlMs 0: nothing is ever kept. */
  constructor(ttlMs: number) {
    this.#ttlMs = ttlMs;
  }

  get isEmpty(): boolean {
    return this.#pin === undefined;
  }

  /** Keeps a copy; the time begins anew. */
  put(pin: Secret): void {
    this.clear();
    if (this.#ttlMs === 0) return;
    this.#pin = pin.clone();
    this.#timer = setTimeout(() => this.clear(), this.#ttlMs).unref();
  }

  /** @returns A copy that the caller disposes of. */
  get(): Secret | undefined {
    return this.#pin?.clone();
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#pin?.dispose();
    this.#pin = undefined;
  }
}
