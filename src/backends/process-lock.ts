/**
 * One process at a time does something: a file that names the process, made exclusively.
 *
 * A process that died leaves its file behind. Who takes it away first makes a claim on that very file, which only one can;
 * so nobody takes away the file of a process that came in between. Processes that do not see each other, as in containers
 * that share a volume, take each other for dead.
 */
import { randomBytes } from 'node:crypto';
import { readFile, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fromNodeError, SignetError } from '../errors.ts';
import { createDirectory, createFileDurably } from './durable-file.ts';

const RETRY_MS = 50;
/** A folder may go away just after it was made, but not so often one after the other. */
const MAX_FOLDER_LOST = 20;

export interface ProcessLockOptions {
  /** How long another process is waited for, milliseconds. */
  readonly patienceMs: number;
  /** The error if that was not enough. @param who `process 4711`, or `another program` */
  readonly stillLocked: (who: string) => SignetError;
  /** Called once if another process has it. */
  readonly onWait?: ((pid: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Makes the lock's file, and its folder if that is missing; disposing of the lock removes the file.
 *
 * @throws {SignetError} what `stillLocked` makes; CANCELLED; UNAVAILABLE if the file cannot be made
 */
export async function lockForProcess(
  path: string,
  { patienceMs, stillLocked, onWait, signal }: ProcessLockOptions,
): Promise<AsyncDisposable> {
  const owner: Owner = { pid: process.pid, token: randomBytes(8).toString('hex'), started: await startOf(process.pid) };
  const end = performance.now() + patienceMs;
  let hasWaited = false;
  for (let foldersLost = 0; ; ) {
    const made = await createInFolder(path, JSON.stringify(owner));
    if (made === true) return heldLock(path);
    if (made !== false && ++foldersLost >= MAX_FOLDER_LOST) throw made;
    const other = await readOwner(path);
    if (other !== undefined && !(await isAlive(other))) {
      await takeAway(path, other);
      continue;
    }
    if (performance.now() > end) throw stillLocked(other === undefined ? 'another program' : `process ${other.pid}`);
    if (other !== undefined && !hasWaited) onWait?.(other.pid);
    hasWaited ||= other !== undefined;
    await sleep(RETRY_MS, undefined, { ...(signal === undefined ? {} : { signal }) }).catch((cause: unknown) => {
      throw new SignetError('CANCELLED', 'cancelled', { cause });
    });
  }
}

/** Safe to dispose of again: by then the file may be another's. */
function heldLock(path: string): AsyncDisposable {
  let isHeld = true;
  return {
    [Symbol.asyncDispose]: async () => {
      if (!isHeld) return;
      isHeld = false;
      await unlink(path).catch(() => undefined);
    },
  };
}

interface Owner {
  readonly pid: number;
  /** Tells two locks of one process apart. */
  readonly token: string;
  /** When the process started, as the system counts it: a process number comes back. '' where that is not known. */
  readonly started: string;
}

/** @returns False if the file is there; the error if the folder went away. */
async function createInFolder(path: string, content: string): Promise<boolean | SignetError> {
  const directory = dirname(path);
  await createDirectory(directory, 0o700).catch((error: unknown) => {
    throw fromNodeError(error, `cannot make the directory ${directory}`);
  });
  try {
    return await createExclusively(path, content);
  } catch (error) {
    const failure = error as SignetError; // createFileDurably throws no other
    if ((failure.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return failure;
    throw failure;
  }
}

/** @returns False if the file is there. @throws {SignetError} UNAVAILABLE */
async function createExclusively(path: string, content: string): Promise<boolean> {
  try {
    await createFileDurably(path, content);
    return true;
  } catch (error) {
    if ((error as SignetError).code === 'KEY_EXISTS') return false;
    throw error;
  }
}

/** @returns Undefined if it is gone. */
async function readOwner(path: string): Promise<Owner | undefined> {
  try {
    const { pid, token, started } = JSON.parse(await readFile(path, 'utf8')) as Partial<Owner>;
    if (!Number.isSafeInteger(pid) || typeof token !== 'string' || !/^[0-9a-f]{16}$/.test(token)) return undefined;
    return { pid: Number(pid), token, started: String(started) };
  } catch {
    return undefined;
  }
}

async function isAlive({ pid, started }: Owner): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  return started === '' || started === (await startOf(pid));
}

/**
 * Field 22 of /proc/PID/stat, proc(5), which counts from the system's start; the name in field 2 may hold blanks and
 * brackets. With the system's start itself: services get the same numbers at each.
 */
async function startOf(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  const ticks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  if (ticks === undefined) return '';
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '');
  return `${boot.trim()} ${ticks}`;
}

async function takeAway(path: string, dead: Owner): Promise<void> {
  const claim = `${path}.${dead.token}`;
  if ((await createInFolder(claim, '')) !== true) {
    await sleep(RETRY_MS);
    return;
  }
  try {
    if ((await readOwner(path))?.token === dead.token) await unlink(path).catch(() => undefined);
  } finally {
    await unlink(claim).catch(() => undefined);
  }
}
