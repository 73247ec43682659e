/** The stages of one restore: one beside the keys and, once a file of `tuf` comes, one there: it may be another volume. */
import { rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fromNodeError } from '../../errors.ts';
import { createDirectory } from '../durable-file.ts';
import { statsOf } from './key-directory.ts';
import { Stage } from './stage.ts';

interface StagedFile {
  /** Undefined: a file of `tuf`. */
  readonly keyId: string | undefined;
  readonly number: number;
}

export class Stages implements AsyncDisposable {
  readonly #keys: Stage;
  readonly #tufDirectory: string | undefined;
  #tuf: Stage | undefined;
  #madeTuf = false;

  private constructor(keys: Stage, tufDirectory: string | undefined) {
    this.#keys = keys;
    this.#tufDirectory = tufDirectory;
  }

  /**
   * @param tufDirectory Made when the first of its files comes; undefined: those are only checked, since there is no place
   *   for them.
   * @throws {SignetError} UNAVAILABLE
   */
  static async open(keyDirectory: string, tufDirectory: string | undefined): Promise<Stages> {
    return new Stages(await Stage.open(keyDirectory), tufDirectory);
  }

  /** @param content Zeroed when it is written. @throws {SignetError} UNAVAILABLE, also for one of the files before */
  async write({ keyId, number }: StagedFile, content: Uint8Array): Promise<void> {
    const stage = keyId === undefined ? await this.#tufStage() : this.#keys;
    await stage?.write(number, content);
  }

  /** Everything that was written is durable then. @throws {SignetError} UNAVAILABLE */
  async flush(): Promise<void> {
    await this.#keys.flush();
    await this.#tuf?.flush();
  }

  /** @param file Written before. */
  pathOf({ keyId, number }: StagedFile): string {
    const stage = keyId === undefined ? (this.#tuf ?? this.#keys) : this.#keys;
    return join(stage.path, String(number));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#keys[Symbol.asyncDispose]();
    await this.#tuf?.[Symbol.asyncDispose]();
    // Only if nothing was restored there.
    if (this.#madeTuf && this.#tufDirectory !== undefined) await rmdir(this.#tufDirectory).catch(() => undefined);
  }

  async #tufStage(): Promise<Stage | undefined> {
    const path = this.#tufDirectory;
    if (path === undefined || this.#tuf !== undefined) return this.#tuf;
    this.#madeTuf = (await statsOf(path)) === undefined;
    try {
      await createDirectory(path, 0o700);
    } catch (error) {
      throw fromNodeError(error, `cannot create ${path}`);
    }
    this.#tuf = await Stage.open(path);
    return this.#tuf;
  }
}
