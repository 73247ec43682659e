/**
 * The way to one token: a host for its module, the slot that holds it, its login. All of it is made anew when the host
 * ends or the token leaves, with back-off; the token is then found again by what its URI says.
 */
import { SignetError } from '../../errors.ts';
import type { SignContext } from '../backend.ts';
import { SingleFlight } from '../single-flight.ts';
import { CKF_TOKEN } from './constants.ts';
import { FurtherHosts } from './further-hosts.ts';
import { ANSWERS, type HostRequest, type TokenFacts, type TokenState } from './host-protocol.ts';
import type { HostAnswer, RequestOptions } from './host-request.ts';
import type { PinFile } from './pin-file.ts';
import { TokenHost, type TokenHostOptions } from './token-host.ts';
import { TokenRequests } from './token-requests.ts';
import { formatPkcs11Uri, type Pkcs11Uri } from './uri.ts';

export interface TokenConnectionOptions extends Pick<TokenHostOptions, 'operationTimeoutMs' | 'env' | 'entry'> {
  /** Which token; `modulePath` is set and absolute. */
  readonly uri: Pkcs11Uri & { readonly modulePath: string };
  readonly pinFile: Pick<PinFile, 'read'> | undefined;
  /** How many hosts the token has, at least 1; each has a login of its own. */
  readonly hosts?: number | undefined;
  /** Where it takes clients' requests from, for a further host of a token; by default its own. */
  readonly requests?: TokenRequests | undefined;
  /** Failures that no caller is told, and recoveries, for the log. */
  readonly onEvent: (what: string, error?: unknown) => void;
}

/** An attached token; of no use any more once its host has ended. */
export interface AttachedToken {
  readonly host: TokenHost;
  readonly facts: TokenFacts;
  state: TokenState;
}

/** How long a failure to reach the token is told to others without trying again, milliseconds. */
const RETRY_AFTER_MS = 200;
/** Back-off of hosts that end by themselves, milliseconds; the first one is replaced at once. */
const FIRST_BACK_OFF_MS = 100;
const MAX_BACK_OFF_MS = 5000;
/** A host that worked for so long has earned a new count, milliseconds. */
const HEALTHY_MS = 10_000;

export class TokenConnection implements AsyncDisposable {
  readonly #options: TokenConnectionOptions;
  readonly #requests: TokenRequests;
  readonly #further: FurtherHosts;
  readonly #flights = new SingleFlight<'attach' | 'login', void>();
  #host: TokenHost | undefined;
  #attached: AttachedToken | undefined;
  #failure: { readonly error: unknown; readonly until: number } | undefined;
  #crashes = 0;
  #startedAt = 0;
  #isClosed = false;
  /** Why the PIN of the file is of no use, since the last try. */
  #pinProblem: SignetError | undefined;
  /** Whether the token took the PIN of the file at the last try. */
  #isFileAccepted = false;

  constructor(options: TokenConnectionOptions) {
    this.#options = options;
    const requests = options.requests ?? new TokenRequests(this.name);
    const pinFile = options.pinFile && { read: () => this.#readAcceptedPin() };
    const further = { ...options, pinFile, requests, hosts: 1, onEvent: () => undefined };
    this.#requests = requests;
    this.#further = new FurtherHosts(
      Array.from({ length: (options.hosts ?? 1) - 1 }, () => new TokenConnection(further)),
      options.onEvent,
    );
  }

  /** The token as configured, without its PIN source. */
  get name(): string {
    const { pinSource: _, modulePath: __, ...token } = this.#options.uri;
    return formatPkcs11Uri(token);
  }

  /** Undefined while there is none; that of a further host while the first one cannot work. */
  get attached(): AttachedToken | undefined {
    return this.#own ?? this.#further.open;
  }

  get #own(): AttachedToken | undefined {
    return this.#attached?.host.isAlive ? this.#attached : undefined;
  }

  /** Whether private keys can be used now. */
  get isOpen(): boolean {
    const { attached } = this;
    return attached !== undefined && isOpen(attached);
  }

  get pinProblem(): SignetError | undefined {
    return this.#pinProblem;
  }

  /**
   * The token, found and attached; logged in if a PIN file says how.
   *
   * @throws {SignetError} TOKEN_NOT_PRESENT, UNAVAILABLE, CONFIGURATION if several tokens match or the module cannot be
   *   loaded
   */
  async attach(): Promise<AttachedToken> {
    if (this.#own === undefined) {
      const attaching = this.#flights.run('attach', () => this.#attach());
      if (this.#further.open === undefined) await attaching;
      else attaching.catch(() => undefined); // it is tried again at the next call
    }
    if (this.attached === undefined) throw new SignetError('UNAVAILABLE', `the host of ${this.name} ended`);
    return this.attached;
  }

  /** Whether requests of clients are in progress or waiting. */
  get isBusy(): boolean {
    return this.#requests.isBusy;
  }

  /**
   * A request of a client, which waits for its turn.
   *
   * @throws {SignetError} as `attach` and `TokenRequests.request`
   */
  async request<T>(context: SignContext, request: HostRequest, options: RequestOptions<T>): Promise<HostAnswer<T>> {
    if (this.#own === undefined) await this.attach();
    const { client, caller, deadline, onStart } = context;
    // A signal costs as much as the rest of a request: where it can be done without, none is made.
    const gone = context.cancelled === undefined ? { signal: context.signal } : { isCancelled: () => isGone(context) };
    return this.#requests.request(client ?? caller, request, { deadline, onStart, ...gone, ...options });
  }

  /**
   * Logs in with the PIN file unless that has been done or is not needed. Tries a PIN at most once (pin-file.ts), and never
   * the last try that a token has.
   *
   * @throws {SignetError} as `attach`; PIN_REQUIRED, PIN_INCORRECT, PIN_LOCKED, CONFIGURATION
   */
  async login(): Promise<void> {
    const attached = this.#own ?? (await this.attach());
    if (isOpen(attached)) {
      this.#further.tend();
      return;
    }
    await this.#flights.run('login', () => this.#loginFromFile(attached));
  }

  /** Logs in with a PIN that a person gave. @throws {SignetError} as `attach`; PIN_INCORRECT, PIN_LOCKED */
  async loginWith(pin: Uint8Array): Promise<void> {
    const attached = await this.attach();
    if (isOpen(attached)) return;
    attached.state = await this.#tryPin(attached, pin);
    this.#pinProblem = undefined;
    await this.#further.loginWith(pin);
  }

  /** @returns Whether it was logged in. */
  async logout(): Promise<boolean> {
    await this.#further.logout();
    const attached = this.#own;
    if (attached === undefined || !attached.state.loggedIn) return false;
    attached.state = { ...attached.state, loggedIn: false };
    const { value } = await attached.host.request({ op: 'logout' }, { parse: ANSWERS.state });
    attached.state = value;
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await Promise.all([this.#host?.[Symbol.asyncDispose](), this.#further[Symbol.asyncDispose]()]);
  }

  async #attach(): Promise<void> {
    if (this.#isClosed) throw new SignetError('UNAVAILABLE', `${this.name} is closed`);
    if (this.#failure !== undefined && this.#failure.until > performance.now()) throw this.#failure.error;
    try {
      const host = await this.#liveHost();
      const facts = await this.#findToken(host);
      const { slotId, serial, label } = facts;
      const { value: state } = await host.request({ op: 'attach', slotId, serial, label }, { parse: ANSWERS.state });
      const attached: AttachedToken = { host, facts, state };
      host.serve({
        requests: this.#requests,
        isOpen: () => isOpen(attached),
        loggedOut: () => {
          attached.state = { ...attached.state, loggedIn: false };
        },
      });
      this.#attached = attached;
      this.#failure = undefined;
    } catch (error) {
      this.#failure = { error, until: performance.now() + RETRY_AFTER_MS };
      throw error;
    }
    this.#options.onEvent(`token ${this.name} attached`);
    if (this.#options.pinFile !== undefined) await this.login().catch(() => undefined); // told by `pinProblem`
  }

  async #liveHost(): Promise<TokenHost> {
    if (this.#host?.isAlive) return this.#host;
    if (this.#host !== undefined) await this.#backOff();
    const { uri, operationTimeoutMs, env, entry } = this.#options;
    const host = new TokenHost({ name: this.name, operationTimeoutMs, env, entry });
    this.#host = host;
    this.#startedAt = performance.now();
    try {
      await host.request({ op: 'load', modulePath: uri.modulePath }, { parse: ANSWERS.none });
    } catch (error) {
      // Half-loaded is not a state to go on from.
      host.kill(error instanceof SignetError ? error : new SignetError('UNAVAILABLE', 'the module does not load'));
      throw error;
    }
    if (this.#isClosed) await host[Symbol.asyncDispose]();
    return host;
  }

  /** @throws {SignetError} UNAVAILABLE while a host that keeps ending is given time */
  async #backOff(): Promise<void> {
    const lived = performance.now() - this.#startedAt;
    this.#crashes = lived > HEALTHY_MS ? 1 : this.#crashes + 1;
    if (this.#crashes === 1) return;
    const wait = Math.min(FIRST_BACK_OFF_MS * 2 ** (this.#crashes - 2), MAX_BACK_OFF_MS) - lived;
    if (wait <= 0) return;
    this.#crashes--; // this was no start
    throw new SignetError('UNAVAILABLE', `the token host of ${this.name} ended ${this.#crashes} times in a row`, {
      hint: `it is started again in ${Math.ceil(wait)} ms`,
    });
  }

  async #findToken(host: TokenHost): Promise<TokenFacts> {
    for (const fresh of [false, true]) {
      const { value: tokens } = await host.request({ op: 'tokens', fresh }, { parse: ANSWERS.tokens });
      const [match, ...others] = tokens.filter((token) => matches(this.#options.uri, token));
      if (others.length > 0) {
        throw new SignetError('CONFIGURATION', `${others.length + 1} tokens match ${this.name}`, {
          hint: 'add token= or serial= to the URI',
        });
      }
      if (match !== undefined) return match;
    }
    throw new SignetError('TOKEN_NOT_PRESENT', `no token matches ${this.name}`, {
      hint: `plug it in, or list the tokens with: pkcs11-tool --module ${this.#options.uri.modulePath} -L`,
    });
  }

  async #loginFromFile(attached: AttachedToken): Promise<void> {
    try {
      const { pinFile } = this.#options;
      if (pinFile === undefined) {
        throw new SignetError('PIN_REQUIRED', `${this.name} needs its PIN`, {
          hint: 'unlock one of its keys, or add pin-source=file:… to the URI',
        });
      }
      const { value: state } = await attached.host.request({ op: 'state' }, { parse: ANSWERS.state });
      attached.state = state;
      if (isOpen(attached)) return;
      if ((state.flags & CKF_TOKEN.USER_PIN_FINAL_TRY) !== 0) {
        throw new SignetError('PIN_REQUIRED', `one PIN try is left on ${this.name}: it is not spent unattended`, {
          hint: 'unlock one of its keys by hand',
          retriesLeft: 1,
        });
      }
      const { pin, outcome } = await pinFile.read();
      try {
        attached.state = await this.#tryPin(attached, pin.bytes());
        outcome('accepted');
        this.#isFileAccepted = true;
        this.#further.tend();
      } catch (error) {
        const result = outcomeOf(error);
        if (result !== undefined) outcome(result);
        this.#isFileAccepted = false;
        throw error;
      } finally {
        pin.dispose();
      }
      this.#pinProblem = undefined;
    } catch (error) {
      if (error instanceof SignetError && isAboutPin(error)) this.#pinProblem = error;
      throw error;
    }
  }

  /** For further hosts, which must not be the first to try a PIN. */
  #readAcceptedPin(): ReturnType<PinFile['read']> {
    const { pinFile } = this.#options;
    if (pinFile !== undefined && this.#isFileAccepted) return pinFile.read();
    throw new SignetError('PIN_REQUIRED', `${this.name} has not taken its PIN yet`);
  }

  async #tryPin(attached: AttachedToken, pin: Uint8Array): Promise<TokenState> {
    if ((attached.state.flags & CKF_TOKEN.USER_PIN_LOCKED) !== 0) {
      throw new SignetError('PIN_LOCKED', `the PIN of ${this.name} is locked`, {
        hint: 'unblock it with the SO PIN or PUK',
        retriesLeft: 0,
      });
    }
    const { value } = await attached.host.request({ op: 'login' }, { parse: ANSWERS.state, blob: pin });
    return value;
  }
}

function isGone({ cancelled }: SignContext): boolean {
  return cancelled ?? false;
}

/** Whether private keys can be used now. */
export function isOpen({ state }: AttachedToken): boolean {
  return state.loggedIn || (state.flags & CKF_TOKEN.LOGIN_REQUIRED) === 0;
}

function isAboutPin(error: SignetError): boolean {
  return ['PIN_REQUIRED', 'PIN_INCORRECT', 'PIN_LOCKED', 'CONFIGURATION'].includes(error.code);
}

/** @returns Undefined if the PIN may or may not have been tried. */
function outcomeOf(error: unknown): 'refused' | 'not tried' | undefined {
  if (!(error instanceof SignetError)) return undefined;
  if (error.code === 'PIN_INCORRECT') return 'refused';
  return error.code === 'PIN_LOCKED' || error.code === 'OVERLOADED' ? 'not tried' : undefined;
}

function matches(uri: Pkcs11Uri, token: TokenFacts): boolean {
  const wanted: readonly (readonly [string | undefined, string])[] = [
    [uri.token, token.label],
    [uri.serial, token.serial],
    [uri.manufacturer, token.manufacturer],
    [uri.model, token.model],
    [uri.slotId?.toString(), token.slotId],
    [uri.slotDescription, token.slotDescription],
    [uri.slotManufacturer, token.slotManufacturer],
  ];
  if ((token.flags & CKF_TOKEN.TOKEN_INITIALIZED) === 0) return false;
  return wanted.every(([want, have]) => want === undefined || want === have);
}
