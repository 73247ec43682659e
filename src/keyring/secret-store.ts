/**
 * The operating system's keyring, where a person had a passphrase or PIN kept. The only file that imports
 * `@napi-rs/keyring`, and only when there may be something to find.
 *
 * On Linux that is the Secret Service and nothing else: left to itself the library falls back to the kernel's keyutils,
 * which any process of the session can read and which forgets at logout.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { AsyncEntry } from '@napi-rs/keyring';
import pLimit from 'p-limit';
import type { TokenIdentity } from '../backends/backend.ts';
import { formatPkcs11Uri } from '../backends/pkcs11/uri.ts';
import type { KeyId } from '../crypto/key-id.ts';
import { Secret } from '../crypto/secret.ts';
import { SignetError } from '../errors.ts';

const SERVICE = 'signet';
/** A person may have to unlock the keyring first; milliseconds. */
const TIMEOUT_MS = 60_000;
/** After a failure, look-ups leave the store alone for so long, milliseconds. */
const PAUSE_MS = 30_000;

/** What is kept: the passphrase of a key, or the PIN of a token. */
export type SecretName = `passphrase:${KeyId}` | `pin:${string}`;

/** Serial number and label, as a URI (RFC 7512): tokens of some modules, NSS and tpm2-pkcs11, all have the serial number 0. */
export function pinName({ serial, label }: Pick<TokenIdentity, 'serial' | 'label'>): SecretName {
  return `pin:${formatPkcs11Uri({ token: label, serial })}`;
}

type Keyring = typeof import('@napi-rs/keyring');

export interface SecretStoreOptions {
  /** The daemon's own: the library reads the same variables. */
  readonly env: NodeJS.ProcessEnv;
  /** Failures of look-ups, which no caller is told. */
  readonly onProblem: (error: SignetError) => void;
  /** For tests. */
  readonly load?: () => Promise<Keyring>;
}

export class SecretStore {
  readonly #options: SecretStoreOptions;
  /** Each operation holds a thread of Node's pool while a person unlocks the keyring: one at a time. */
  readonly #turns = pLimit(1);
  #pausedUntil = Number.NEGATIVE_INFINITY;

  constructor(options: SecretStoreOptions) {
    this.#options = options;
  }

  /** What is kept under the name. The caller disposes of it. @returns Undefined also if there is no store to look in */
  async get(name: SecretName): Promise<Secret | undefined> {
    return this.#quietly(async () => {
      const bytes = await this.#use(name, (entry) => entry.getSecret());
      if (bytes === null) return undefined;
      const secret = new Secret(Uint8Array.from(bytes));
      bytes.fill(0);
      return secret;
    });
  }

  /**
   * Keeps a secret, in the place of another of that name.
   *
   * @throws {SignetError} UNAVAILABLE if there is no store, or it is locked
   */
  async set(name: SecretName, secret: Secret): Promise<void> {
    await this.#use(name, (entry) => entry.setSecret(secret.bytes()));
    this.#pausedUntil = Number.NEGATIVE_INFINITY;
  }

  /** @returns False if nothing was kept. @throws {SignetError} UNAVAILABLE */
  delete(name: SecretName): Promise<boolean> {
    return this.#use(name, (entry) => entry.deleteCredential());
  }

  /**
   * As `delete`, for a secret that was refused: a store that cannot be asked is reported, and no error.
   *
   * @returns Whether it is gone for certain.
   */
  async drop(name: SecretName): Promise<boolean> {
    return (await this.#quietly(() => this.delete(name))) !== undefined;
  }

  /** Before a person is asked for a secret: is there a store at all? @throws {SignetError} UNAVAILABLE */
  async check(): Promise<void> {
    await this.#use('pin:', (entry) => entry.getSecret());
  }

  async #quietly<Result>(work: () => Promise<Result>): Promise<Result | undefined> {
    if (this.#absence() !== undefined || performance.now() < this.#pausedUntil) return undefined;
    try {
      return await work();
    } catch (error) {
      this.#pausedUntil = performance.now() + PAUSE_MS;
      this.#options.onProblem(unusable(error));
      return undefined;
    }
  }

  #use<Result>(name: SecretName, work: (entry: AsyncEntry) => Promise<Result>): Promise<Result> {
    return this.#turns(async () => {
      const absence = this.#absence();
      if (absence !== undefined) throw absence;
      try {
        const { AsyncEntry } = await (this.#options.load ?? (() => import('@napi-rs/keyring')))();
        // Connects to D-Bus, or throws.
        const entry = new AsyncEntry(SERVICE, name, { linux: { store: 'secret-service' } });
        return await withTimeout(work(entry));
      } catch (error) {
        throw unusable(error);
      }
    });
  }

  /** Why there can be no store here, without touching the library: libdbus would try to start a bus. */
  #absence(): SignetError | undefined {
    if (process.platform !== 'linux') return undefined;
    const { DBUS_SESSION_BUS_ADDRESS: address, XDG_RUNTIME_DIR: runtime } = this.#options.env;
    if (address || (runtime && existsSync(join(runtime, 'bus')))) return undefined;
    return new SignetError(
      'UNAVAILABLE',
      "the system's keyring cannot be used: signetd runs outside of a D-Bus session",
      {
        hint: 'start signetd inside your session, or unlock by hand',
      },
    );
  }
}

function unusable(error: unknown): SignetError {
  if (error instanceof SignetError) return error;
  return new SignetError('UNAVAILABLE', "the system's keyring cannot be used: no unlocked Secret Service answers", {
    hint: 'start one, such as gnome-keyring, and unlock it; or unlock keys by hand',
    cause: error,
  });
}

async function withTimeout<Result>(work: Promise<Result>): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(
        new SignetError('UNAVAILABLE', "the system's keyring did not answer", { hint: 'unlock it, then try again' }),
      );
    }, TIMEOUT_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
