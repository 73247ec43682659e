/**
 * Files that are there whole or not at all: temporary file in the same directory, fsync, link, fsync of the directory.
 * And the directories they are in.
 *
 * New files get their name by `link` rather than `rename`, because it never replaces a file that another program made
 * meanwhile.
 */
import { randomBytes } from 'node:crypto';
import { constants, link, mkdir, open, opendir, rename, stat, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fromNodeError, SignetError } from '../errors.ts';

/** The lock of a collection's folder. */
export const LOCK_FILE = '.signet.lock';
/** Also the claim on a lock whose process died. */
const LOCK = /^\.signet\.lock(?:\.[0-9a-f]{16})?$/;

/** `.` hides them, `.tmp` keeps them out of Notary's `*.key` listing, the pid tells whose they are. */
const TEMPORARY = /^\.signet-(\d{1,10})-[0-9a-f]{16}\.tmp$/;

/**
 * Younger temporary files are left alone, milliseconds: containers that share a volume do not see each other's processes,
 * and all of them may be pid 1. Writing one takes far less.
 */
const ABANDONED_AFTER_MS = 60_000;

/** Temporary files that this process is writing. A leftover may bear our pid: in a container it is always the same. */
const writing = new Set<string>();

/** @returns Whether Signet makes files of that name only for itself: locks, and what is being written. */
export function isOwnFile(name: string): boolean {
  return LOCK.test(name) || TEMPORARY.test(name);
}

/**
 * Creates a file of mode 0600 that did not exist, durably. A crash at any moment leaves no file or the whole file.
 *
 * @throws {SignetError} KEY_EXISTS if `path` exists (nothing was changed), UNAVAILABLE
 */
export async function createFileDurably(path: string, content: string | Uint8Array): Promise<void> {
  try {
    await throughTemporary(path, content, (temporary) => link(temporary, path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw fromNodeError(error, `cannot create ${path}`);
    throw new SignetError('KEY_EXISTS', `${path} exists`, { cause: error });
  }
}

/**
 * Puts a file of mode 0600 in the place of another, durably. A crash at any moment leaves the old or the new one, whole.
 *
 * @param isCurrent Looked at last of all: false leaves everything as it is.
 * @returns What `isCurrent` said.
 * @throws {SignetError} UNAVAILABLE; then the old file is there
 */
export async function replaceFileDurably(
  path: string,
  content: string | Uint8Array,
  isCurrent: () => Promise<boolean>,
): Promise<boolean> {
  let replaced = false;
  try {
    await throughTemporary(path, content, async (temporary) => {
      replaced = await isCurrent();
      if (replaced) await rename(temporary, path);
    });
  } catch (error) {
    throw fromNodeError(error, `cannot replace ${path}`);
  }
  return replaced;
}

/**
 * Puts several files of mode 0600 in the places of others, durably. All are written before the first gets its name, so
 * that a full disk changes nothing; a crash may leave some of them new and some old, each whole.
 *
 * @param files Content by path; the last one gets its name last.
 * @throws {SignetError} UNAVAILABLE
 */
export async function replaceFilesDurably(files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  const [last, ...before] = [...files].reverse();
  if (last === undefined) return;
  const [path, content] = last;
  try {
    await throughTemporary(path, content, async (temporary) => {
      await replaceFilesDurably(new Map(before.reverse()));
      await rename(temporary, path);
    });
  } catch (error) {
    throw fromNodeError(error, `cannot write ${path}`);
  }
}

/** @param place Gives the file, which is durable by then, its name. @throws The system's error */
async function throughTemporary(
  path: string,
  content: string | Uint8Array,
  place: (temporary: string) => Promise<void>,
): Promise<void> {
  const directory = dirname(path);
  const name = `.signet-${process.pid}-${randomBytes(8).toString('hex')}.tmp`;
  const temporary = join(directory, name);
  writing.add(name);
  try {
    const file = await open(temporary, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await place(temporary);
  } finally {
    await unlink(temporary).catch(() => undefined); // gone already, or collected at the next start
    writing.delete(name);
  }
  await syncDirectory(directory);
}

/** @returns False if there was no such file. @throws {SignetError} UNAVAILABLE */
export async function removeFileDurably(path: string): Promise<boolean> {
  try {
    await unlink(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw fromNodeError(error, `cannot remove ${path}`);
  }
  await syncDirectory(dirname(path));
  return true;
}

/** Makes the names in a directory durable. @throws {SignetError} UNAVAILABLE */
export async function syncDirectory(path: string): Promise<void> {
  try {
    const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  } catch (error) {
    throw fromNodeError(error, `cannot flush the directory ${path}`);
  }
}

/**
 * Makes a directory, and those missing above it, with `mode`; what exists already stays as it is, whatever it is.
 *
 * Level by level, not with `recursive` of Node's `mkdir`: that one never ends where the system refuses a name with
 * ENOENT, as below /proc.
 *
 * @throws {Error} The system's error, with its `code`
 */
export async function createDirectory(path: string, mode: number): Promise<void> {
  const missing: string[] = [];
  for (let level = resolve(path); !(await makeLevel(level, mode)); level = dirname(level)) {
    missing.push(level);
    if (level === dirname(level)) break;
  }
  for (const level of missing.reverse()) await mkdir(level, { mode }).catch(ignoreExisting);
}

/** @returns False if the directory above is missing. */
async function makeLevel(path: string, mode: number): Promise<boolean> {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    ignoreExisting(error);
  }
  return true;
}

function ignoreExisting(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
}

/** Removes temporary files that a process which is no more left behind a minute ago or earlier. @returns How many. */
export async function removeAbandonedFiles(directory: string): Promise<number> {
  let removed = 0;
  for await (const entry of await opendir(directory)) {
    const pid = TEMPORARY.exec(entry.name)?.[1];
    if (pid === undefined || isBeingWritten(entry.name, Number(pid))) continue;
    const path = join(directory, entry.name);
    const modifiedMs = await stat(path).then(
      (stats) => stats.mtimeMs,
      () => Number.POSITIVE_INFINITY, // another daemon was faster
    );
    if (Date.now() - modifiedMs < ABANDONED_AFTER_MS) continue;
    await unlink(path).then(
      () => removed++,
      () => undefined, // another daemon was faster
    );
  }
  return removed;
}

function isBeingWritten(name: string, pid: number): boolean {
  if (pid === process.pid) return writing.has(name);
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Reads at most `limitBytes`. @throws {SignetError} INTEGRITY if the file is larger */
export async function readBoundedFile(
  path: string,
  limitBytes: number,
  links: 'refuse' | 'follow' = 'refuse',
): Promise<Buffer | undefined> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    // O_NONBLOCK: a FIFO that somebody put here must not hang the daemon. O_NOFOLLOW: Notary ignores links, so do we.
    file = await open(
      path,
      constants.O_RDONLY | constants.O_NONBLOCK | (links === 'refuse' ? constants.O_NOFOLLOW : 0),
    );
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ELOOP') return undefined;
    throw fromNodeError(error, `cannot read ${path}`);
  }
  try {
    const { size } = await file.stat();
    if (size > limitBytes) throw new SignetError('INTEGRITY', `${path} is larger than ${limitBytes} bytes`);
    const buffer = Buffer.alloc(size);
    let length = 0;
    while (length < buffer.length) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return buffer.subarray(0, length);
  } catch (error) {
    throw fromNodeError(error, `cannot read ${path}`);
  } finally {
    await file.close();
  }
}
