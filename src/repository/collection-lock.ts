/** One program at a time changes a collection's folder. */
import { join } from 'node:path';
import { LOCK_FILE } from '../backends/durable-file.ts';
import { lockForProcess } from '../backends/process-lock.ts';
import { SignetError } from '../errors.ts';

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
export function lockDirectory(
  directory: string,
  { signal, onWait, patienceMs = PATIENCE_MS }: LockOptions,
): Promise<AsyncDisposable> {
  const path = join(directory, LOCK_FILE);
  const stillLocked = (who: string) =>
    new SignetError('UNAVAILABLE', `${who} is still changing this collection`, {
      hint: `wait for it; if no signet runs, remove ${path}`,
    });
  return lockForProcess(path, { signal, onWait, patienceMs, stillLocked });
}
