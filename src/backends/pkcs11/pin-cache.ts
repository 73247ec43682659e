import type { Secret } from '../../crypto/secret.ts';
import { isSameToken } from '../same-token.ts';
import type { WhichToken } from '../token-facts.ts';

/** The PIN that a person gave for a token, for as long as was configured. */
export class PinCache {
  readonly #ttlMs: number;
  #kept: { readonly token: WhichToken; readonly pin: Secret } | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param ttlMs 0: nothing is ever kept. */
  constructor(ttlMs: number) {
    this.#ttlMs = ttlMs;
  }

  has(token: WhichToken): boolean {
    return this.#kept !== undefined && isSameToken(this.#kept.token, token);
  }

  /** Keeps a copy; the time begins anew. */
  put(token: WhichToken, pin: Secret): void {
    this.clear();
    if (this.#ttlMs === 0) return;
    this.#kept = { token, pin: pin.clone() };
    this.#timer = setTimeout(() => this.clear(), this.#ttlMs).unref();
  }

  /** @returns A copy that the caller disposes of. */
  get(token: WhichToken): Secret | undefined {
    return this.has(token) ? this.#kept?.pin.clone() : undefined;
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#kept?.pin.dispose();
    this.#kept = undefined;
  }
}
