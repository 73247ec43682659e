/** Where the files of a restore wait, durable, beside the places they will be moved to. */
import { mkdtemp, open, opendir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fromNodeError } from '../../errors.ts';
import { syncDirectory } from '../durable-file.ts';

const PREFIX = '.signet-restore-';
/** A stage that was left behind this long ago is nobody's any more, milliseconds. */
const ABANDONED_AFTER_MS = 24 * 60 * 60 * 1000;
/** Files that are flushed side by side, and the bytes of them that are in memory. */
const WRITES_AT_ONCE = 16;
const BYTES_AT_ONCE = 1024 * 1024;

/** @returns Whether a folder of that name, in the top of a directory, is a stage. */
export function isStage(name: string): boolean {
  return name.startsWith(PREFIX);
}

export class Stage implements AsyncDisposable {
  readonly path: string;
  #writes: Promise<void>[] = [];
  #bytes = 0;

  private constructor(path: string) {
    this.path = path;
  }

  /** @param root Holds the files' places. @throws {SignetError} UNAVAILABLE */
  static async open(root: string): Promise<Stage> {
    try {
      await removeAbandoned(root);
      return new Stage(await mkdtemp(join(root, PREFIX)));
    } catch (error) {
      throw fromNodeError(error, `cannot write to ${root}`);
    }
  }

  /**
   * Writes a file, named by its number: notary lists `*.key` in every folder.
   *
   * @param content Zeroed when it is written.
   * @throws {SignetError} UNAVAILABLE, also for one of the files before
   */
  async write(number: number, content: Uint8Array): Promise<void> {
    const write = writeDurably(join(this.path, String(number)), content);
    write.catch(() => undefined); // told by the next `#written`, if there is one
    this.#writes.push(write);
    this.#bytes += content.byteLength;
    if (this.#writes.length >= WRITES_AT_ONCE || this.#bytes >= BYTES_AT_ONCE) await this.#written();
  }

  /** Everything that was written is durable then. @throws {SignetError} UNAVAILABLE */
  async flush(): Promise<void> {
    await this.#written();
    await syncDirectory(this.path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#writes);
    await rm(this.path, { recursive: true, force: true }).catch(() => undefined); // collected by a later restore
  }

  async #written(): Promise<void> {
    await Promise.all(this.#writes);
    this.#writes = [];
    this.#bytes = 0;
  }
}

async function writeDurably(path: string, content: Uint8Array): Promise<void> {
  try {
    const file = await open(path, 'wx', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
      content.fill(0);
    }
  } catch (error) {
    throw fromNodeError(error, `cannot write ${path}`);
  }
}

/** What a restore that crashed left behind. Another one may be at work: only what is old goes. */
async function removeAbandoned(root: string): Promise<void> {
  for await (const entry of await opendir(root)) {
    if (!entry.isDirectory() || !isStage(entry.name)) continue;
    const path = join(root, entry.name);
    const modifiedMs = await stat(path).then(
      (stats) => stats.mtimeMs,
      () => Number.POSITIVE_INFINITY,
    );
    if (Date.now() - modifiedMs > ABANDONED_AFTER_MS) await rm(path, { recursive: true, force: true });
  }
}
