/**
 * The PIN that `pin-source` names, and the memory of what the token thought of it: three wrong tries block a card, so that
 * a content which was refused is never tried again, by nobody and for no reason.
 */
import { createHmac, randomBytes } from 'node:crypto';
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import { readPrivateSecret } from '../secret-file.ts';

/** A try whose outcome is unknown, because the host died, may be repeated once. */
const MAX_UNANSWERED = 2;

export class PinFile {
  readonly path: string;
  /** So that what is remembered of a PIN is worth nothing outside this process. */
  readonly #key = randomBytes(32);
  #refused: string | undefined;
  #unanswered: { readonly print: string; tries: number } | undefined;

  constructor(path: string) {
    this.path = path;
  }

  /**
   * Reads the PIN for one try. `outcome` must be called after it.
   *
   * @throws {SignetError} CONFIGURATION if the file cannot be read or is open to others; PIN_INCORRECT if its content was
   *   refused before
   */
  async read(): Promise<{ readonly pin: Secret; outcome(result: 'accepted' | 'refused' | 'not tried'): void }> {
    const pin = await readPrivateSecret(this.path, 'pin-source');
    const print = createHmac('sha256', this.#key).update(pin.bytes()).digest('hex');
    if (this.#refused === print) {
      pin.dispose();
      throw new SignetError('PIN_INCORRECT', `the PIN in ${this.path} was refused and is not tried again`, {
        hint: `correct the PIN in ${this.path}`,
      });
    }
    if (this.#unanswered?.print !== print) this.#unanswered = { print, tries: 0 };
    this.#unanswered.tries++;
    if (this.#unanswered.tries >= MAX_UNANSWERED) this.#refused = print; // until the outcome is known
    return {
      pin,
      outcome: (result) => {
        this.#unanswered = undefined;
        this.#refused = result === 'refused' ? print : undefined;
      },
    };
  }
}
