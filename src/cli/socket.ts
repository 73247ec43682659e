/** A look at the agent's socket before anything is said to it. */
import { lstat } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { fromNodeError, SignetError } from '../errors.ts';

/** Nobody listens, or there is no socket. */
const NOBODY: ReadonlySet<string> = new Set(['ENOENT', 'ECONNREFUSED']);

/** @throws {SignetError} PERMISSION_DENIED, UNAVAILABLE: what is there cannot be used */
export async function isAnswering(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return true;
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (NOBODY.has(code)) return false;
    if (code === 'EACCES') {
      throw new SignetError('PERMISSION_DENIED', `the socket ${path} is not yours to use`, {
        hint: 'set SIGNET_SOCKET, or --socket, to a path in a directory of your own',
        cause: error,
      });
    }
    throw fromNodeError(error, `cannot use the socket ${path}`);
  } finally {
    socket.destroy();
  }
}

/**
 * Passphrases go through this socket: it must be this user's, and so must its directory, or another user could have put
 * it there.
 *
 * @throws {SignetError} PERMISSION_DENIED
 */
export async function requireOwnSocket(path: string): Promise<void> {
  const uid = process.getuid?.();
  if (uid === undefined) return;
  for (const place of [dirname(path), path]) {
    const stats = await lstat(place).catch((error: unknown) => {
      throw fromNodeError(error, `cannot look at ${place}`);
    });
    if (stats.uid === uid) continue;
    throw new SignetError('PERMISSION_DENIED', `${place} belongs to another user (uid ${stats.uid})`, {
      hint: 'nothing was sent there; set SIGNET_SOCKET, or --socket, to a path in a directory of your own',
    });
  }
}
