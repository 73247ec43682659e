/** `signet daemon …` */
import { open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseDuration } from '../../duration.ts';
import { fromNodeError, SignetError } from '../../errors.ts';
import { daemonLogFile } from '../daemon-log.ts';
import type { Invocation } from '../invocation.ts';
import { printable, printBytes, printData, printJson, printNote } from '../output.ts';
import { isAnswering } from '../socket.ts';
import { startDaemon } from '../start-daemon.ts';

const STOP_TIMEOUT_MS = 30_000;
const POLL_MS = 50;
const FOLLOW_POLL_MS = 200;
const DEFAULT_LINES = 100;
/** Read at a time from the end of the log. */
const BLOCK_BYTES = 64 * 1024;

export async function daemonStart(invocation: Invocation): Promise<undefined> {
  const { session, env, signal } = invocation.world;
  const config = invocation.text('config');
  const idleTimeout = invocation.text('idle-timeout');
  if (idleTimeout !== undefined && parseDuration(idleTimeout) === undefined) {
    throw new SignetError('INVALID_ARGUMENT', `--idle-timeout cannot be "${idleTimeout}"`, {
      hint: 'write a number with its unit, as "8h", or 0s for never',
    });
  }
  const running = await session.running();
  if (running !== undefined) {
    const { pid } = await running.status(session.call);
    throw new SignetError('UNAVAILABLE', `signetd runs already (pid ${pid}) on ${session.socket}`, {
      hint: 'stop it first: signet daemon stop',
    });
  }
  const configFile = config === undefined ? undefined : resolve(config);
  const { socket, logFile } = await startDaemon({ env, signal, socket: session.socket, configFile, idleTimeout });
  if (invocation.json) printJson({ socket: socket ?? null, logFile });
  else printData(`signetd ${socket === undefined ? 'serves no agent' : `listens on ${socket}`}, its log is ${logFile}`);
  if (socket !== undefined && socket !== session.socket) printNote(`commands find it with SIGNET_SOCKET=${socket}`);
}

export async function daemonStop({ world: { session, signal }, json }: Invocation): Promise<undefined> {
  const agent = await session.running();
  if (agent !== undefined) {
    await agent.stop(session.call);
    const deadline = Date.now() + STOP_TIMEOUT_MS;
    while (await isAnswering(session.socket)) {
      if (Date.now() > deadline) {
        throw new SignetError('DEADLINE_EXCEEDED', 'signetd has not ended yet: it finishes what it does');
      }
      await delay(POLL_MS, undefined, { signal });
    }
  }
  if (json) printJson({ stopped: agent !== undefined });
  else printData(agent === undefined ? 'signetd does not run.' : 'signetd has ended.');
}

export async function daemonStatus({ world: { session }, json }: Invocation): Promise<undefined> {
  const agent = await session.running();
  if (agent === undefined) {
    throw new SignetError('UNAVAILABLE', `no signetd answers on ${session.socket}`, {
      hint: 'the next command that needs it starts it, or: signet daemon start',
    });
  }
  const status = await agent.status(session.call);
  if (json) {
    printJson(status);
    return;
  }
  const lines = [
    `signetd ${status.version}, pid ${status.pid}, since ${new Date(status.started_at_ms).toISOString()}`,
    ...status.listeners.map(({ kind, address }) => `listener  ${kind}  ${address}`),
    ...status.backends.map(({ name, location, ready, reason }) => {
      return `backend   ${name}  ${location}  ${ready ? 'up' : `down: ${reason}`}`;
    }),
    `unlocked  ${status.unlocked_keys} keys`,
    `log level ${status.log_level}`,
  ];
  if (status.config_file !== '') lines.push(`settings  ${status.config_file}`);
  printData(lines.map(printable).join('\n'));
}

export async function daemonLogs(invocation: Invocation): Promise<undefined> {
  const { env, signal } = invocation.world;
  const lines = lineCount(invocation.text('lines'));
  const path = daemonLogFile(env);
  const file = await open(path, 'r').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw fromNodeError(error, `cannot read ${path}`);
    throw new SignetError('UNAVAILABLE', `there is no log ${path}`, {
      hint: 'a daemon that systemd or a terminal started writes its log there',
    });
  });
  await using log = file;
  let position = await startOfLastLines(log, lines);
  do {
    const block = Buffer.alloc(BLOCK_BYTES);
    const { bytesRead } = await log.read(block, 0, block.length, position);
    position += bytesRead;
    if (bytesRead > 0) printBytes(block.subarray(0, bytesRead));
    else if (!invocation.flag('follow')) return;
    else await delay(FOLLOW_POLL_MS, undefined, { signal });
  } while (!signal.aborted);
}

async function startOfLastLines(log: Awaited<ReturnType<typeof open>>, lines: number): Promise<number> {
  let { size: position } = await log.stat();
  let missing = lines + 1; // the last line ends with a line break too
  while (position > 0) {
    const length = Math.min(BLOCK_BYTES, position);
    const block = Buffer.alloc(length);
    await log.read(block, 0, length, position - length);
    for (let index = length - 1; index >= 0; index--) {
      if (block[index] === 0x0a && --missing === 0) return position - length + index + 1;
    }
    position -= length;
  }
  return 0;
}

function lineCount(text: string | undefined): number {
  if (text === undefined) return DEFAULT_LINES;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new SignetError('INVALID_ARGUMENT', `--lines cannot be "${text}"`, { hint: 'write a whole number' });
}
