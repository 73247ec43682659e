/**
 * `last_used`, written as seldom as the contract allows: the first use before the answer (until then CreateKey may give
 * the key to somebody else), later ones gathered and written in batches.
 */
import type { KeyId } from '../../crypto/key-id.ts';
import { SingleFlight } from '../single-flight.ts';

export interface LastUsedOptions {
  /** @returns How many of them are still there. */
  readonly write: (keyIds: readonly KeyId[]) => Promise<number>;
  readonly intervalMs: number;
  readonly onError: (error: unknown) => void;
}

export class LastUsed implements AsyncDisposable {
  readonly #options: LastUsedOptions;
  readonly #pending = new Set<KeyId>();
  readonly #firstUses = new SingleFlight<KeyId, boolean>();
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: LastUsedOptions) {
    this.#options = options;
  }

  /**
   * @returns False if the key is gone: then the signature must not be given out.
   * @throws {SignetError} UNAVAILABLE: neither then
   */
  first(keyId: KeyId): Promise<boolean> {
    return this.#firstUses.run(keyId, async () => (await this.#options.write([keyId])) > 0);
  }

  again(keyId: KeyId): void {
    this.#pending.add(keyId);
    this.#timer ??= setTimeout(() => void this.flush(), this.#options.intervalMs);
  }

  /** Writes what is gathered. A failure keeps it for the next time. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing.then(() => this.#write());
    return this.#writing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.flush();
    clearTimeout(this.#timer);
  }

  async #write(): Promise<void> {
    const keyIds = [...this.#pending];
    if (keyIds.length === 0) return;
    this.#pending.clear();
    try {
      await this.#options.write(keyIds);
    } catch (error) {
      for (const keyId of keyIds) this.again(keyId);
      this.#options.onError(error);
    }
  }
}
