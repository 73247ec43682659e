/** Whether a daemon listens on the agent's socket. */
import { connect } from 'node:net';
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
