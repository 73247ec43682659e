/**
 * A listening socket that systemd opened for us (sd_listen_fds(3)): it stays open while the daemon is restarted, so that
 * no client is refused meanwhile.
 */
import { SignetError } from '../errors.ts';

/** SD_LISTEN_FDS_START */
const FIRST_FD = 3;

/**
 * @param processId Whose variables count: a worker's are its supervisor's, who owns the descriptor.
 * @returns The descriptor for the gRPC listener, or undefined if nobody passed one.
 * @throws {SignetError} CONFIGURATION for more than one: the agent's socket is always its own
 */
export function activatedSocket(env: NodeJS.ProcessEnv, processId: number): number | undefined {
  if (env['LISTEN_PID'] !== String(processId)) return undefined;
  const count = Number(env['LISTEN_FDS'] ?? 0);
  if (count === 0) return undefined;
  if (count === 1) return FIRST_FD;
  throw new SignetError('CONFIGURATION', `systemd passed ${env['LISTEN_FDS']} sockets, and signetd takes one`, {
    hint: 'name one ListenStream= in the socket unit, for gRPC',
  });
}
