/**
 * The PIN that `pin-source` names, and the memory of what the token thought of it: three wrong tries block a card, so that
 * a content which was refused is never tried again, by nobody and for no reason.
 */
import { createHmac, randomBytes } from 'node:crypto';
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import { readPrivateSecret } from '../secret-file.ts';

export class PinFile {
  readonly path: string;
  /** So that what is remembered of a PIN is worth nothing outside this process. */
  readonly #key = randomBytes(32);
  /** A content that must not be tried: the token refused it, or the host died before it told. */
  #blocked: { readonly print: string; readonly why: 'refused' | 'unanswered' } | undefined;
  /** A content that the token took before: only that may be tried again after a try without an answer. */
  #accepted: string | undefined;

  constructor(path: string) {
    this.path = path;
  }

  /**
   * Reads the PIN for one try. `outcome` must be called after it.
   *
   * @throws {SignetError} CONFIGURATION if the file cannot be read or is open to others; PIN_INCORRECT, PIN_REQUIRED if its
   *   content was refused before, or tried without an answer
   */
  async read(): Promise<{ readonly pin: Secret; outcome(result: 'accepted' | 'refused' | 'not tried'): void }> {
    const pin = await readPrivateSecret(this.path, 'pin-source');
    const print = createHmac('sha256', this.#key).update(pin.bytes()).digest('hex');
    if (this.#blocked?.print === print) {
      pin.dispose();
      throw notAgain(this.path, this.#blocked.why);
    }
    if (this.#accepted !== print) this.#blocked = { print, why: 'unanswered' }; // until the outcome is known
    return {
      pin,
      outcome: (result) => {
        this.#blocked = result === 'refused' ? { print, why: result } : undefined;
        if (result === 'accepted') this.#accepted = print;
        if (result === 'refused') this.#accepted = undefined;
      },
    };
  }
}

function notAgain(path: string, why: 'refused' | 'unanswered'): SignetError {
  return why === 'refused'
    ? new SignetError('PIN_INCORRECT', `the PIN in ${path} was refused and is not tried again`, {
        hint: `correct the PIN in ${path}`,
      })
    : new SignetError('PIN_REQUIRED', `the PIN in ${path} was tried without an answer and is not tried again`, {
        hint: 'see how many tries the token has left, then unlock one of its keys by hand or restart signetd',
      });
}
