/** One trusted collection: where it is kept here, the server that publishes it, and what a first root is measured by. */
import { rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fromNodeError } from '../errors.ts';
import type { MaxExpiryDays } from '../tuf/max-expiry.ts';
import type { TrustPinning } from '../tuf/trust-pinning.ts';
import { MetadataCache } from './cache.ts';
import { Changelist } from './changelist.ts';
import { lockDirectory } from './collection-lock.ts';
import { checkGun, collectionDirectory } from './gun.ts';
import type { TrustServer } from './trust-server.ts';

/** What a person should know although the work goes on. */
export type Warn = (message: string) => void;

export interface CollectionOptions {
  readonly gun: string;
  /** Absolute. */
  readonly trustDir: string;
  readonly signal: AbortSignal;
  readonly warn: Warn;
}

/** A collection's folder. What is staged needs no server. */
export class LocalCollection {
  readonly gun: string;
  readonly cache: MetadataCache;
  readonly changelist: Changelist;
  readonly warn: Warn;
  readonly signal: AbortSignal;
  readonly #directory: string;
  readonly #trustDir: string;

  /** @throws {SignetError} INVALID_ARGUMENT for a GUN that is none */
  constructor({ gun, trustDir, signal, warn }: CollectionOptions) {
    this.gun = checkGun(gun);
    this.#trustDir = trustDir;
    this.#directory = collectionDirectory(trustDir, gun);
    this.cache = new MetadataCache(this.#directory);
    this.changelist = new Changelist(this.#directory);
    this.signal = signal;
    this.warn = warn;
  }

  /**
   * Waits until no other program of ours changes the collection. Folders that are empty at the end go.
   *
   * @throws {SignetError} UNAVAILABLE, CANCELLED
   */
  async lock(): Promise<AsyncDisposable> {
    const onWait = (pid: number) => this.warn(`waiting for process ${pid}, which is changing ${this.gun}`);
    const lock = await lockDirectory(this.#directory, { signal: this.signal, onWait });
    return {
      [Symbol.asyncDispose]: async () => {
        await lock[Symbol.asyncDispose]();
        await this.#removeEmptyFolders();
      },
    };
  }

  /** Metadata and what is staged; collections whose names begin with this one's stay. Keys are never touched. */
  async removeAll(): Promise<void> {
    await using _ = await this.lock();
    await this.cache.removeAll();
    await this.changelist.removeAll();
  }

  async #removeEmptyFolders(): Promise<void> {
    const top = join(this.#trustDir, 'tuf');
    for (let directory = this.#directory; directory !== top; directory = dirname(directory)) {
      if (!(await removeEmpty(directory))) return;
    }
  }
}

/** @returns False if something is in it. */
async function removeEmpty(directory: string): Promise<boolean> {
  try {
    await rmdir(directory);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOENT') return false;
    throw fromNodeError(error, `cannot remove ${directory}`);
  }
}

/** A collection together with its server. */
export interface Collection {
  readonly local: LocalCollection;
  readonly server: TrustServer;
  readonly pinning: TrustPinning;
  /** Nothing that expires later is signed or published for the first time. */
  readonly maxExpiryDays: MaxExpiryDays;
  /** When the work began: everything is judged at that instant. */
  readonly now: Date;
}
