/** Child processes when there are no more file descriptors. */
import type { ChildProcess } from 'node:child_process';
import { SignetError } from '../errors.ts';

/**
 * What `spawn` of node:child_process returns, if it has its streams. Without descriptors for them (EMFILE, ENFILE) Node makes
 * none, and tells why by an event that nobody would wait for. All other failures are told by the event 'error' as ever.
 *
 * @returns The same process.
 * @throws {SignetError} UNAVAILABLE
 */
export function spawned<Child extends ChildProcess>(child: Child): Child {
  const streams: unknown = child.stdio;
  if (streams !== undefined) return child;
  child.on('error', () => undefined); // the same once more
  throw new SignetError('UNAVAILABLE', 'no process can be started: too many files are open', {
    hint: 'raise the limit of open files (LimitNOFILE= of a systemd unit)',
  });
}
