/**
 * The operating system's keyring, where a person had a passphrase or PIN kept. Another process asks it, and only when
 * there may be something to find.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import type { TokenIdentity } from '../backends/token-facts.ts';
import type { KeyId } from '../crypto/key-id.ts';
import type { Secret } from '../crypto/secret.ts';
import { SignetError } from '../errors.ts';
import { LateAnswer } from './late-answer.ts';
import { askStore, type StoreAnswer, type StoreRequest } from './secret-store-process.ts';

/** After a failure, look-ups leave the store alone for so long, milliseconds. */
const PAUSE_MS = 30_000;

/** How long a token's opening waits for the store, milliseconds: others wait for that, and no person is asked meanwhile. */
const SOON_MS = 5000;
/** How long an answer that came too late is kept for the next look-up, milliseconds. */
const KEEP_LATE_MS = 60_000;

/** What is kept: the passphrase of a key, or the PIN of a token. */
export type SecretName = `passphrase:${KeyId}` | `pin:${string}`;

/** Serial number and label, as a URI (RFC 7512): tokens of some modules, NSS and tpm2-pkcs11, all have the serial number 0. */
export function pinName({ serial, label }: Pick<TokenIdentity, 'serial' | 'label'>): SecretName {
  return `pin:pkcs11:token=${encodeURIComponent(label)};serial=${encodeURIComponent(serial)}`;
}

type NamedRequest = StoreRequest & { readonly name: SecretName };

export interface SecretStoreOptions {
  /** The daemon's own. */
  readonly env: NodeJS.ProcessEnv;
  /** Failures of look-ups, which no caller is told. */
  readonly onProblem: (error: SignetError) => void;
  /** For tests, as `soonMs`. */
  readonly ask?: typeof askStore;
  readonly soonMs?: number;
}

export class SecretStore {
  readonly #options: SecretStoreOptions;
  /** Each is a process, and may wait for a person who unlocks the keyring: one at a time. */
  readonly #turns = pLimit(1);
  #pausedUntil = Number.NEGATIVE_INFINITY;
  /** Look-ups that somebody waits for, or whose answer came too late. */
  readonly #lookUps = new Map<SecretName, LateAnswer>();

  constructor(options: SecretStoreOptions) {
    this.#options = options;
  }

  /** What is kept under the name. The caller disposes of it. @returns Undefined also if there is no store to look in */
  async get(name: SecretName): Promise<Secret | undefined> {
    return (await this.#tryAsk({ verb: 'get', name }))?.secret;
  }

  /**
   * As `get`, but waits a few seconds at most. The look-up goes on, for a person may have to unlock the store: who asks next
   * has its answer.
   */
  async getSoon(name: SecretName): Promise<Secret | undefined> {
    return await (this.#lookUps.get(name) ?? this.#lookUp(name)).wait(this.#options.soonMs ?? SOON_MS);
  }

  /**
   * Keeps a secret, in the place of another of that name.
   *
   * @throws {SignetError} UNAVAILABLE if there is no store, or it is locked
   */
  async set(name: SecretName, secret: Secret): Promise<void> {
    this.#lookUps.get(name)?.discard();
    await this.#ask({ verb: 'set', name }, secret);
    this.#pausedUntil = Number.NEGATIVE_INFINITY;
  }

  /** @returns False if nothing was kept. @throws {SignetError} UNAVAILABLE */
  async delete(name: SecretName): Promise<boolean> {
    this.#lookUps.get(name)?.discard();
    return (await this.#ask({ verb: 'delete', name })).found;
  }

  /**
   * As `delete`, for a secret that was refused: a store that cannot be asked is reported, and no error. Waits a few seconds
   * at most.
   *
   * @returns Whether it is gone for certain.
   */
  async drop(name: SecretName): Promise<boolean> {
    this.#lookUps.get(name)?.discard();
    const dropped = this.#tryAsk({ verb: 'delete', name }).then((answer) => answer !== undefined);
    const ended = new AbortController();
    const late = sleep(this.#options.soonMs ?? SOON_MS, false, { signal: ended.signal }).catch(() => false);
    try {
      return await Promise.race([dropped, late]);
    } finally {
      ended.abort();
    }
  }

  /** Before a person is asked for a secret: is there a store at all? @throws {SignetError} UNAVAILABLE */
  async check(): Promise<void> {
    (await this.#ask({ verb: 'get', name: 'pin:' })).secret?.dispose();
  }

  #lookUp(name: SecretName): LateAnswer {
    const lookUp = new LateAnswer(this.get(name), {
      keepMs: KEEP_LATE_MS,
      onOver: () => {
        if (this.#lookUps.get(name) === lookUp) this.#lookUps.delete(name);
      },
    });
    this.#lookUps.set(name, lookUp);
    return lookUp;
  }

  /** @returns Undefined if the store cannot be asked, or could not a moment ago. */
  #tryAsk(request: NamedRequest): Promise<StoreAnswer | undefined> {
    return this.#turns(async () => {
      if (this.#absence() !== undefined || performance.now() < this.#pausedUntil) return undefined;
      try {
        return await this.#askNow(request);
      } catch (error) {
        this.#pausedUntil = performance.now() + PAUSE_MS;
        this.#options.onProblem(error as SignetError); // nothing else is thrown
        return undefined;
      }
    });
  }

  #ask(request: NamedRequest, secret?: Secret): Promise<StoreAnswer> {
    return this.#turns(async () => {
      const absence = this.#absence();
      if (absence !== undefined) throw absence;
      return await this.#askNow(request, secret);
    });
  }

  #askNow(request: StoreRequest, secret?: Secret): Promise<StoreAnswer> {
    const { env, ask = askStore } = this.#options;
    return ask(request, secret, { env });
  }

  /** Why there can be no store here, without touching the library: libdbus would try to start a bus. */
  #absence(): SignetError | undefined {
    if (process.platform !== 'linux') return undefined;
    const { DBUS_SESSION_BUS_ADDRESS: address, XDG_RUNTIME_DIR: runtime } = this.#options.env;
    if (address || (runtime && existsSync(join(runtime, 'bus')))) return undefined;
    return new SignetError(
      'UNAVAILABLE',
      "the system's keyring cannot be used: signetd runs outside of a D-Bus session",
      { hint: 'start signetd inside your session, or unlock by hand' },
    );
  }
}
