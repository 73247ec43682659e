/** Starts `signetd` in the background, as gpg does with gpg-agent: detached, its log in a file, ready when this returns. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { access } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { SignetError } from '../errors.ts';
import { PASSPHRASE_VARIABLES } from '../passphrase-variables.ts';
import { daemonLogFile, openDaemonLog, readLogLines } from './daemon-log.ts';
import { isAnswering } from './socket.ts';

const SIGNETD = fileURLToPath(new URL('../../bin/signetd', import.meta.url));
/** A token's module may take its time, milliseconds. */
const START_TIMEOUT_MS = 60_000;
const POLL_MS = 20;
/** One that lost the race for the socket ends before the winner listens, milliseconds. */
const WINNER_TIMEOUT_MS = 10_000;
/** Of a daemon that a command started without a configuration: longer than any key stays unlocked. */
const IDLE_TIMEOUT = '24h';
const IDLE_VARIABLE = 'NOTARY_SIGNER_AGENT_IDLE_TIMEOUT';

/** asm-generic/fcntl.h */
const O_CLOEXEC = 0o2000000;

export interface StartOptions {
  readonly env: NodeJS.ProcessEnv;
  /** Where the client will look for it. */
  readonly socket: string;
  /** Absolute; undefined: `~/.signet/signetd.json` if it is there. */
  readonly configFile?: string | undefined;
  /** A Go duration; undefined: the configuration's, else a day. */
  readonly idleTimeout?: string | undefined;
  readonly signal: AbortSignal;
}

export interface StartedDaemon {
  /** Undefined: its configuration opens none. */
  readonly socket: string | undefined;
  readonly logFile: string;
}

/**
 * @returns When the daemon answers; also when another client's daemon was faster.
 * @throws {SignetError} The daemon's own sentence as CONFIGURATION; UNAVAILABLE if it says nothing; CANCELLED
 */
export async function startDaemon(options: StartOptions): Promise<StartedDaemon> {
  const logFile = daemonLogFile(options.env);
  await using log = await openDaemonLog(logFile);
  const { size: offset } = await log.stat();
  const configFile = options.configFile ?? (await ownConfigFile(options.env));
  const child = spawn(process.execPath, [SIGNETD, ...(configFile === undefined ? [] : ['-config', configFile])], {
    detached: true,
    // Of the command that happened to come first, it keeps nothing: no directory, no lock, no end of a pipe.
    cwd: '/',
    stdio: descriptors(log.fd),
    env: environment(options, configFile),
  });
  child.unref();
  const socket = await readiness(child, logFile, offset, options);
  return { socket, logFile };
}

/**
 * The standard output and error are the log. So is whatever else a shell has left open (`9>lock`): a lock is given back
 * with its last descriptor, and who reads a pipe waits for the last one that could write to it.
 */
function descriptors(log: number): (number | 'ignore')[] {
  const stdio: (number | 'ignore')[] = ['ignore', log, log];
  for (const fd of inherited()) {
    while (stdio.length < fd) stdio.push('ignore'); // Node leaves what is beyond the standard ones as it is
    stdio[fd] = log;
  }
  return stdio;
}

/** Descriptors that a child would get too, in ascending order: those without close-on-exec, which Node's own have. */
function inherited(): readonly number[] {
  const directory = '/proc/self/fdinfo'; // on Linux only
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .map(Number)
    .filter((fd) => fd > 2 && !isClosedOnExec(fd))
    .sort((a, b) => a - b);
}

function isClosedOnExec(fd: number): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? '0';
    return (Number.parseInt(flags, 8) & O_CLOEXEC) !== 0;
  } catch {
    return true; // that of the listing, closed by now
  }
}

/** The configuration of daemons that commands start. */
async function ownConfigFile(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const home = env['HOME'];
  if (!home) return undefined;
  const path = join(home, '.signet', 'signetd.json');
  return await access(path).then(
    () => path,
    () => undefined,
  );
}

/**
 * Passphrases of this terminal are not the daemon's: it asks for them, each time, the client that has the key used.
 */
function environment({ env, socket, idleTimeout }: StartOptions, configFile: string | undefined): NodeJS.ProcessEnv {
  const own: NodeJS.ProcessEnv = { SIGNET_SOCKET: socket };
  for (const [name, value] of Object.entries(env)) if (!PASSPHRASE_VARIABLES.includes(name)) own[name] = value;
  own['SIGNET_SOCKET'] = socket;
  if (own['DOCKER_CONFIG']) own['DOCKER_CONFIG'] = resolve(own['DOCKER_CONFIG']);
  if (idleTimeout !== undefined) own[IDLE_VARIABLE] = idleTimeout;
  else if (configFile === undefined) own[IDLE_VARIABLE] ??= IDLE_TIMEOUT;
  return own;
}

async function readiness(
  child: ChildProcess,
  logFile: string,
  offset: number,
  options: StartOptions,
): Promise<string | undefined> {
  const hint = `look at its log: ${logFile}`;
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (Date.now() < deadline) {
    if (options.signal.aborted) {
      child.kill('SIGTERM');
      throw new SignetError('CANCELLED', 'cancelled while signetd started');
    }
    if (child.exitCode !== null || child.signalCode !== null) return await afterFailure(logFile, offset, options);
    if (await isAnswering(options.socket)) return options.socket;
    const listeners = listenersOf(await readLogLines(logFile, offset));
    if (listeners !== undefined) return listeners.find(({ kind }) => kind === 'agent')?.address;
    await delay(POLL_MS);
  }
  child.kill('SIGTERM');
  throw new SignetError('UNAVAILABLE', `signetd was not ready within ${START_TIMEOUT_MS / 1000} s`, { hint });
}

/** It ended: either another one was faster, or it says why. */
async function afterFailure(logFile: string, offset: number, { socket }: StartOptions): Promise<string> {
  const lines = await readLogLines(logFile, offset);
  const fatal = lines.findLast(({ level }) => level === 'fatal');
  const message = typeof fatal?.msg === 'string' ? fatal.msg : 'it ended without a word';
  if (message.includes('held by')) {
    const deadline = Date.now() + WINNER_TIMEOUT_MS;
    while (Date.now() < deadline) {
      if (await isAnswering(socket)) return socket;
      await delay(POLL_MS);
    }
  }
  const hint = typeof fatal?.hint === 'string' ? fatal.hint : `look at its log: ${logFile}`;
  throw new SignetError('CONFIGURATION', `signetd did not start: ${message}`, { hint });
}

interface Listener {
  readonly kind?: string;
  readonly address?: string;
}

/** Of the line that says it is ready; it may listen elsewhere than where we look, or serve no agent at all. */
function listenersOf(lines: Awaited<ReturnType<typeof readLogLines>>): readonly Listener[] | undefined {
  const listeners = lines.findLast(({ msg }) => msg === 'ready')?.listeners;
  return Array.isArray(listeners) ? (listeners as readonly Listener[]) : undefined;
}
