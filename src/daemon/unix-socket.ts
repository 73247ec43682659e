/**
 * The agent's socket in the file system: a private directory, one daemon at a time, leftovers of dead ones replaced.
 *
 * A socket is bound under a temporary name and then linked into place, because `bind` followed by "is it mine?" has no
 * atomic form.
 */
import { randomBytes } from 'node:crypto';
import { chmod, link, lstat, rename, rm, stat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { createDirectory } from '../backends/durable-file.ts';
import { fromNodeError, SignetError } from '../errors.ts';
import type { Native } from '../native.ts';

/** sizeof(sun_path) - 1 on Linux; 103 on macOS. */
const MAX_PATH_BYTES = process.platform === 'linux' ? 107 : 103;
/** S_ISVTX, sys/stat.h: a directory that many share, as /tmp. */
const STICKY = 0o1000;
const OWN_DIRECTORY_HINT = 'set agent.socket, or SIGNET_SOCKET, to a path in a directory of its own';
const PROBE_TIMEOUT_MS = 2000;
/** Nobody listens, or the socket was removed while we looked. */
const DEAD: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOENT']);

export interface SocketClaim {
  /** Where to listen first. */
  readonly temporary: string;
  /** Moves the listening socket to its real name. @throws {SignetError} UNAVAILABLE if another daemon holds it */
  publish(): Promise<void>;
  inode: number | undefined;
}

/** @throws {SignetError} CONFIGURATION if the directory is not private, UNAVAILABLE if a live daemon holds the socket */
export async function claimSocket(path: string, native: Native | undefined): Promise<SocketClaim> {
  const directory = dirname(path);
  await preparePrivateDirectory(directory);
  const temporary = join(directory, `.${randomBytes(4).toString('hex')}`);
  if (Buffer.byteLength(temporary) > MAX_PATH_BYTES || Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new SignetError('CONFIGURATION', `the socket path ${path} is longer than ${MAX_PATH_BYTES} bytes`, {
      hint: 'set agent.socket, or SIGNET_SOCKET, to a shorter path',
    });
  }
  const claim: SocketClaim = {
    temporary,
    inode: undefined,
    publish: async () => {
      try {
        await chmod(temporary, 0o600);
        // Not of `path`: another starting daemon may have moved it aside for a moment, to see whether we live.
        claim.inode = (await lstat(temporary)).ino;
        await linkInPlace(temporary, path, native);
      } catch (error) {
        throw fromNodeError(error, `cannot create the agent socket ${path}`);
      } finally {
        await rm(temporary, { force: true });
      }
    },
  };
  return claim;
}

/** Removes the socket if it is still ours. */
export async function releaseSocket(path: string, claim: SocketClaim): Promise<void> {
  const current = await lstat(path).catch(() => undefined);
  if (current !== undefined && current.ino === claim.inode) await rm(path, { force: true });
}

async function preparePrivateDirectory(directory: string): Promise<void> {
  try {
    await createDirectory(directory, 0o700);
    const stats = await stat(directory);
    const uid = process.getuid?.();
    if (!stats.isDirectory()) {
      throw new SignetError('CONFIGURATION', `the socket directory ${directory} is not a directory`, {
        hint: OWN_DIRECTORY_HINT,
      });
    }
    const isForeign = uid !== undefined && stats.uid !== uid;
    if ((stats.mode & 0o077) !== 0) {
      // Closing a directory that others use, as /tmp, would break the machine.
      const isShared = isForeign || (stats.mode & STICKY) !== 0;
      throw new SignetError('CONFIGURATION', `the socket directory ${directory} is open to others`, {
        hint: isShared ? OWN_DIRECTORY_HINT : `run: chmod 700 ${directory}`,
      });
    }
    if (isForeign) {
      throw new SignetError('CONFIGURATION', `the socket directory ${directory} belongs to another user`, {
        hint: OWN_DIRECTORY_HINT,
      });
    }
  } catch (error) {
    throw fromNodeError(error, `cannot use the socket directory ${directory}`);
  }
}

async function linkInPlace(temporary: string, path: string, native: Native | undefined): Promise<void> {
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      await link(temporary, path);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    await removeStale(path, native);
  }
  throw new SignetError('UNAVAILABLE', `other daemons keep taking the agent socket ${path}`);
}

/**
 * Removes a socket that nobody listens on. It is moved aside before the last look: between looking and removing,
 * another daemon may have put a live one in its place.
 */
async function removeStale(path: string, native: Native | undefined): Promise<void> {
  await refuseIfLive(path, path, native);
  const aside = join(dirname(path), `.${randomBytes(4).toString('hex')}`);
  try {
    await rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  try {
    await refuseIfLive(aside, path, native);
  } catch (error) {
    await link(aside, path).catch(() => undefined);
    throw error;
  } finally {
    await unlink(aside);
  }
}

async function refuseIfLive(path: string, shownPath: string, native: Native | undefined): Promise<void> {
  const stats = await lstat(path).catch(() => undefined);
  if (stats === undefined) return; // gone meanwhile
  if (!stats.isSocket()) {
    throw new SignetError('CONFIGURATION', `${shownPath} exists and is not a socket`, {
      hint: 'remove it, or set agent.socket',
    });
  }
  const holder = await new Promise<string | undefined>((resolve) => {
    const socket = connect(path);
    const timer = setTimeout(() => finish('a process that does not answer'), PROBE_TIMEOUT_MS);
    const finish = (answer: string | undefined) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => {
      const pid = native?.peerCredentials(socket)?.pid;
      finish(pid === undefined ? 'another process' : `pid ${pid}`);
    });
    socket.once('error', (error: NodeJS.ErrnoException) =>
      finish(DEAD.has(error.code ?? '') ? undefined : `an unknown process (${error.code})`),
    );
  });
  if (holder !== undefined) {
    throw new SignetError('UNAVAILABLE', `the agent socket ${shownPath} is held by ${holder}`, {
      hint: 'another signetd is running; stop it, or set agent.socket',
    });
  }
}
