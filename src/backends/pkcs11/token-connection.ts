/**
 * The way to one token: a host for its module and the slot that holds it. Both are made anew when the host ends or the token
 * leaves, with back-off; the token is then found again by what its URI says. Who is logged in is token-login.ts's business.
 */

import { basename } from 'node:path';
import { SignetError } from '../../errors.ts';
import { anotherToken, type BoundContext, isSameToken, requireSameToken } from '../same-token.ts';
import { SingleFlight } from '../single-flight.ts';
import type { WhichToken } from '../token-facts.ts';
import { CKF_TOKEN } from './constants.ts';
import { findToken, isInitialised } from './find-token.ts';
import { flagsSeenAnew } from './fresh-look.ts';
import { FurtherHosts, type LoginAt } from './further-hosts.ts';
import type { TokenHooks } from './hooks.ts';
import { ANSWERS, type AttachedFacts, type HostRequest, type TokenFacts, type TokenState } from './host-protocol.ts';
import type { HostAnswer, RequestOptions } from './host-request.ts';
import { type ModuleFacts, type ModuleProfile, profileOf } from './profile.ts';
import { TokenHost, type TokenHostOptions } from './token-host.ts';
import { TokenRequests } from './token-requests.ts';
import { formatPkcs11Uri, type Pkcs11Uri } from './uri.ts';

export interface TokenConnectionOptions extends Pick<TokenHostOptions, 'operationTimeoutMs' | 'env' | 'entry'> {
  /** Which token; `modulePath` is set and absolute. */
  readonly uri: Pkcs11Uri & { readonly modulePath: string };
  /** How people know the token; undefined: its URI without the PIN source. */
  readonly name?: string | undefined;
  /** For modules that want parameters at C_Initialize. */
  readonly libraryParameters?: string | undefined;
  /** Instead of the one that the table has for the module. */
  readonly profile?: ModuleProfile | undefined;
  /** How many hosts the token has, at least 1; each has a login of its own. */
  readonly hosts?: number | undefined;
  /** Opens the token at a further host. */
  readonly loginAt?: LoginAt<TokenConnection> | undefined;
  /** Where it takes clients' requests from, for a further host of a token; by default its own. */
  readonly requests?: TokenRequests | undefined;
  /** Of the mechanisms that the module tells, those that this very device has. */
  readonly mechanismsOf?: TokenHooks['mechanismsOf'] | undefined;
  /** Runs before anybody else can use the token. */
  readonly onAttached?: ((attached: AttachedToken) => Promise<void>) | undefined;
  /** Failures that no caller is told, and recoveries, for the log. */
  readonly onEvent: (what: string, error?: unknown) => void;
}

/** An attached token; of no use any more once its host has ended. */
export interface AttachedToken {
  readonly host: TokenHost;
  readonly facts: TokenFacts;
  readonly profile: ModuleProfile;
  readonly module: ModuleFacts;
  readonly mechanisms: AttachedFacts['mechanisms'];
  state: TokenState;
}

/** How long a failure to reach the token is told to others without trying again, milliseconds. */
const RETRY_AFTER_MS = 200;
/** Back-off of hosts that end by themselves, milliseconds; the first one is replaced at once. */
const FIRST_BACK_OFF_MS = 100;
const MAX_BACK_OFF_MS = 5000;
/** A host that worked for so long has earned a new count, milliseconds. */
const HEALTHY_MS = 10_000;
/** A person does not pull a token out and put it in again more often, milliseconds. */
const PLUGGED_MS = 500;

export class TokenConnection implements AsyncDisposable {
  readonly #options: TokenConnectionOptions;
  readonly #requests: TokenRequests;
  /** The token's other hosts. */
  readonly further: FurtherHosts<TokenConnection>;
  readonly #flights = new SingleFlight<'attach' | 'release', void>();
  #moduleFacts: ModuleFacts | undefined;
  #host: TokenHost | undefined;
  #attached: AttachedToken | undefined;
  #failure: { readonly error: unknown; readonly until: number } | undefined;
  #crashes = 0;
  #startedAt = 0;
  #isClosed = false;
  #isReleased = false;
  /** The token as it was attached last, whether or not it is there now. */
  #last: AttachedToken | undefined;

  constructor(options: TokenConnectionOptions) {
    this.#options = options;
    this.#requests = options.requests ?? new TokenRequests(this.name);
    const further = { ...options, requests: this.#requests, hosts: 1, onAttached: undefined, onEvent: () => undefined };
    this.further = new FurtherHosts(
      Array.from({ length: (options.hosts ?? 1) - 1 }, () => new TokenConnection(further)),
      options.loginAt ?? (async () => undefined),
      options.onEvent,
    );
  }

  /** The token as configured, without its PIN source. */
  get name(): string {
    const { pinSource: _, modulePath: __, ...token } = this.#options.uri;
    return this.#options.name ?? formatPkcs11Uri(token);
  }

  /** Undefined while there is none; that of a further host while the first one cannot work. */
  get attached(): AttachedToken | undefined {
    return this.#own ?? this.further.open;
  }

  get #own(): AttachedToken | undefined {
    return this.#attached?.host.isAlive ? this.#attached : undefined;
  }

  /** Whether private keys can be used now. */
  get isOpen(): boolean {
    const { attached } = this;
    return attached !== undefined && isOpen(attached);
  }

  /** Whether requests of clients are in progress or waiting. */
  get isBusy(): boolean {
    return this.#requests.isBusy;
  }

  /** As it was attached last; undefined before the first time. */
  get last(): AttachedToken | undefined {
    return this.#last;
  }

  /** Whether other programs were given the device; the next `attach` takes it back. */
  get isReleased(): boolean {
    return this.#isReleased;
  }

  get modulePath(): string {
    return this.#options.uri.modulePath;
  }

  /** Of errors that the host cannot tell by itself. */
  get #hostName(): string {
    return `${this.name} (${basename(this.modulePath)})`;
  }

  /**
   * The token, found and attached.
   *
   * @param began The one that it must be; undefined: any that matches.
   * @throws {SignetError} TOKEN_NOT_PRESENT, UNAVAILABLE, CONFIGURATION if several tokens match or the module cannot be
   *   loaded
   */
  async attach(began?: WhichToken): Promise<AttachedToken> {
    if (this.#own === undefined) {
      const attaching = this.#flights.run('attach', () => this.#attach());
      if (this.further.open === undefined) await attaching;
      else attaching.catch(() => undefined); // it is tried again at the next call
    }
    const { attached } = this;
    // It ended right after: why, is what the caller is to know, as that the token was taken out.
    if (attached === undefined) throw this.#host?.failure ?? this.#named(undefined);
    requireSameToken(began, attached.facts);
    return attached;
  }

  /**
   * A request of a client, which waits for its turn. Only the token that the call is about gets it.
   *
   * @throws {SignetError} as `attach` and `TokenRequests.request`
   */
  async request<T>(context: BoundContext, request: HostRequest, options: RequestOptions<T>): Promise<HostAnswer<T>> {
    const { client, caller, deadline, onStart, token } = context;
    if (this.#own === undefined) await this.attach(token);
    // A signal costs as much as the rest of a request: where it can be done without, none is made.
    const gone = context.cancelled === undefined ? { signal: context.signal } : { isCancelled: () => isGone(context) };
    return this.#requests.request(client ?? caller, request, { deadline, onStart, token, ...gone, ...options });
  }

  /** Ends the login at every host. @returns Whether it was open. */
  async logout(): Promise<boolean> {
    await this.further.logout();
    const attached = this.#own;
    if (attached === undefined) return false;
    const ask = (op: 'state' | 'logout') => attached.host.request({ op }, { parse: ANSWERS.state });
    try {
      // What is known here need not be true: after many an error it is taken for granted that the login is over.
      const { loggedIn } = (await ask('state')).value;
      attached.state = { ...attached.state, loggedIn: false };
      attached.state = (await ask('logout')).value;
      return loggedIn;
    } catch (error) {
      if (attached.host.isAlive) throw error;
      return true; // the login has ended with it
    }
  }

  /** Lets what is queued end, then the module in order, and with it login and sessions. */
  release(): Promise<void> {
    return this.#flights.run('release', async () => {
      if (this.#isClosed) return;
      await this.#flights.idle('attach');
      const host = this.#host;
      this.#host = undefined;
      this.#attached = undefined;
      this.#isReleased = true;
      this.#failure = undefined;
      this.#crashes = 0;
      // What is queued already is worked off; who comes now waits for the next attachment.
      await this.#requests.idle(this.#options.operationTimeoutMs);
      await Promise.all([host?.[Symbol.asyncDispose](), this.further.release()]);
    });
  }

  /**
   * What `initialise` would erase: the token, or one that is blank.
   *
   * @throws {SignetError} as `attach`
   */
  async findAlsoBlank(): Promise<TokenFacts> {
    return await this.#find(await this.#liveHost(), 'also blank');
  }

  /**
   * Erases a token and gives it a label and PINs.
   *
   * @param began As `findAlsoBlank` found it.
   * @param newLabel At most 32 bytes of UTF-8.
   * @param blob As the request `initialise` has it. The caller zeroes it.
   * @throws {SignetError} INVALID_ARGUMENT for a label that the URI does not match, and as `attach`
   */
  async initialise(began: TokenFacts, newLabel: string, blob: Uint8Array): Promise<void> {
    const { token } = this.#options.uri;
    if (token !== undefined && token !== newLabel) {
      throw new SignetError('INVALID_ARGUMENT', `a token with the label "${newLabel}" would not match ${this.name}`, {
        hint: 'keep the label, or change token= in the configuration first',
      });
    }
    const host = await this.#liveHost();
    const found = await this.#find(host, 'also blank');
    if (isInitialised(found) !== isInitialised(began)) throw anotherToken(began, found);
    requireSameToken(began, found);
    const { slotId, serial, label } = found;
    try {
      await host.request({ op: 'initialise', slotId, serial, label, newLabel }, { parse: ANSWERS.none, blob });
    } finally {
      await this.release(); // what was known of the token is not true any more
    }
  }

  /** The flags that the token has now, for modules that go on telling old ones. @throws {SignetError} as `attach` */
  flagsSeenAnew({ facts }: AttachedToken): Promise<number> {
    return flagsSeenAnew(facts, { ...this.#options, name: this.name });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await Promise.all([this.#host?.[Symbol.asyncDispose](), this.further[Symbol.asyncDispose]()]);
  }

  async #attach(): Promise<void> {
    if (this.#isClosed) throw new SignetError('UNAVAILABLE', `${this.name} is closed`);
    if (this.#failure !== undefined && this.#failure.until > performance.now()) throw this.#failure.error;
    try {
      const host = await this.#liveHost();
      const facts = await this.#find(host, 'initialised');
      // The other hosts may not have noticed yet.
      if (this.#last !== undefined && !isSameToken(facts, this.#last.facts)) await this.further.release();
      const { slotId, serial, label } = facts;
      const module = this.#moduleFacts ?? NO_FACTS;
      const profile = this.#options.profile ?? profileOf(module, facts);
      const attach = { op: 'attach', slotId, serial, label, profile } as const;
      const { value } = await host.request(attach, { parse: ANSWERS.attached });
      const { mechanisms: told, ...state } = value;
      const mechanisms = this.#options.mechanismsOf?.({ facts, mechanisms: told }) ?? told;
      const attached: AttachedToken = { host, facts, profile, module, mechanisms, state };
      host.serve({
        requests: this.#requests,
        token: facts,
        isOpen: () => isOpen(attached),
        loggedOut: () => {
          attached.state = { ...attached.state, loggedIn: false };
        },
      });
      this.#attached = attached;
      this.#last = attached;
      this.#failure = undefined;
      this.#isReleased = false;
    } catch (error) {
      this.#failure = { error, until: performance.now() + RETRY_AFTER_MS };
      throw error;
    }
    this.#options.onEvent(`token ${this.name} attached`);
    if (this.#attached !== undefined) await this.#options.onAttached?.(this.#attached);
  }

  async #liveHost(): Promise<TokenHost> {
    await this.#flights.idle('release');
    if (this.#host?.isAlive) return this.#host;
    if (this.#host !== undefined) await this.#backOff(this.#host);
    const { uri, operationTimeoutMs, env, entry, libraryParameters: parameters } = this.#options;
    const host = new TokenHost({ name: this.#hostName, operationTimeoutMs, env, entry });
    this.#host = host;
    this.#startedAt = performance.now();
    try {
      const load = { op: 'load', modulePath: uri.modulePath, parameters } as const;
      this.#moduleFacts = (await host.request(load, { parse: ANSWERS.module })).value;
    } catch (error) {
      // Half-loaded is not a state to go on from.
      const named = this.#named(error);
      host.kill(named);
      throw named;
    }
    if (this.#isClosed) await host[Symbol.asyncDispose]();
    return host;
  }

  /** @throws {SignetError} why it ended, while a host that keeps ending is given time */
  async #backOff(ended: TokenHost): Promise<void> {
    const lived = performance.now() - this.#startedAt;
    if (ended.hasLostToken && lived > PLUGGED_MS) {
      this.#crashes = 0; // nothing is wrong with the module
      return;
    }
    this.#crashes = lived > HEALTHY_MS ? 1 : this.#crashes + 1;
    if (this.#crashes === 1) return;
    const wait = Math.min(FIRST_BACK_OFF_MS * 2 ** (this.#crashes - 2), MAX_BACK_OFF_MS) - lived;
    if (wait <= 0) return;
    this.#crashes--; // this was no start
    const { code, message } = ended.failure ?? this.#named(undefined);
    throw new SignetError(code, message, {
      hint: `that happened ${this.#crashes} times in a row; it is tried again in ${Math.ceil(wait)} ms`,
    });
  }

  /** @throws {SignetError} as `findToken` */
  async #find(host: TokenHost, which: 'initialised' | 'also blank'): Promise<TokenFacts> {
    const { uri, name } = this.#options;
    try {
      return await findToken(host, { uri, name: this.name, isDevice: name !== undefined }, which);
    } catch (error) {
      throw this.#named(error);
    }
  }

  /** What a module says before a token is chosen, with the token that it was said of. */
  #named(error: unknown): SignetError {
    if (!(error instanceof SignetError)) {
      return new SignetError('UNAVAILABLE', `the token host of ${this.#hostName} ended`, { cause: error });
    }
    const { code, message, hint, cause } = error;
    if (code === 'CONFIGURATION' || message.includes(this.name)) return error;
    return new SignetError(code, `${this.name}: ${message}`, { ...(hint !== undefined && { hint }), cause });
  }
}

const NO_FACTS: ModuleFacts = { manufacturer: '', description: '', version: '' };

function isGone({ cancelled }: BoundContext): boolean {
  return cancelled ?? false;
}

/** Whether private keys can be used now. */
export function isOpen({ state }: AttachedToken): boolean {
  return state.loggedIn || (state.flags & CKF_TOKEN.LOGIN_REQUIRED) === 0;
}
