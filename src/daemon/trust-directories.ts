/**
 * Trust directories that the agent's own user names for a call (`signet -d DIR`): each is opened once, kept while it is in
 * use, and closed when it has been idle.
 */
import { lstat, realpath } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';
import type { Metadata } from '@grpc/grpc-js';
import type { KeyBackend } from '../backends/backend.ts';
import { SingleFlight } from '../backends/single-flight.ts';
import type { KeyId } from '../crypto/key-id.ts';
import { fromNodeError, SignetError } from '../errors.ts';
import { Keyring } from '../keyring/keyring.ts';
import type { Placement } from '../keyring/placement.ts';

const TRUST_DIR_KEY = 'signet-trust-dir-bin';
/** PATH_MAX, linux/limits.h. */
const MAX_PATH_BYTES = 4096;
/** Open at once; the one that was used least recently gives way. */
const MAX_OPEN = 16;
const IDLE_MS = 10 * 60_000;

export interface TrustDirectoriesOptions {
  /** The keyring of calls that name no directory: its tokens belong to every call. */
  readonly keyring: Keyring;
  readonly placement: Placement;
  /** Who is at the other end of a connection; undefined where the system does not tell. */
  readonly uidOf: (peer: string) => number | undefined;
  /** @param path The `private` directory. */
  readonly open: (path: string) => Promise<KeyBackend>;
}

/** A keyring that is not closed before it is given back. */
export interface Lease extends Disposable {
  readonly keyring: Keyring;
}

interface OpenDirectory {
  readonly keyring: Keyring;
  readonly backend: KeyBackend;
  users: number;
  /** performance.now() */
  usedAt: number;
}

export class TrustDirectories implements AsyncDisposable {
  readonly #options: TrustDirectoriesOptions;
  /** By path of the `private` directory, in the order of use. */
  readonly #open = new Map<string, OpenDirectory>();
  readonly #opening = new SingleFlight<string, void>();
  readonly #sweeper: NodeJS.Timeout;

  constructor(options: TrustDirectoriesOptions) {
    this.#options = options;
    this.#sweeper = setInterval(() => void this.#sweep(), IDLE_MS / 4).unref();
  }

  /**
   * The keyring that a call works on.
   *
   * @throws {SignetError} INVALID_ARGUMENT for a path that is not absolute or no directory, CONFIGURATION for a directory
   *   that others could have put keys into, PERMISSION_DENIED for other users, OVERLOADED, UNAVAILABLE
   */
  async lease({ metadata, peer }: { readonly metadata: Metadata; readonly peer: string }): Promise<Lease> {
    const directory = directoryOf(metadata);
    if (directory === undefined) return borrowed(this.#options.keyring);
    const uid = this.#options.uidOf(peer);
    if (uid !== undefined && uid !== process.getuid?.()) {
      throw new SignetError('PERMISSION_DENIED', "only the daemon's own user may name a trust directory");
    }
    const path = await checked(directory);
    if (await this.#isStorage(path)) return borrowed(this.#options.keyring);
    let open = this.#open.get(path);
    // Again, if it was closed to make room before it could be used.
    for (; open === undefined; open = this.#open.get(path)) {
      await this.#opening.run(path, () => this.#openDirectory(path));
    }
    const lent = open;
    lent.users++;
    return {
      keyring: lent.keyring,
      [Symbol.dispose]: () => {
        lent.users--;
        lent.usedAt = performance.now();
        if (this.#open.delete(path)) this.#open.set(path, lent);
      },
    };
  }

  /** Closes one key, or all, in every open directory. @returns How many were open. */
  async lock(keyId: KeyId | undefined): Promise<number> {
    let locked = 0;
    for (const { backend } of this.#open.values()) locked += (await backend.unlocker?.lock(keyId)) ?? 0;
    return locked;
  }

  /** How many keys of such directories are open in memory. */
  async unlockedCount(): Promise<number> {
    let count = 0;
    for (const { backend } of this.#open.values()) count += (await backend.unlocker?.unlockedCount()) ?? 0;
    return count;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#sweeper);
    for (const { backend } of this.#open.values()) await backend[Symbol.asyncDispose]();
    this.#open.clear();
  }

  /** The configured directory named once more: its keys may be unlocked already. */
  async #isStorage(path: string): Promise<boolean> {
    const { storage } = this.#options.keyring;
    return storage.name === 'file' && (await realpath(storage.location).catch(() => storage.location)) === path;
  }

  async #openDirectory(path: string): Promise<void> {
    await this.#makeRoom();
    const { keyring, placement, open } = this.#options;
    const backend = await open(path);
    const tokens = keyring.backends.filter((home) => home !== keyring.storage);
    this.#open.set(path, {
      keyring: new Keyring({
        backends: [...tokens, backend],
        storage: backend,
        placement: inPlaceOf(keyring.storage.name, placement),
      }),
      backend,
      users: 0,
      usedAt: performance.now(),
    });
  }

  async #makeRoom(): Promise<void> {
    if (this.#open.size < MAX_OPEN) return;
    const idle = [...this.#open].find(([, { users }]) => users === 0);
    if (idle === undefined) throw new SignetError('OVERLOADED', `${MAX_OPEN} trust directories are in use`);
    await this.#close(...idle);
  }

  async #sweep(): Promise<void> {
    const before = performance.now() - IDLE_MS;
    for (const [path, open] of this.#open) if (open.users === 0 && open.usedAt < before) await this.#close(path, open);
  }

  async #close(path: string, { backend }: OpenDirectory): Promise<void> {
    this.#open.delete(path);
    await backend[Symbol.asyncDispose]();
  }
}

function borrowed(keyring: Keyring): Lease {
  return { keyring, [Symbol.dispose]: () => undefined };
}

/** A rule that names the storage's kind means the storage, and here that is the directory. */
function inPlaceOf(storage: string, placement: Placement): Placement {
  const replaced = (names: readonly string[]) => names.map((name) => (name === storage ? 'storage' : name));
  return new Map([...placement].map(([role, names]) => [role, replaced(names)]));
}

function directoryOf(metadata: Metadata): string | undefined {
  const [bytes, ...others] = metadata.get(TRUST_DIR_KEY);
  if (bytes === undefined) return undefined;
  const refusal = (problem: string) =>
    new SignetError('INVALID_ARGUMENT', `the trust directory ${problem}`, { hint: 'name one absolute path' });
  if (others.length > 0) throw refusal('is named twice');
  if (bytes.length > MAX_PATH_BYTES) throw refusal(`has a path of more than ${MAX_PATH_BYTES} bytes`);
  const path = typeof bytes === 'string' ? bytes : bytes.toString();
  // A path that is no UTF-8 comes out of `toString` with replacement characters.
  if (!Buffer.from(path).equals(Buffer.from(bytes)) || /\p{Cc}/u.test(path))
    throw refusal('has a path that is no text');
  if (!isAbsolute(path)) throw refusal('is not an absolute path');
  return resolve(path);
}

/** @returns The `private` directory, which may be missing; by its real path, so that each has one name. */
async function checked(directory: string): Promise<string> {
  if (!(await isOwnDirectory(directory))) return join(directory, 'private');
  const path = join(await realpath(directory), 'private');
  await isOwnDirectory(path);
  return path;
}

/** @returns False if there is nothing. */
async function isOwnDirectory(path: string): Promise<boolean> {
  const stats = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw fromNodeError(error, `cannot use the trust directory ${path}`);
  });
  if (stats === undefined) return false;
  if (stats.isSymbolicLink()) {
    throw new SignetError('INVALID_ARGUMENT', `the trust directory ${path} is a symbolic link`, {
      hint: `name the directory itself: ${await realpath(path).catch(() => 'it does not exist')}`,
    });
  }
  if (!stats.isDirectory()) throw new SignetError('INVALID_ARGUMENT', `the trust directory ${path} is not a directory`);
  if (stats.uid !== process.getuid?.()) {
    throw new SignetError('CONFIGURATION', `the trust directory ${path} belongs to another user (uid ${stats.uid})`, {
      hint: 'name a directory of your own',
    });
  }
  if ((stats.mode & 0o022) !== 0) {
    throw new SignetError('CONFIGURATION', `the trust directory ${path} can be written to by others`, {
      hint: `run: chmod go-w ${path}`,
    });
  }
  return true;
}
