/**
 * Whether the YubiKey is there. The module's list of slots is what counts (1 ms, nothing is sent to the card); it is looked
 * at each second, and at once when the USB bus says that something changed.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { SignetError } from '../../errors.ts';

export interface PresenceOptions {
  /** Looks. @throws {SignetError} TOKEN_NOT_PRESENT, and whatever keeps it from looking */
  readonly look: () => Promise<void>;
  /** As far as is known. */
  readonly isThere: boolean;
  /** For the log. */
  readonly onChange: (isThere: boolean) => void;
}

const POLL_MS = 1000;
/** USB is sooner than pcscd, which is asked again so often. */
const HINT_LOOKS = 20;
const HINT_INTERVAL_MS = 100;

export class Presence implements Disposable {
  readonly #options: PresenceOptions;
  readonly #timer: NodeJS.Timeout;
  #isThere: boolean;
  #hint = 0;
  #isDisposed = false;

  constructor(options: PresenceOptions) {
    this.#options = options;
    this.#isThere = options.isThere;
    this.#timer = setInterval(() => void this.#look(), POLL_MS).unref();
  }

  /** The USB bus changed: looks until the YubiKey came or went, for a few seconds. */
  async hint(): Promise<void> {
    const hint = ++this.#hint;
    const before = this.#isThere;
    for (let look = 0; look < HINT_LOOKS && hint === this.#hint && !this.#isDisposed; look++) {
      await this.#look();
      if (this.#isThere !== before) return;
      await delay(HINT_INTERVAL_MS, undefined, { ref: false });
    }
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    try {
      await this.#options.look();
      this.#note(true);
    } catch (error) {
      // Anything else says nothing about that, and is told by health().
      if (error instanceof SignetError && error.code === 'TOKEN_NOT_PRESENT') this.#note(false);
    }
  }

  #note(isThere: boolean): void {
    if (this.#isDisposed || this.#isThere === isThere) return;
    this.#isThere = isThere;
    this.#options.onChange(isThere);
  }
}
