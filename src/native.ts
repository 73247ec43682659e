/**
 * The system calls that Node does not offer, through koffi (prebuilt, optional). The only file that imports it.
 *
 * Without koffi the daemon runs, says so in the log, and trusts the socket directory's permissions alone.
 */

import type { Socket } from 'node:net';
import { constants } from 'node:os';

/** linux/prctl.h */
const PR_SET_PDEATHSIG = 1;
const PR_SET_DUMPABLE = 4;
/** asm-generic/resource.h */
const RLIMIT_CORE = 4;
/** asm-generic/socket.h */
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

export interface Native {
  /** No core file, and no ptrace or /proc/PID/mem for other processes of the same user. @returns False if refused. */
  protectMemory(): boolean;
  /** This process is killed when its parent ends, whatever it is doing then. @returns False if refused. */
  endWithParent(): boolean;
  /** Who is at the other end of a connected Unix socket. */
  peerCredentials(socket: Socket): PeerCredentials | undefined;
}

/** @returns Undefined on systems other than Linux, or if koffi is not installed. */
export async function loadNative(): Promise<Native | undefined> {
  if (process.platform !== 'linux') return undefined;
  try {
    const { default: koffi } = await import('koffi');
    const libc = koffi.load(null);
    const prctl = libc.func(
      'int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)',
    );
    const setrlimit = libc.func('int setrlimit(int resource, void *limit)');
    const getsockopt = libc.func('int getsockopt(int fd, int level, int name, void *value, void *length)');
    return {
      protectMemory: () => {
        const noCore = Buffer.alloc(16); // struct rlimit { 0, 0 }
        return setrlimit(RLIMIT_CORE, noCore) === 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) === 0;
      },
      endWithParent: () => prctl(PR_SET_PDEATHSIG, constants.signals.SIGKILL, 0, 0, 0) === 0,
      peerCredentials: (socket) => {
        const fd = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd;
        if (fd === undefined || fd < 0) return undefined;
        const value = Buffer.alloc(12); // struct ucred: three 32-bit fields
        const length = Buffer.alloc(4);
        new Uint32Array(length.buffer, length.byteOffset, 1)[0] = value.length;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, length) !== 0) return undefined;
        const [pid, uid, gid] = new Int32Array(value.buffer, value.byteOffset, 3);
        return pid === undefined || uid === undefined || gid === undefined
          ? undefined
          : { pid, uid: uid >>> 0, gid: gid >>> 0 };
      },
    };
  } catch {
    return undefined;
  }
}
