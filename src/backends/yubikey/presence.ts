/**
 * Whether the YubiKey is there. The module's list of slots is what counts (1 ms, nothing is sent to the card); it is looked
 * at each second, and at once when the USB bus says that something changed.
 */
import { SignetError } from '../../errors.ts';

export interface PresenceOptions {
  /** Looks. @throws {SignetError} TOKEN_NOT_PRESENT, and whatever keeps it from looking */
  readonly look: () => Promise<void>;
  /** As far as is known. */
  readonly isThere: boolean;
  /** How often it is looked for, milliseconds; each second by default. */
  readonly lookEveryMs?: number | undefined;
  /** For the log. */
  readonly onChange: (isThere: boolean) => void;
}

const POLL_MS = 1000;
/** USB is sooner than pcscd, which is asked again so often. */
const HINT_LOOKS = 20;
const HINT_INTERVAL_MS = 100;

export class Presence implements Disposable {
  readonly #options: PresenceOptions;
  #timer: NodeJS.Timeout | undefined;
  #isThere: boolean;
  #isLooking = false;
  /** Looks that are still to come at short intervals. */
  #hurried = 0;
  #isDisposed = false;

  constructor(options: PresenceOptions) {
    this.#options = options;
    this.#isThere = options.isThere;
    this.#schedule();
  }

  /** The USB bus changed: looks now, and again until the YubiKey came or went, for two seconds. */
  hint(): void {
    this.#hurried = HINT_LOOKS;
    if (!this.#isLooking) void this.#turn();
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    if (this.#isDisposed) return;
    const { lookEveryMs = POLL_MS } = this.#options;
    this.#timer = setTimeout(() => void this.#turn(), this.#hurried > 0 ? HINT_INTERVAL_MS : lookEveryMs).unref();
    this.#hurried = Math.max(this.#hurried - 1, 0);
  }

  async #turn(): Promise<void> {
    clearTimeout(this.#timer);
    this.#isLooking = true;
    await this.#look();
    this.#isLooking = false;
    this.#schedule();
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
    this.#hurried = 0;
    this.#options.onChange(isThere);
  }
}
