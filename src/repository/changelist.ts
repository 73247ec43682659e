/** What is staged and not published: `<trust>/tuf/<gun>/changelist`, one file a change, shared with the notary program. */
import { randomUUID } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import pLimit from 'p-limit';
import { createDirectory, createFileDurably, readBoundedFile, syncDirectory } from '../backends/durable-file.ts';
import { fromNodeError, SignetError } from '../errors.ts';
import type { Change } from '../tuf/change.ts';
import { changeFileName, encodeChange, MAX_CHANGE_BYTES, parseChange } from '../tuf/change-file.ts';

const NANOSECONDS_PER_MS = 1_000_000n;
/** Files that are read or removed side by side: thousands may be staged. */
const AT_ONCE = 32;

export interface StagedChange {
  /** Name of the file. */
  readonly file: string;
  readonly change: Change;
}

export class Changelist {
  readonly #directory: string;
  #last = 0n;

  /** @param directory Of the collection. */
  constructor(directory: string) {
    this.#directory = join(directory, 'changelist');
  }

  /** In the order in which they apply. @throws {SignetError} INVALID_ARGUMENT for a file that is no change, UNAVAILABLE */
  async read(): Promise<readonly StagedChange[]> {
    const limit = pLimit(AT_ONCE);
    const read = await Promise.all((await this.#files()).map((file) => limit(() => this.#read(file))));
    return read.filter((change) => change !== undefined);
  }

  /** @returns Undefined if another program published it meanwhile. */
  async #read(file: string): Promise<StagedChange | undefined> {
    const bytes = await readBoundedFile(join(this.#directory, file), MAX_CHANGE_BYTES);
    if (bytes === undefined) return undefined;
    try {
      return { file, change: parseChange(bytes) };
    } catch (error) {
      throw error instanceof SignetError ? this.#inFile(file, error) : error;
    }
  }

  /** Adds changes at the end. @throws {SignetError} INVALID_ARGUMENT for one that no file can hold, UNAVAILABLE */
  async add(changes: readonly Change[]): Promise<void> {
    const encoded = changes.map(encodeChange);
    try {
      await createDirectory(this.#directory, 0o700);
    } catch (error) {
      throw fromNodeError(error, `cannot make the directory ${this.#directory}`);
    }
    for (const bytes of encoded) {
      await createFileDurably(join(this.#directory, changeFileName(this.#next(), randomUUID())), bytes);
    }
  }

  /** Takes changes away; those of other programs that came meanwhile stay. @throws {SignetError} UNAVAILABLE */
  async remove(files: Iterable<string>): Promise<void> {
    const paths = [...files].map((file) => join(this.#directory, file));
    if (paths.length === 0) return;
    const limit = pLimit(AT_ONCE);
    const removeOne = async (path: string) => {
      await rm(path, { force: true }).catch((error: unknown) => {
        throw fromNodeError(error, `cannot remove ${path}`);
      });
    };
    await Promise.all(paths.map((path) => limit(removeOne, path)));
    await syncDirectory(this.#directory);
  }

  /** Everything, files that are no changes included. @throws {SignetError} UNAVAILABLE */
  async clear(): Promise<void> {
    await this.remove(await this.#files());
  }

  /** The folder too. @throws {SignetError} UNAVAILABLE */
  async removeAll(): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true }).catch((error: unknown) => {
      throw fromNodeError(error, `cannot remove ${this.#directory}`);
    });
  }

  async #files(): Promise<readonly string[]> {
    try {
      return (await readdir(this.#directory)).filter((name) => name.endsWith('.change')).sort();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw fromNodeError(error, `cannot read ${this.#directory}`);
    }
  }

  /** Later than every change that this process has staged. */
  #next(): bigint {
    const now = BigInt(Date.now()) * NANOSECONDS_PER_MS;
    this.#last = now > this.#last ? now : this.#last + 1n;
    return this.#last;
  }

  #inFile(file: string, { code, message, cause }: SignetError): SignetError {
    return new SignetError(code, `${join(this.#directory, file)}: ${message}`, {
      hint: 'remove it, or take back everything with signet reset --all',
      cause,
    });
  }
}
