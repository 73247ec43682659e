/**
 * Keys on one PKCS#11 token. The module runs in a process of its own (token-host.ts); what comes out of it is checked here:
 * every signature is verified with the public key before it leaves.
 *
 * A backend for one kind of device is this one with a profile (profile.ts) and hooks (hooks.ts).
 */
import pLimit from 'p-limit';
import type { KeyId } from '../../crypto/key-id.ts';
import type { PublicKey } from '../../crypto/public-key.ts';
import type { Secret } from '../../crypto/secret.ts';
import type { SignInput } from '../../crypto/sign-input.ts';
import { SignetError } from '../../errors.ts';
import type {
  BackendHealth,
  KeyBackend,
  KeyCertifier,
  KeyGenerator,
  KeyImporter,
  KeyInfo,
  KeyRelabeller,
  KeyRemover,
  KeyUnlocker,
  SignContext,
  TokenManager,
} from '../backend.ts';
import { throwIfCancelled, unlessAborted } from '../cancellation.ts';
import { LATE, orLate } from '../deadline.ts';
import { type BoundContext, boundTo, requireSameToken } from '../same-token.ts';
import { readPrivateSecret } from '../secret-file.ts';
import type { WhichToken } from '../token-facts.ts';
import type { TokenHooks } from './hooks.ts';
import { ANSWERS, type HostRequest } from './host-protocol.ts';
import { IdleTimer } from './idle-timer.ts';
import { KeyIndex, type KeyRecord } from './key-index.ts';
import { KeyWriter } from './key-writer.ts';
import { settle } from './pin-outcome.ts';
import { isValidSignature, type PreparedInput, prepareInput } from './signing.ts';
import { type AttachedToken, TokenConnection, type TokenConnectionOptions } from './token-connection.ts';
import { TokenLogin, type TokenLoginOptions } from './token-login.ts';
import { Pkcs11TokenManager } from './token-manager.ts';

export interface Pkcs11Options
  extends Omit<TokenConnectionOptions, 'onAttached' | 'loginAt' | 'requests'>,
    Omit<TokenLoginOptions, 'backendName' | 'retryCounters' | 'onOpened'> {
  /** `pkcs11` unless it is a backend for one kind of device. */
  readonly backendName?: string | undefined;
  readonly hooks?: TokenHooks | undefined;
  /** How long after its last use the device is let go of, milliseconds; undefined: never. */
  readonly idleReleaseMs?: number | undefined;
  /** How long `open` waits for a token that does not answer, milliseconds; undefined: as long as its operations may take. */
  readonly openTimeoutMs?: number | undefined;
  /** Key objects that are left out of a listing, and why. */
  readonly onUnreadable: (what: string, error: SignetError) => void;
}

/** After so long a health check answers with what is known, milliseconds. */
const HEALTH_PATIENCE_MS = 1000;

export class Pkcs11Backend implements KeyBackend {
  readonly name: string;
  readonly token: TokenManager;
  /** For backends that are built on this one. */
  readonly connection: TokenConnection;
  readonly login: TokenLogin;
  readonly #index: KeyIndex;
  readonly #writer: KeyWriter;
  readonly #idle: IdleTimer;
  /** Signatures that need the PIN each: one at a time, so that a wrong one is tried once, whoever waits. */
  readonly #pinTurn = pLimit(1);
  #relock: NodeJS.Timeout | undefined;

  /** A PIN opens and closes all keys of the token. */
  readonly unlocker: KeyUnlocker = {
    unlock: async (keyId, pin, ttlMs, began) => {
      const { token } = await this.#record(keyId);
      requireSameToken(began, token);
      await this.#use();
      await this.login.loginWith(token, pin);
      clearTimeout(this.#relock);
      if (ttlMs !== undefined) {
        this.#relock = setTimeout(() => void this.login.logout().catch(() => undefined), ttlMs).unref();
      }
    },
    lock: async (keyId) => {
      if (keyId !== undefined && this.#index.get(keyId) === undefined) return 0;
      clearTimeout(this.#relock);
      return (await this.login.logout()) ? this.#index.size : 0;
    },
    unlockedCount: async () => (this.connection.attached?.state.loggedIn ? this.#index.size : 0),
  };

  private constructor(options: Pkcs11Options) {
    const { hooks = {}, backendName = 'pkcs11' } = options;
    this.name = backendName;
    this.connection = new TokenConnection({
      ...options,
      mechanismsOf: hooks.mechanismsOf,
      loginAt: (...args) => this.login.loginAt(...args),
      onAttached: async (attached) => {
        this.#idle.restart();
        await this.login.loginAtAttachment(attached);
      },
    });
    this.login = new TokenLogin(this.connection, {
      ...options,
      backendName,
      retryCounters: hooks.retryCounters?.bind(hooks),
      onOpened: () => this.#idle.restart(),
    });
    this.token = new Pkcs11TokenManager(this.connection, this.login, backendName);
    const { onUnreadable } = options;
    this.#index = new KeyIndex(this.connection, {
      onUnreadable,
      ...(hooks.prepare && { prepare: hooks.prepare }),
      ...(hooks.describe && { describe: hooks.describe }),
    });
    this.#idle = new IdleTimer(options.idleReleaseMs, () => this.#releaseIfIdle());
    this.#writer = new KeyWriter({
      connection: this.connection,
      login: this.login,
      index: this.#index,
      hooks,
      attach: (token) => this.#use(token),
    });
  }

  /**
   * A token that is not there is no failure: it may be plugged in later, and `health()` tells. Nor is one that does not answer
   * in time: it is waited for further, by itself.
   *
   * @throws {SignetError} CONFIGURATION if the module cannot be loaded, several tokens match, or the PIN file cannot be read
   */
  static async open(options: Pkcs11Options): Promise<Pkcs11Backend> {
    // A PIN file that nobody can use is a mistake to tell now, whether the token is there or not.
    if (options.pinFile !== undefined) (await readPrivateSecret(options.pinFile, 'pin-source')).dispose();
    const backend = new Pkcs11Backend(options);
    const { onEvent, openTimeoutMs } = options;
    const tellNotYet = (error: SignetError) => onEvent(`token ${backend.location} cannot be used yet`, error);
    const reading = backend.#index.refresh();
    try {
      const read = await (openTimeoutMs === undefined ? reading : orLate(reading, openTimeoutMs));
      if (read === LATE) tellNotYet(new SignetError('UNAVAILABLE', `${backend.location} does not answer`));
    } catch (error) {
      if (!(error instanceof SignetError) || error.code === 'CONFIGURATION') {
        await backend[Symbol.asyncDispose]();
        throw error;
      }
      tellNotYet(error);
    }
    return backend;
  }

  get location(): string {
    return this.connection.name;
  }

  /** The token host's process, for operators and tests; undefined while there is none. */
  get hostPid(): number | undefined {
    return this.connection.attached?.host.pid;
  }

  /** Reads all keys of the token anew. @throws {SignetError} TOKEN_NOT_PRESENT, UNAVAILABLE */
  async refresh(): Promise<void> {
    await this.#use();
    await this.#index.refresh();
  }

  /**
   * Notices whether the token is there and which keys it has. Takes nothing back from other programs, disturbs no operation.
   *
   * @throws {SignetError} TOKEN_NOT_PRESENT, UNAVAILABLE
   */
  async look(): Promise<void> {
    const { attached, isBusy, isReleased } = this.connection;
    if (isReleased || (attached !== undefined && isBusy)) return;
    try {
      await this.#index.refreshIfDue();
    } catch (error) {
      this.#forgetIfGone(error);
      throw error;
    }
  }

  get generator(): KeyGenerator {
    return this.#writer.generator;
  }

  get remover(): KeyRemover | undefined {
    return this.connection.last?.profile.removesKeys === false ? undefined : this.#writer.remover;
  }

  get importer(): KeyImporter | undefined {
    return this.connection.last?.profile.imports.length === 0 ? undefined : this.#writer.importer;
  }

  get relabeller(): KeyRelabeller | undefined {
    return this.connection.last?.profile.keepsLabels === false ? undefined : this.#writer.relabeller;
  }

  get certifier(): KeyCertifier | undefined {
    return this.connection.last?.profile.storesCertificates === false ? undefined : this.#writer.certifier;
  }

  async health(): Promise<BackendHealth> {
    const { attached, isReleased } = this.connection;
    // A token at work is not asked again: its deadline finds out if it hangs. One that was let go of is not taken back.
    if ((attached !== undefined && this.connection.isBusy) || isReleased) return this.#pinHealth();
    try {
      const looked = await orLate(this.#check(), HEALTH_PATIENCE_MS);
      // One that is attached may be slow, or the machine busy: if it hangs, its deadline finds out, as with one at work.
      if (looked !== LATE || this.connection.attached !== undefined) return this.#pinHealth();
      return { ready: false, reason: `${this.location} did not answer within ${HEALTH_PATIENCE_MS} ms` };
    } catch (error) {
      return { ready: false, reason: error instanceof Error ? error.message : 'unknown' };
    }
  }

  async *list(): AsyncIterable<KeyInfo> {
    await this.#use();
    await this.#index.refresh();
    for (const { info } of this.#index.values()) yield info;
  }

  async count(): Promise<number> {
    if (!this.connection.isReleased) await this.#index.refreshIfDue();
    return this.#index.size;
  }

  async find(keyId: KeyId): Promise<KeyInfo | undefined> {
    return (await this.#index.find(keyId))?.info;
  }

  async publicKey(keyId: KeyId): Promise<PublicKey> {
    return (await this.#record(keyId)).publicKey;
  }

  async sign(keyId: KeyId, input: SignInput, call: SignContext): Promise<Uint8Array> {
    throwIfCancelled(call);
    const { info, publicKey, token } = await this.#record(keyId);
    const prepared = prepareInput(publicKey, input); // what cannot be signed costs no PIN
    this.#checkLength(prepared);
    const context = boundTo(token, call);
    await this.#use();
    using given = await this.login.login(context, info).catch((error: unknown) => {
      this.#forgetIfGone(error);
      throw error;
    });
    const record = await this.#recordAfterLogin(keyId);
    const signature = record.alwaysAuthenticate
      ? await unlessAborted(
          this.#pinTurn(() => this.#signWithPin(record, prepared, context, given)),
          context.signal,
        )
      : await this.#signLoggedIn(record, prepared, context);
    if (await isValidSignature(record, input, signature)) return signature;
    this.#index.expire();
    throw new SignetError('INTEGRITY', `${this.location} answered a signature that is not by key ${keyId}`, {
      hint: 'the CKA_ID of its private key belongs to another key, or the token is faulty',
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#relock);
    this.#idle.stop();
    this.login.forget();
    await this.connection[Symbol.asyncDispose]();
  }

  /** @throws {SignetError} INVALID_ARGUMENT */
  #checkLength({ scheme, data }: PreparedInput): void {
    const max = this.connection.last?.profile.maxMessageBytes;
    if (scheme !== 'eddsa' || max === undefined || data.byteLength <= max) return;
    throw new SignetError('INVALID_ARGUMENT', `Ed25519 keys on ${this.location} sign at most ${max} bytes`);
  }

  /** Once more after another login, if the one that was there has ended: other programs can end it. */
  async #signLoggedIn(record: KeyRecord, input: PreparedInput, context: BoundContext): Promise<Uint8Array> {
    try {
      return await this.#signOnToken(record, input, context, undefined);
    } catch (error) {
      if (!isPinRequired(error)) throw error;
      (await this.login.login(context, record.info))?.dispose();
      return await this.#signOnToken(record, input, context, undefined);
    }
  }

  /** One at a time: the PIN is there when the signature begins, and its outcome known before the next one. */
  async #signWithPin(
    record: KeyRecord,
    input: PreparedInput,
    context: BoundContext,
    given: Secret | undefined,
    isAgain = false,
  ): Promise<Uint8Array> {
    throwIfCancelled(context);
    const { pin, outcome } = await this.login.pinForOperation(context, record.info, given);
    try {
      const signature = await this.#signOnToken(record, input, context, pin);
      await outcome.accepted();
      return signature;
    } catch (error) {
      await settle(outcome, error);
      if (isAgain || !isPinRequired(error)) throw error;
    } finally {
      pin.dispose();
    }
    // Something else had ended the login, and nothing is said against the PIN.
    using renewed = await this.login.login(context, record.info);
    return await this.#signWithPin(record, input, context, renewed ?? given, true);
  }

  async #signOnToken(record: KeyRecord, input: PreparedInput, context: BoundContext, pin: Secret | undefined) {
    throwIfCancelled(context);
    const { interaction } = context;
    const { ckaId, info } = record;
    const { scheme, data } = input;
    const pinBytes = pin?.bytes() ?? new Uint8Array(0);
    const blob = Buffer.alloc(pinBytes.byteLength + data.byteLength);
    blob.set(pinBytes);
    blob.set(data, pinBytes.byteLength);
    const { keyId } = info;
    const isTouchless = info.device?.touchPolicy === 'never';
    const isPinless = record.alwaysAuthenticate === false;
    const wants = { pinBytes: pinBytes.byteLength, isTouchless, isPinless };
    const request: HostRequest = { op: 'sign', keyId, ckaId, scheme, ...wants };
    let touchNotice: Disposable | undefined;
    const onStart = () => {
      if (info.needs.touch) touchNotice = interaction?.touch({ backend: this.name, ...context.token }, info);
      context.onStart?.();
    };
    try {
      // With a PIN the outcome must not get lost: whether it was wrong.
      const options = { parse: ANSWERS.none, blob, onStart, isChange: pin !== undefined };
      const answer = await this.connection.request(context, request, options);
      return answer.blob;
    } catch (error) {
      this.#noteFailure(keyId, error);
      throw error;
    } finally {
      touchNotice?.[Symbol.dispose]();
      blob.fill(0, 0, pinBytes.byteLength);
    }
  }

  /** Attaches the token, and begins the time after which it is let go of anew. @param began As `TokenConnection.attach` */
  async #use(began?: WhichToken): Promise<AttachedToken> {
    this.#idle.restart();
    return await this.connection.attach(began);
  }

  async #releaseIfIdle(): Promise<boolean> {
    const { attached } = this.connection;
    if (attached !== undefined && (this.connection.isBusy || this.login.isBusy)) return false;
    if (attached !== undefined) {
      this.login.forget(); // from here on nobody sees whether the token is taken out
      await this.connection.release(); // otherwise the next attachment begins the time anew
    }
    return true;
  }

  async #check(): Promise<void> {
    await this.look();
    // The file may have been corrected; a PIN that was refused is not tried (pin-memory.ts).
    if (this.login.pinProblem !== undefined) await this.login.login(undefined).catch(() => undefined);
  }

  #pinHealth(): BackendHealth {
    const { problem } = this.login;
    return problem === undefined ? { ready: true } : { ready: false, reason: problem.message };
  }

  async #record(keyId: KeyId): Promise<KeyRecord> {
    return await this.#index.require(keyId);
  }

  /** Private halves, and what they want, are seen after a login only. */
  async #recordAfterLogin(keyId: KeyId): Promise<KeyRecord> {
    const record = await this.#record(keyId);
    if (record.alwaysAuthenticate !== undefined) return record;
    await this.#index.refreshIfChanged();
    return await this.#record(keyId);
  }

  /** The PIN that a person gave goes with the token. */
  #forgetIfGone(error: unknown): void {
    if (error instanceof SignetError && error.code === 'TOKEN_NOT_PRESENT') this.login.forget();
  }

  #noteFailure(keyId: KeyId, error: unknown): void {
    if (!(error instanceof SignetError)) return;
    if (error.code === 'KEY_NOT_FOUND') this.#index.delete(keyId);
    this.#forgetIfGone(error);
  }
}

function isPinRequired(error: unknown): boolean {
  return error instanceof SignetError && error.code === 'PIN_REQUIRED';
}
