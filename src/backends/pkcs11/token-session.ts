/**
 * The sessions that a host has with its token: one that holds the login, one that works and is replaced when an operation
 * in it got stuck. Knows whether the token is still there, and turns what a module throws into our errors.
 */
import { SignetError } from '../../errors.ts';
import { ckrName, ckrOf, fromPkcs11Error, fromSoPinError, PIN_LOCKED_HINT } from './ckr.ts';
import { CKF_TOKEN, CKO, CKR, CKU } from './constants.ts';
import type { Cryptoki, Handle } from './cryptoki.ts';
import type { TokenFacts, TokenState } from './host-protocol.ts';
import type { ModuleProfile } from './profile.ts';
import type { Template } from './template.ts';

/** Of a card that other programs do not leave alone. */
const MAX_READINGS = 5;
/** Between two looks at a token that may be leaving. */
const PAUSE_MS = 50;
const PAUSE = new Int32Array(new SharedArrayBuffer(4));
/** What modules say when a token is pulled out while it works, and when it fails in another way. */
const MAYBE_PULLED: ReadonlySet<number | undefined> = new Set([
  CKR.DEVICE_ERROR,
  CKR.DEVICE_REMOVED,
  CKR.FUNCTION_FAILED,
]);

/** The token went away: the process that finds out is of no more use. */
export class TokenLost extends SignetError {}

export class TokenSession {
  readonly cryptoki: Cryptoki;
  readonly profile: ModuleProfile;
  /** For messages; host.ts adds the module where it is to blame. */
  readonly name: string;
  readonly #facts: TokenFacts;
  #slot: Handle;
  /** Holds the login: modules log out when the last session closes. */
  #anchor: Handle;
  #session: Handle;
  /** How many keys the module showed when it was believed last. */
  #shownKeys = 0;
  /** How often the module was started again, because it showed fewer. */
  #restarts = 0;
  /** Counts what makes handles of objects worthless: logins, new sessions. */
  #epoch = 0;

  constructor(cryptoki: Cryptoki, slot: Handle, facts: TokenFacts, profile: ModuleProfile) {
    this.cryptoki = cryptoki;
    this.profile = profile;
    this.name = `token "${facts.label}"`;
    this.#slot = slot;
    this.#facts = facts;
    this.#anchor = cryptoki.openSession(slot);
    this.#session = cryptoki.openSession(slot);
    this.look(); // the token may have been swapped before they were opened
  }

  /** For operations on objects. */
  get handle(): Handle {
    return this.#session;
  }

  get epoch(): number {
    return this.#epoch;
  }

  /**
   * Runs one operation: normalises its errors, and looks whether the token is still there after an unexpected one. If the card
   * did not understand it, because another program had selected another application, it is run once more.
   */
  run<T>(what: string, operation: () => T, isAgain = false): T {
    const restarts = this.#restarts;
    if (this.profile.repeatsPin) this.look();
    try {
      return operation();
    } catch (error) {
      const normal = fromPkcs11Error(error, `${what} on ${this.name} failed`);
      if (isExpected(normal)) throw normal;
      if (!this.#staysThere(ckrOf(error)) || !this.#isUsable()) throw this.#lost(error);
      if (isAgain || this.#restarts === restarts) throw normal;
      return this.run(what, operation, true);
    }
  }

  state(): TokenState {
    return { flags: this.look().flags, loggedIn: this.isLoggedIn };
  }

  get isLoggedIn(): boolean {
    return this.cryptoki.isLoggedIn(this.#anchor);
  }

  /** One try of the user's PIN, also while the user is logged in. @param pin Zeroed afterwards by the caller. */
  login(pin: Uint8Array): TokenState {
    if (this.isLoggedIn) this.logout(); // C_Login would not look at the PIN
    this.checkPinLength(pin);
    this.#login(CKU.USER, pin);
    return this.state();
  }

  /** Some modules take a text that is no PIN for an order. @throws {SignetError} PIN_INCORRECT */
  checkPinLength(pin: Uint8Array): void {
    const [min, max] = this.profile.pinBytes ?? [0, Number.POSITIVE_INFINITY];
    if (pin.byteLength < min || pin.byteLength > max) throw this.#unfit(undefined);
  }

  logout(): TokenState {
    this.cryptoki.logout(this.#anchor);
    this.#epoch++;
    return this.state();
  }

  /**
   * Does something as the security officer, who and the user exclude each other: the user's login is over afterwards.
   *
   * @param operation Gets the session that is logged in.
   */
  asSecurityOfficer<T>(soPin: Uint8Array, operation: (session: Handle) => T): T {
    this.logout();
    this.#login(CKU.SO, soPin);
    try {
      return operation(this.#anchor);
    } finally {
      this.logout();
    }
  }

  /** As whoever may write to this token. @param soPin Undefined: as the user, who is logged in. */
  asWriter<T>(soPin: Uint8Array | undefined, operation: () => T): T {
    try {
      return soPin === undefined ? operation() : this.asSecurityOfficer(soPin, operation);
    } finally {
      if (this.profile.reopensAfterWriting) this.#reopen();
    }
  }

  /** The error for a PIN that was refused, with what the token then tells about the tries that are left. */
  pinFailure(error: unknown, what: string, user: 'user' | 'so' = 'user'): SignetError {
    const { flags } = this.look();
    const [locked, last] =
      user === 'so'
        ? [CKF_TOKEN.SO_PIN_LOCKED, CKF_TOKEN.SO_PIN_FINAL_TRY]
        : [CKF_TOKEN.USER_PIN_LOCKED, CKF_TOKEN.USER_PIN_FINAL_TRY];
    const message = `${what} on ${this.name} failed`;
    const refused = user === 'so' ? fromSoPinError : fromPkcs11Error;
    if ((flags & locked) === 0) return refused(error, message, (flags & last) === 0 ? {} : { retriesLeft: 1 });
    const options = { retriesLeft: 0, hint: PIN_LOCKED_HINT[user], cause: error };
    return new SignetError('PIN_LOCKED', `${message} (${nameOf(error)})`, options);
  }

  find(objectClass: Parameters<Cryptoki['find']>[1], more: Template = [], isStored = true): Handle[] {
    return this.cryptoki.find(this.#session, objectClass, more, isStored);
  }

  /** @returns No bytes if the object has no such attribute. */
  read(object: Handle, type: number): Buffer {
    return this.readAll(object, [type])[0] ?? Buffer.alloc(0);
  }

  /** @returns In order; undefined for what the object does not have. */
  readAll(object: Handle, types: readonly number[]): (Buffer | undefined)[] {
    return this.cryptoki.attributes(this.#session, object, types);
  }

  destroyQuietly(object: Handle): void {
    try {
      this.cryptoki.destroy(this.#session, object);
    } catch {
      // the error that led here is the one to tell
    }
  }

  /** @throws {SignetError} TOKEN_NOT_PRESENT if the slot does not hold the token any more */
  look(): TokenFacts {
    let facts: TokenFacts;
    try {
      // Some modules notice only here that a token left or came back; what they tell about it otherwise is old.
      if (!this.cryptoki.slots().some((slot) => slot.equals(this.#slot))) throw this.#lost(undefined);
      facts = this.cryptoki.tokenFacts(this.#slot);
    } catch (error) {
      throw error instanceof TokenLost ? error : this.#lost(error);
    }
    if (!this.#isSame(facts)) throw this.#lost(undefined);
    return facts;
  }

  /** The only cure for an operation that a module keeps open. @throws {SignetError} as `look` */
  renew(): void {
    this.#epoch++;
    const old = this.#session;
    try {
      this.#session = this.cryptoki.openSession(this.#slot);
      this.cryptoki.closeSession(old);
    } catch {
      // sessions are scarce or the token is failing: the next operation tells
    }
    this.look();
  }

  /** Nobody is logged in afterwards, and everything is read from the token anew. */
  #reopen(): void {
    const before = Math.max(this.#shownKeys, this.#countKeys());
    this.#epoch++;
    this.cryptoki.closeAllSessions(this.#slot);
    this.#anchor = this.cryptoki.openSession(this.#slot);
    this.#shownKeys = this.#countKeys();
    if (this.profile.losesApplication && this.#shownKeys < before) this.#restart(before);
    this.#session = this.cryptoki.openSession(this.#slot);
    this.look();
  }

  /**
   * The module connects to the card anew, and selects its application. Another program may select its own again while the card
   * is read: fewer keys than before are believed if they are as many twice in a row.
   */
  #restart(before: number): void {
    this.#restarts++;
    let last = Number.NaN;
    for (let reading = 0; reading < MAX_READINGS; reading++) {
      this.cryptoki.finalize();
      this.cryptoki.initialize();
      const slot = this.cryptoki.slots().find((found) => this.#isSame(this.cryptoki.tokenFacts(found)));
      if (slot === undefined) throw this.#lost(undefined);
      this.#slot = slot;
      this.#anchor = this.cryptoki.openSession(slot);
      this.#shownKeys = this.#countKeys();
      if (this.#shownKeys >= before || this.#shownKeys === last) return;
      last = this.#shownKeys;
    }
    this.#shownKeys = before; // the next time it is tried again
  }

  #countKeys(): number {
    return this.cryptoki.find(this.#anchor, CKO.PUBLIC_KEY).length;
  }

  #isSame({ serial, label }: TokenFacts): boolean {
    return serial === this.#facts.serial && label === this.#facts.label;
  }

  #login(user: typeof CKU.USER | typeof CKU.SO, pin: Uint8Array): void {
    try {
      this.cryptoki.login(this.#anchor, user, pin);
    } catch (error) {
      // What a YubiKey's module says to a management key of a length that it does not know.
      if (ckrOf(error) === CKR.ARGUMENTS_BAD) throw this.#unfit(error);
      throw user === CKU.SO
        ? this.pinFailure(error, 'login as the security officer', 'so')
        : this.pinFailure(error, 'login');
    }
    this.#epoch++;
  }

  #isThere(): boolean {
    try {
      this.look();
      return true;
    } catch {
      return false;
    }
  }

  /** @param cause What the module said; undefined if it was not asked. */
  #unfit(cause: unknown): SignetError {
    const answer = cause === undefined ? '' : ` (${nameOf(cause)})`;
    return new SignetError('PIN_INCORRECT', `login on ${this.name} failed${answer}`, {
      hint: 'the PIN has a length that no PIN of this token has: no try was spent',
      cause,
    });
  }

  /** After an unexpected answer. */
  #staysThere(ckr: number | undefined): boolean {
    const until = MAYBE_PULLED.has(ckr) ? performance.now() + this.profile.listsPulledForMs : 0;
    while (this.#isThere()) {
      if (performance.now() >= until) return true;
      Atomics.wait(PAUSE, 0, 0, PAUSE_MS);
    }
    return false;
  }

  /** After an unexpected answer. A token that is leaving may still be listed, but opens no sessions any more. */
  #isUsable(): boolean {
    try {
      if (this.profile.reopensAfterWriting) this.#reopen();
      else this.renew();
      return true;
    } catch {
      return false;
    }
  }

  /** A module that does not even list its slots has failed; otherwise it is the token that went. */
  #lost(cause: unknown): TokenLost {
    try {
      this.cryptoki.slots();
    } catch (error) {
      return new TokenLost('UNAVAILABLE', `the module of ${this.name} failed (${nameOf(error)})`, { cause: error });
    }
    const what = `${this.name} is not there any more`;
    return new TokenLost('TOKEN_NOT_PRESENT', cause === undefined ? what : `${what} (${nameOf(cause)})`, { cause });
  }
}

/** Answers after which sessions and handles are as good as before. */
function isExpected(error: SignetError): boolean {
  if (error.cause === undefined) return true; // ours
  return ['PIN_REQUIRED', 'PIN_INCORRECT', 'PIN_LOCKED', 'TOUCH_TIMEOUT', 'CONFIGURATION'].includes(error.code);
}

function nameOf(error: unknown): string {
  const ckr = ckrOf(error);
  return ckr === undefined ? 'no return value' : ckrName(ckr);
}
