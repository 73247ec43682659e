/** The metadata of a collection as it was last seen or made: `<trust>/tuf/<gun>/metadata`, shared with other clients. */
import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  createDirectory,
  readBoundedFile,
  removeAbandonedFiles,
  removeFileDurably,
  replaceFilesDurably,
} from '../backends/durable-file.ts';
import { fromNodeError, SignetError } from '../errors.ts';
import { MAX_METADATA_BYTES } from '../tuf/metadata.ts';
import type { RoleName } from '../tuf/roles.ts';

/** The order in which new files become visible: what is named before what names it. */
const LAST: readonly RoleName[] = ['targets', 'snapshot', 'timestamp', 'root'];

export class MetadataCache {
  readonly #directory: string;

  /** @param directory Of the collection. */
  constructor(directory: string) {
    this.#directory = join(directory, 'metadata');
  }

  /** @returns Undefined if there is none. @throws {SignetError} METADATA_REJECTED if it is too large, UNAVAILABLE */
  async read(role: RoleName): Promise<Buffer | undefined> {
    try {
      return await readBoundedFile(this.#path(role), MAX_METADATA_BYTES);
    } catch (error) {
      if (!(error instanceof SignetError) || error.code !== 'INTEGRITY') throw error;
      throw new SignetError('METADATA_REJECTED', error.message, { cause: error });
    }
  }

  /** Writes all files or, if one cannot be written, none. The collection is locked. @throws {SignetError} UNAVAILABLE */
  async write(files: ReadonlyMap<RoleName, Uint8Array>): Promise<void> {
    const ordered = [...files].sort(([a], [b]) => LAST.indexOf(a) - LAST.indexOf(b));
    const byPath = new Map(ordered.map(([role, bytes]) => [this.#path(role), bytes]));
    for (const directory of new Set([...byPath.keys()].map(dirname))) {
      try {
        await createDirectory(directory, 0o700);
        await removeAbandonedFiles(directory);
      } catch (error) {
        throw fromNodeError(error, `cannot write into ${directory}`);
      }
    }
    await replaceFilesDurably(byPath);
  }

  /** Roles that are no more. */
  async forget(roles: Iterable<RoleName>): Promise<void> {
    for (const role of roles) await removeFileDurably(this.#path(role));
  }

  /** @throws {SignetError} UNAVAILABLE */
  async removeAll(): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true }).catch((error: unknown) => {
      throw fromNodeError(error, `cannot remove ${this.#directory}`);
    });
  }

  #path(role: RoleName): string {
    return join(this.#directory, `${role}.json`);
  }
}
