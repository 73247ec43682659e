/** How many tries of its PIN a token has left, as far as it can be known without spending one. */
import { SignetError } from '../../errors.ts';
import { PIN_LOCKED_HINT } from './ckr.ts';
import { CKF_TOKEN } from './constants.ts';
import type { RetryCounters, TokenHooks } from './hooks.ts';
import { ANSWERS, type TokenState } from './host-protocol.ts';
import type { AttachedToken, TokenConnection } from './token-connection.ts';

const NOTHING_TOLD: RetryCounters = { pinTriesLeft: undefined, pukTriesLeft: undefined, warnings: [] };

export class PinTries {
  readonly #connection: TokenConnection;
  readonly #ask: TokenHooks['retryCounters'];

  /** @param ask What the device tells beside its flags. */
  constructor(connection: TokenConnection, ask: TokenHooks['retryCounters']) {
    this.#connection = connection;
    this.#ask = ask;
  }

  /** For people. The token's state must be of now. */
  async counters(attached: AttachedToken): Promise<RetryCounters> {
    const told = (await this.#ask?.(attached)) ?? NOTHING_TOLD;
    const { flags } = attached.state;
    return { ...told, pinTriesLeft: isLocked(flags) ? 0 : (told.pinTriesLeft ?? ofFlags(flags)) };
  }

  /**
   * For a PIN that nobody typed and this process cannot be sure of, right before it is tried.
   *
   * @throws {SignetError} PIN_REQUIRED, PIN_LOCKED
   */
  async keepLast(attached: AttachedToken): Promise<void> {
    this.#keep(await this.#leftNow(attached));
  }

  /**
   * For a PIN that the token has taken before, where the module does not see what others spend: as `keepLast`, as far as the
   * device tells it beside the module.
   */
  async keepLastIfTold(attached: AttachedToken): Promise<void> {
    if (attached.profile.remembersTries) this.#keep((await this.#ask?.(attached))?.pinTriesLeft);
  }

  /** The error of a PIN that was refused, with what the device then tells. */
  async addedTo(error: unknown, attached: AttachedToken): Promise<unknown> {
    const isBare = error instanceof SignetError && error.code === 'PIN_INCORRECT' && error.retriesLeft === undefined;
    if (!isBare) return error;
    const retriesLeft = (await this.#ask?.(attached))?.pinTriesLeft;
    if (retriesLeft === undefined) return error;
    const { message, hint, cause } = error;
    return new SignetError('PIN_INCORRECT', message, { retriesLeft, cause, ...(hint === undefined ? {} : { hint }) });
  }

  #keep(left: number | undefined): void {
    if (left === 0) throw pinLocked(this.#connection.name);
    if (left === 1) throw lastTryLeft(this.#connection.name);
  }

  /**
   * What is left now, whoever spent what since the token was attached.
   *
   * @returns Undefined: more than one, if the module tells.
   * @throws {SignetError} PIN_REQUIRED if it cannot be seen
   */
  async #leftNow(attached: AttachedToken): Promise<number | undefined> {
    const told = (await this.#ask?.(attached))?.pinTriesLeft;
    if (told !== undefined) return told;
    if (!attached.profile.remembersTries) return ofFlags((await stateOf(attached)).flags);
    try {
      return ofFlags(await this.#connection.flagsSeenAnew(attached));
    } catch (cause) {
      const what = `how many PIN tries are left on ${this.#connection.name} cannot be seen: none is spent unattended`;
      throw new SignetError('PIN_REQUIRED', what, { hint: 'unlock one of its keys by hand', cause });
    }
  }
}

/** The token's state of now, as its module tells it. */
export async function stateOf({ host }: AttachedToken): Promise<TokenState> {
  return (await host.request({ op: 'state' }, { parse: ANSWERS.state })).value;
}

export function isLocked(flags: number): boolean {
  return (flags & CKF_TOKEN.USER_PIN_LOCKED) !== 0;
}

export function isLastTry(flags: number): boolean {
  return (flags & CKF_TOKEN.USER_PIN_FINAL_TRY) !== 0;
}

function ofFlags(flags: number): number | undefined {
  if (isLocked(flags)) return 0;
  return isLastTry(flags) ? 1 : undefined;
}

/** @param name The token's. */
export function lastTryLeft(name: string): SignetError {
  return new SignetError('PIN_REQUIRED', `one PIN try is left on ${name}: it is not spent unattended`, {
    hint: 'unlock one of its keys by hand',
    retriesLeft: 1,
  });
}

/** @param name The token's. */
export function pinLocked(name: string): SignetError {
  return new SignetError('PIN_LOCKED', `the PIN of ${name} is locked`, {
    hint: PIN_LOCKED_HINT.user,
    retriesLeft: 0,
  });
}
