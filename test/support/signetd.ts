/** The daemon under test: `bin/signetd` as built, in an environment that holds nothing of the developer's. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Signer, SignerTls } from './notary.ts';
import { freePort } from './ports.ts';
import { type ProgramOptions, type ProgramResult, type RunningProgram, runProgram, startProgram } from './processes.ts';

const SIGNETD = fileURLToPath(new URL('../../bin/signetd', import.meta.url));

/** One line of the daemon's log. */
export type LogLine = Readonly<Record<string, unknown>>;

export interface SignetdOptions {
  /** Merged over the defaults, section by section; undefined takes a key out, a list is taken as it is. */
  readonly config?: Sections;
  /** In addition to PATH, HOME and the storage's passphrase. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface Signetd extends Signer {
  /** Where the file backend keeps its keys (`storage.path`). */
  readonly storagePath: string;
  /** The local agent's socket. */
  readonly socket: string;
  readonly configFile: string;
  /** The log so far. @throws {Error} A line is not a JSON object. */
  log(): readonly LogLine[];
  /** @see RunningProgram.stop */
  stop(graceMs?: number): Promise<ProgramResult>;
}

/**
 * Starts signetd with the file backend and waits until it accepts connections.
 *
 * @param directory Receives the configuration, the keys, the socket and HOME.
 */
export async function startSignetd(directory: string, tls: SignerTls, options: SignetdOptions = {}): Promise<Signetd> {
  const port = await freePort();
  const { configFile, storagePath, socket, programOptions } = await prepare(directory, tls, port, options);
  const program = await startProgram(SIGNETD, ['--config', configFile], programOptions, { port });
  return {
    port,
    program,
    storagePath,
    socket,
    configFile,
    log: () => parseLog(program.stderr),
    stop: (graceMs) => program.stop(graceMs),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/**
 * Runs signetd to its end: a start that fails, or maintenance of the storage.
 *
 * @param directory As for `startSignetd`.
 * @param flags After `-config FILE`.
 */
export async function runSignetd(
  directory: string,
  tls: SignerTls,
  flags: readonly string[],
  options: SignetdOptions = {},
): Promise<ProgramResult> {
  const { configFile, programOptions } = await prepare(directory, tls, await freePort(), options);
  return runProgram(SIGNETD, ['-config', configFile, ...flags], programOptions);
}

/** As `runSignetd`, without waiting for the end. */
export async function launchSignetd(
  directory: string,
  tls: SignerTls,
  flags: readonly string[],
  options: SignetdOptions = {},
): Promise<RunningProgram> {
  const { configFile, programOptions } = await prepare(directory, tls, await freePort(), options);
  return startProgram(SIGNETD, ['-config', configFile, ...flags], programOptions);
}

async function prepare(
  directory: string,
  tls: SignerTls,
  port: number,
  options: SignetdOptions,
): Promise<{
  readonly configFile: string;
  readonly storagePath: string;
  readonly socket: string;
  readonly programOptions: ProgramOptions;
}> {
  const home = join(directory, 'signetd-home');
  await mkdir(home, { recursive: true, mode: 0o700 });
  const storagePath = join(directory, 'signetd-keys');
  const socket = join(directory, 'agent', 's');
  const configFile = join(directory, 'signetd.json');
  const defaults = {
    server: {
      grpc_addr: `127.0.0.1:${port}`,
      tls_cert_file: tls.certificate.certFile,
      tls_key_file: tls.certificate.keyFile,
      client_ca_file: tls.clientCaFile,
    },
    logging: { level: 'info' },
    storage: { backend: 'file', path: storagePath },
    agent: { socket },
  };
  await writeFile(configFile, JSON.stringify(mergeSections(defaults, options.config ?? {}), undefined, 2));
  const env = { PATH: process.env['PATH'] ?? '', HOME: home, ...options.env };
  return { configFile, storagePath, socket, programOptions: { cwd: directory, env } };
}

type Sections = Readonly<Record<string, Readonly<Record<string, unknown>> | readonly unknown[]>>;

function mergeSections(defaults: Sections, overrides: Sections): Sections {
  const names = new Set([...Object.keys(defaults), ...Object.keys(overrides)]);
  const merged = (name: string) => {
    const override = overrides[name];
    return Array.isArray(override) ? override : { ...defaults[name], ...override };
  };
  return Object.fromEntries([...names].map((name) => [name, merged(name)]));
}

/** Leaves out the last line while it is being written. */
function parseLog(text: string): LogLine[] {
  const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n');
  return lines
    .filter((line) => line !== '')
    .map((line) => {
      const value: unknown = JSON.parse(line);
      if (typeof value !== 'object' || value === null) throw new Error(`not a log line: ${line}`);
      return value as LogLine;
    });
}
