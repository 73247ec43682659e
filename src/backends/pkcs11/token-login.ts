/**
 * Who opens the token: the PIN that is cached, a source that was configured, or a person who is asked.
 *
 * No PIN is tried twice, none that nobody supplied, and the last try is for a person alone. Whoever needs the token while
 * somebody is being asked shares the answer.
 */
import pLimit from 'p-limit';
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import type { Interaction, KeyInfo, SignContext } from '../backend.ts';
import { cancelled, unlessAborted } from '../cancellation.ts';
import type { BoundContext } from '../same-token.ts';
import { SingleFlight } from '../single-flight.ts';
import type { TokenIdentity, WhichToken } from '../token-facts.ts';
import type { TokenHooks } from './hooks.ts';
import { ANSWERS } from './host-protocol.ts';
import { PinCache } from './pin-cache.ts';
import { PinMemory } from './pin-memory.ts';
import { canBeAsked, isAboutPin, NO_OUTCOME, NoPin, type OperationPin, settle } from './pin-outcome.ts';
import { type PinSourceOptions, pinSourcesOf } from './pin-source.ts';
import { isLastTry, isLocked, lastTryLeft, PinTries, pinLocked, stateOf } from './pin-tries.ts';
import { type AttachedToken, isOpen, type TokenConnection } from './token-connection.ts';

export interface TokenLoginOptions extends PinSourceOptions {
  /** `pkcs11` or `yubikey`, as people know it. */
  readonly backendName: string;
  /** Where it is remembered which PINs were refused; undefined: in this process only. */
  readonly stateDirectory?: string | undefined;
  /** How long a person's PIN is kept in memory, milliseconds; 0: not beyond the call that it was given for. */
  readonly pinCacheMs?: number | undefined;
  readonly retryCounters?: TokenHooks['retryCounters'] | undefined;
  /** The token was opened, or not, for somebody who waited for that. */
  readonly onOpened?: (() => void) | undefined;
}

/** The key that a PIN is wanted for; undefined for the token as a whole. */
export type WantedFor = Pick<KeyInfo, 'keyId' | 'role' | 'gun'> | undefined;

/** Which PINs that nobody is asked for may be tried. */
type WhichPin = 'any' | 'only a PIN that was taken';

export class TokenLogin {
  /** How many are left. */
  readonly tries: PinTries;
  readonly #connection: TokenConnection;
  readonly #options: TokenLoginOptions;
  readonly #flights = new SingleFlight<'login', void>();
  readonly #cache: PinCache;
  readonly #memories = new Map<string, PinMemory>();
  /** A person is being asked; resolves with the token open. */
  #question: Promise<void> | undefined;
  #problem: SignetError | undefined;
  /** A try of a configured PIN that the token did not answer with yes or no, and where. */
  #unanswered: { readonly at: AttachedToken; readonly error: SignetError } | undefined;
  /** Who waits for the token to be opened. */
  #waiting = 0;
  readonly #wereOpen = new WeakSet<AttachedToken>();
  readonly #tryTurn = pLimit(1);
  readonly #furtherTurn = pLimit(1);

  constructor(connection: TokenConnection, options: TokenLoginOptions) {
    this.#connection = connection;
    this.#options = options;
    this.tries = new PinTries(connection, options.retryCounters);
    this.#cache = new PinCache(options.pinCacheMs ?? 0);
  }

  /** Why the configured PIN is of no use, since the last try. */
  get pinProblem(): SignetError | undefined {
    return this.#problem;
  }

  /** Why the token is not open although a PIN is configured; more than `pinProblem` where its last try failed otherwise. */
  get problem(): SignetError | undefined {
    const unanswered = this.#unanswered?.at === this.#connection.attached ? this.#unanswered?.error : undefined;
    return this.#problem ?? unanswered;
  }

  /** Whether somebody waits for the token to be opened. */
  get isBusy(): boolean {
    return this.#waiting > 0;
  }

  /** How the token is named to people. */
  identityOf({ facts: { label, serial } }: AttachedToken): TokenIdentity {
    return { backend: this.#options.backendName, label, serial };
  }

  /**
   * Opens the token unless it is open. Asks a person only where no other PIN is to be had.
   *
   * @param context Undefined: nobody can be asked.
   * @returns The PIN that a person just gave for this very call, where there was a question. The caller disposes of it.
   * @throws {SignetError} as `TokenConnection.attach`; PIN_REQUIRED, PIN_INCORRECT, PIN_LOCKED, CONFIGURATION, CANCELLED
   */
  async login(context: SignContext | undefined, wantedFor?: WantedFor): Promise<Secret | undefined> {
    const attached = await this.#connection.attach(context?.token);
    if (isOpen(attached)) {
      this.#connection.further.tend(attached.facts);
      return undefined;
    }
    return await this.#whileWaiting(async () => {
      try {
        await this.#loginOnce(attached);
        return undefined;
      } catch (error) {
        if (context?.interaction === undefined || !canBeAsked(error)) throw error;
        return await this.#askTogether(attached, context.interaction, context, wantedFor);
      }
    });
  }

  /** At each attachment: keys can be listed in full if the token opens without a person. What fails is told by `problem`. */
  async loginAtAttachment(attached: AttachedToken): Promise<void> {
    const sources = pinSourcesOf(this.#options, this.identityOf(attached));
    if (!this.#cache.has(attached.facts)) {
      this.#cache.clear(); // the PIN of another token went with it
      if (sources.length === 0) return;
    }
    // Not `login`, which waits for the attachment that waits for this.
    await this.#whileWaiting(() => this.#loginOnce(attached)).catch(() => undefined);
  }

  /**
   * Opens a token with a PIN that a person gave for it. One that is open is no reason to believe it: the PIN is tried, and a wrong
   * one closes the token. A card ends the login of whom it refuses (NIST SP 800-73-4 part 2, 3.2.1), and C_Login wants it
   * ended before.
   *
   * @throws {SignetError} as `login`
   */
  async loginWith(token: WhichToken, pin: Secret): Promise<void> {
    const attached = await this.#connection.attach(token);
    try {
      if (await this.#tryPin(attached, pin.bytes(), 'also if it is open')) await this.#noteTaken(attached, pin);
    } catch (error) {
      if (!attached.state.loggedIn) await this.#connection.further.logout();
      throw error;
    }
  }

  /** Opens the token at one of its further hosts, one after the other: never the first to try a PIN. */
  loginAt(host: TokenConnection, token: WhichToken, pin?: Uint8Array): Promise<void> {
    return this.#furtherTurn(async () => {
      const attached = await host.attach(token);
      if (isOpen(attached)) return;
      if (pin !== undefined) await this.#tryPin(attached, pin);
      else await this.#openUnattended(attached, 'only a PIN that was taken');
    });
  }

  /**
   * A PIN for one operation of a key that wants it each time (CKA_ALWAYS_AUTHENTICATE).
   *
   * @param given What a person gave in this very call.
   * @throws {SignetError} as `login`
   */
  async pinForOperation(context: BoundContext, wantedFor: WantedFor, given: Secret | undefined): Promise<OperationPin> {
    if (given !== undefined) return { pin: given.clone(), outcome: NO_OUTCOME };
    const attached = await this.#connection.attach(context.token);
    try {
      // It may be another one by now though the token looks open: nobody tells the module.
      await this.tries.keepLastIfTold(attached);
      return await this.#unattendedPin(attached);
    } catch (error) {
      if (context.interaction === undefined || !canBeAsked(error)) throw error;
      const pin = await this.#ask(attached, context.interaction, context, wantedFor);
      return { pin, outcome: { ...NO_OUTCOME, accepted: () => this.#noteTaken(attached, pin) } };
    }
  }

  /** @returns Whether it was open. */
  async logout(): Promise<boolean> {
    this.#cache.clear();
    return await this.#connection.logout();
  }

  /** Drops the PIN that a person gave. */
  forget(): void {
    this.#cache.clear();
  }

  /** Somebody or something else ended the login: the next call opens the token again. */
  noteLoggedOut(): void {
    const { attached } = this.#connection;
    if (attached !== undefined && isOpen(attached)) attached.state = { ...attached.state, loggedIn: false };
  }

  /** The PIN is another one now: sources that still have an old one are not tried any more. */
  async notePinChanged(attached: AttachedToken, newPin: Secret): Promise<void> {
    this.#cache.clear();
    const identity = this.identityOf(attached);
    for (const source of pinSourcesOf(this.#options, identity)) {
      const sourced = await source.read().catch(() => undefined); // told when it is needed
      if (sourced === undefined) continue;
      try {
        if (!Buffer.from(sourced.pin.bytes()).equals(newPin.bytes())) {
          await this.#memoryOf(identity).outdated(source, sourced);
        }
      } finally {
        sourced.pin.dispose();
      }
    }
  }

  async #whileWaiting<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#waiting++;
    try {
      return await work();
    } finally {
      this.#waiting--;
      this.#options.onOpened?.();
    }
  }

  #loginOnce(attached: AttachedToken): Promise<void> {
    return this.#flights.run('login', () => this.#loginUnattended(attached));
  }

  async #loginUnattended(attached: AttachedToken): Promise<void> {
    try {
      attached.state = await stateOf(attached);
      if (isOpen(attached)) return;
      await this.#openUnattended(attached);
      this.#problem = undefined;
      this.#connection.further.tend(attached.facts);
    } catch (error) {
      if (error instanceof SignetError && isAboutPin(error) && !(error instanceof NoPin)) this.#problem = error;
      throw error;
    }
  }

  async #openUnattended(attached: AttachedToken, which: WhichPin = 'any'): Promise<void> {
    // Something ended the login that there was: a reset, a Lock, a program that may have changed the PIN as well.
    const isDoubtful = which === 'any' && this.#wereOpen.has(attached);
    const { pin, outcome } = await this.#unattendedPin(attached, which, isDoubtful);
    try {
      if (await this.#tryPin(attached, pin.bytes())) await outcome.accepted();
      else await outcome.notTried();
    } catch (error) {
      await settle(outcome, error);
      if (error instanceof SignetError && !isAboutPin(error)) this.#unanswered = { at: attached, error };
      throw error;
    } finally {
      pin.dispose();
    }
  }

  /**
   * @param isDoubtful A PIN that was taken before may be another one by now.
   * @throws {SignetError} PIN_REQUIRED if there is none; PIN_LOCKED; and what the source and its memory say
   */
  async #unattendedPin(attached: AttachedToken, which: WhichPin = 'any', isDoubtful = false): Promise<OperationPin> {
    const { flags } = await stateOf(attached);
    if (isLocked(flags)) throw pinLocked(this.#connection.name);
    if (this.#cache.has(attached.facts)) {
      if (isLastTry(flags)) throw lastTryLeft(this.#connection.name);
      if (isDoubtful) await this.tries.keepLast(attached);
    }
    const cached = this.#cache.get(attached.facts);
    if (cached !== undefined) {
      return { pin: cached, outcome: { ...NO_OUTCOME, refused: async () => this.#cache.clear() } };
    }
    const identity = this.identityOf(attached);
    const sources = pinSourcesOf(this.#options, identity);
    for (const source of sources) {
      const sourced = await source.read();
      if (sourced === undefined) continue;
      try {
        if (isLastTry(flags)) throw lastTryLeft(this.#connection.name);
        // Only the first source that has one: another PIN would be another try.
        const memory = this.#memoryOf(identity);
        if (isDoubtful) memory.doubt();
        if (which !== 'any' && !memory.hasTaken(sourced)) throw this.#required('');
        return { pin: sourced.pin, outcome: await memory.begin(source, sourced, () => this.tries.keepLast(attached)) };
      } catch (error) {
        sourced.pin.dispose();
        throw error;
      }
    }
    throw this.#required('');
  }

  /** One question for all who wait. Who joins goes on asking if the one who was asked goes away. */
  async #askTogether(
    attached: AttachedToken,
    interaction: Interaction,
    context: SignContext,
    wantedFor: WantedFor,
  ): Promise<Secret | undefined> {
    while (this.#question !== undefined) {
      try {
        await unlessAborted(this.#question, context.signal);
        return undefined;
      } catch (error) {
        const code = error instanceof SignetError ? error.code : undefined;
        const isAskersEnd = code === 'CANCELLED' && !context.signal?.aborted;
        const isOtherTokens = code === 'TOKEN_NOT_PRESENT' && attached.host.isAlive;
        if (!isAskersEnd && !isOtherTokens) throw error;
      }
    }
    if (isOpen(attached)) return undefined;
    const asking = this.#askAndLogin(attached, interaction, context, wantedFor);
    const question = asking.then(() => undefined);
    this.#question = question;
    try {
      return await asking;
    } finally {
      if (this.#question === question) this.#question = undefined;
      await question.catch(() => undefined); // whoever shares it has its outcome from the same promise
    }
  }

  async #askAndLogin(
    attached: AttachedToken,
    interaction: Interaction,
    context: SignContext,
    wantedFor: WantedFor,
  ): Promise<Secret> {
    const pin = await this.#ask(attached, interaction, context, wantedFor);
    try {
      // The host may have ended meanwhile.
      const present = attached.host.isAlive ? attached : await this.#connection.attach(attached.facts);
      if (await this.#tryPin(present, pin.bytes())) await this.#noteTaken(present, pin);
      return pin;
    } catch (error) {
      pin.dispose();
      throw error;
    }
  }

  async #ask(
    attached: AttachedToken,
    interaction: Interaction,
    { signal }: SignContext,
    wantedFor: WantedFor,
  ): Promise<Secret> {
    attached.state = await stateOf(attached);
    const { pinTriesLeft: triesLeft } = await this.tries.counters(attached);
    if (triesLeft === 0) throw pinLocked(this.#connection.name);
    const token = this.identityOf(attached);
    const question = { token, secret: 'pin', isNew: false, triesLeft, key: wantedFor, reason: this.#problem } as const;
    const pin = await interaction.pin(question, signal);
    if (signal?.aborted) {
      pin?.dispose();
      throw cancelled();
    }
    if (pin === undefined) throw this.#required(', which was not given');
    return pin;
  }

  /**
   * One try. PINs that come together are tried one after the other: once the token is open it takes any.
   *
   * @returns False if it was open already, or wants no PIN: nothing is known of this one.
   */
  #tryPin(attached: AttachedToken, pin: Uint8Array, when?: 'also if it is open'): Promise<boolean> {
    return this.#tryTurn(async () => {
      attached.state = await stateOf(attached);
      if (isOpen(attached) && !(when !== undefined && attached.state.loggedIn)) return false;
      if (isLocked(attached.state.flags)) throw pinLocked(this.#connection.name);
      const login = { op: 'login' } as const;
      attached.state = { ...attached.state, loggedIn: false }; // until the PIN is taken
      const { value } = await attached.host.request(login, { parse: ANSWERS.state, blob: pin }).catch(async (error) => {
        throw await this.tries.addedTo(error, attached);
      });
      attached.state = value;
      this.#unanswered = undefined;
      this.#wereOpen.add(attached);
      attached.host.pull(); // it was given nothing while another host was open and it was not
      return true;
    });
  }

  async #noteTaken(attached: AttachedToken, pin: Secret): Promise<void> {
    this.#problem = undefined;
    this.#cache.put(attached.facts, pin);
    await this.#connection.further.loginWith(attached.facts, pin.bytes());
    // A memory that cannot be written does not take back a login; it will refuse the next unattended try.
    await this.#memoryOf(this.identityOf(attached))
      .clear()
      .catch(() => undefined);
  }

  #memoryOf(identity: TokenIdentity): PinMemory {
    const key = `${identity.label}\0${identity.serial}`;
    const memory = this.#memories.get(key) ?? new PinMemory(this.#options.stateDirectory, identity);
    this.#memories.set(key, memory);
    return memory;
  }

  #required(more: string): SignetError {
    return new NoPin('PIN_REQUIRED', `${this.#connection.name} needs its PIN${more}`, {
      hint: 'unlock one of its keys, or add pin-source=file:… to the URI',
    });
  }
}
