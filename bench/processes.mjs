/** Servers under test as processes: started, waited for, looked at through /proc, and surely ended. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const READY_TIMEOUT_MS = 60_000;
const READY_POLL_MS = 2;
const STOP_TIMEOUT_MS = 10_000;
/** USER_HZ: the unit of utime and stime in /proc/PID/stat, fixed at 100 for every Linux that Node runs on (proc(5)). */
const TICKS_PER_SECOND = 100;
const STDERR_KEPT_CHARACTERS = 2000;

const directories = new Set();
const children = new Set();

// Also after an exception or Ctrl-C, nothing stays behind.
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));

/** A new directory that is gone when this process ends. */
export function temporaryDirectory() {
  const directory = mkdtempSync(join(tmpdir(), 'signet-bench-'));
  directories.add(directory);
  return directory;
}

/** @returns {Promise<number>} A TCP port of 127.0.0.1 that nobody listens on. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/**
 * Starts a server and waits until it accepts connections.
 *
 * @param {{ name: string, command: string, args: readonly string[], env: Record<string, string>, port: number }} options
 * @returns {Promise<{ pid: number, readyMs: number, stop(): Promise<void> }>}
 * @throws {Error} It ended or did not listen in time; the message has the end of its stderr.
 */
export async function startServer({ name, command, args, env, port }) {
  const startedAt = performance.now();
  const child = spawn(command, args, { env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'ignore', 'pipe'] });
  children.add(child);
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr = (stderr + text).slice(-STDERR_KEPT_CHARACTERS);
  });
  const ended = once(child, 'exit').finally(() => children.delete(child));
  ended.catch(() => undefined); // a command that cannot be started has no exit code either
  while (!(await accepts(port))) {
    if (!children.has(child)) throw new Error(`${name} ended before it was ready:\n${stderr}`);
    if (performance.now() - startedAt > READY_TIMEOUT_MS) throw new Error(`${name} does not listen:\n${stderr}`);
    await delay(READY_POLL_MS);
  }
  return {
    pid: child.pid,
    readyMs: performance.now() - startedAt,
    async stop() {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** @returns {number} Processor seconds that a process and its descendants have used, in user and kernel mode. */
export function cpuSeconds(pid) {
  let ticks = 0;
  for (const process of family(pid)) {
    const stat = readFileSync(`/proc/${process}/stat`, 'utf8');
    // The second field may hold blanks; it ends at the last parenthesis. utime and stime are fields 14 and 15.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS_PER_SECOND;
}

/**
 * Resident memory of a process and its descendants. Pages that several of them share count several times.
 *
 * @returns {{ residentMiB: number, peakMiB: number }}
 */
export function memory(pid) {
  let resident = 0;
  let peak = 0;
  for (const process of family(pid)) {
    const status = readFileSync(`/proc/${process}/status`, 'utf8');
    resident += Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
    peak += Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]);
  }
  return { residentMiB: resident / 1024, peakMiB: peak / 1024 };
}

function family(pid) {
  return [pid, ...childrenOf(pid).flatMap(family)];
}

/** @returns {number[]} The processes that a process has started from its main thread. */
export function childrenOf(pid) {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
}

function accepts(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
