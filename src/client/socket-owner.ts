/** Whose agent it is: passphrases and PINs are only ever told to one's own. */
import { lstat, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fromNodeError, SignetError } from '../errors.ts';

/** S_ISVTX, sys/stat.h: in a directory that many share, nobody replaces another user's files. */
const STICKY = 0o1000;

/**
 * Refuses a socket that another user made, or could have put there. A missing one is no error: the call tells.
 *
 * @throws {SignetError} PERMISSION_DENIED, UNAVAILABLE if it cannot be looked at
 */
export async function checkSocketOwner(path: string): Promise<void> {
  const uid = process.getuid?.();
  if (uid === undefined) return;
  const hint = 'unset SIGNET_SOCKET, or name the socket of your own signetd';
  try {
    const socket = await lstat(path);
    if (socket.uid !== uid) {
      const message = `the agent socket ${path} belongs to another user (uid ${socket.uid})`;
      throw new SignetError('PERMISSION_DENIED', message, { hint });
    }
    const directory = await stat(dirname(path));
    const isReplaceable = (directory.mode & 0o022) !== 0 && (directory.mode & STICKY) === 0;
    if (isReplaceable || (directory.uid !== uid && directory.uid !== 0)) {
      throw new SignetError('PERMISSION_DENIED', `other users can replace the agent socket ${path}`, { hint });
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw fromNodeError(error, `cannot look at the agent socket ${path}`);
  }
}
