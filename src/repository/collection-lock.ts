/**
 * One program at a time changes a collection's folder: a file that names the process, made exclusively.
 *
 * A process that died leaves its file behind. Who takes it away first makes a claim on that very file, which only one can;
 * so nobody takes away the file of a process that came in between.
 */
import { randomBytes } from 'node:crypto';
import { readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createDirectory, createFileDurably, LOCK_FILE } from '../backends/durable-file.ts';
import { fromNodeError, SignetError } from '../errors.ts';

const RETRY_MS = 50;
/** Somebody may be looking for a token that the other program waits for. */
const PATIENCE_MS = 5 * 60_000;

export interface LockOptions {
  readonly signal: AbortSignal;
  /** Called once if another process has it. */
  readonly onWait: (pid: number) => void;
  readonly patienceMs?: number;
}

/**
 * Locks a folder, which is made if it is missing.
 *
 * @throws {SignetError} UNAVAILABLE if another process keeps it for too long, CANCELLED
 */
export async function lockDirectory(
  directory: string,
  { signal, onWait, patienceMs = PATIENCE_MS }: LockOptions,
): Promise<AsyncDisposable> {
  const path = join(directory, LOCK_FILE);
  const owner: Owner = { pid: process.pid, token: randomBytes(8).toString('hex'), started: await startOf(process.pid) };
  const end = performance.now() + patienceMs;
  let hasWaited = false;
  for (;;) {
    await createDirectory(directory, 0o700).catch((error: unknown) => {
      throw fromNodeError(error, `cannot make the directory ${directory}`);
    });
    if (await createExclusively(path, JSON.stringify(owner))) {
      return { [Symbol.asyncDispose]: () => unlink(path).catch(() => undefined) };
    }
    const other = await readOwner(path);
    if (other !== undefined && !(await isAlive(other))) {
      await takeAway(path, other);
      continue;
    }
    if (performance.now() > end) throw stillLocked(path, other);
    if (other !== undefined && !hasWaited) onWait(other.pid);
    hasWaited ||= other !== undefined;
    await sleep(RETRY_MS, undefined, { signal }).catch((cause: unknown) => {
      throw new SignetError('CANCELLED', 'cancelled', { cause });
    });
  }
}

interface Owner {
  readonly pid: number;
  /** Tells two locks of one process apart. */
  readonly token: string;
  /** When the process started, as the system counts it: a process number comes back. '' where that is not known. */
  readonly started: string;
}

/** @returns False if the file is there, or the folder went away. */
async function createExclusively(path: string, content: string): Promise<boolean> {
  try {
    await createFileDurably(path, content);
    return true;
  } catch (error) {
    const { code, cause } = error as SignetError;
    if (code === 'KEY_EXISTS' || (cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return false;
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

/** Field 22 of /proc/PID/stat, proc(5); the name in field 2 may hold blanks and brackets. */
async function startOf(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

async function takeAway(path: string, dead: Owner): Promise<void> {
  const claim = `${path}.${dead.token}`;
  if (!(await createExclusively(claim, ''))) {
    await sleep(RETRY_MS);
    return;
  }
  try {
    if ((await readOwner(path))?.token === dead.token) await unlink(path).catch(() => undefined);
  } finally {
    await unlink(claim).catch(() => undefined);
  }
}

function stillLocked(path: string, owner: Owner | undefined): SignetError {
  const who = owner === undefined ? 'another program' : `process ${owner.pid}`;
  return new SignetError('UNAVAILABLE', `${who} is still changing this collection`, {
    hint: `wait for it; if no signet runs, remove ${path}`,
  });
}
