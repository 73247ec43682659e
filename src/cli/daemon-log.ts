/** Where a daemon that `signet` started writes its log, and what is read from there. */
import { type FileHandle, mkdir, open, rename, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { fromNodeError, SignetError } from '../errors.ts';

/** At a start, a longer log is put aside as `.1`, bytes. */
const ROTATED_AT_BYTES = 10 * 1024 * 1024;

/** One line of the log; other members are left alone. */
export interface LogLine {
  readonly level?: unknown;
  readonly msg?: unknown;
  readonly hint?: unknown;
  readonly listeners?: unknown;
}

/**
 * `$XDG_STATE_HOME/signet/signetd.log`, else `~/.signet/log/signetd.log`.
 *
 * @throws {SignetError} CONFIGURATION if neither variable is set
 */
export function daemonLogFile(env: NodeJS.ProcessEnv): string {
  const state = env['XDG_STATE_HOME'];
  // XDG Base Directory Specification 0.8: a relative path there is invalid and must be ignored.
  if (state && isAbsolute(state)) return join(state, 'signet', 'signetd.log');
  const home = env['HOME'];
  if (home) return join(home, '.signet', 'log', 'signetd.log');
  throw new SignetError('CONFIGURATION', "HOME is not set, the place of the daemon's log is unknown", {
    hint: 'set HOME or XDG_STATE_HOME',
  });
}

/** Opens it for appending, mode 0600 in a 0700 directory. @throws {SignetError} UNAVAILABLE */
export async function openDaemonLog(path: string): Promise<FileHandle> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const size = await stat(path).then(
      (stats) => stats.size,
      () => 0, // not there yet
    );
    if (size > ROTATED_AT_BYTES) await rename(path, `${path}.1`);
    return await open(path, 'a', 0o600);
  } catch (error) {
    throw fromNodeError(error, `cannot write the daemon's log ${path}`);
  }
}

/** The lines from an offset on; what is not a JSON object is left out, as is a line that is being written. */
export async function readLogLines(path: string, offset: number): Promise<readonly LogLine[]> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const buffer = Buffer.alloc(Math.min(Math.max(0, size - offset), ROTATED_AT_BYTES));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, offset);
    const text = buffer.toString('utf8', 0, bytesRead);
    return text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .flatMap((line) => parseLine(line));
  } finally {
    await file.close();
  }
}

function parseLine(line: string): readonly LogLine[] {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? [value] : [];
  } catch {
    return [];
  }
}
