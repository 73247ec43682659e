/** The daemon under test: `bin/signetd` as built, in an environment that holds nothing of the developer's. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Signer, SignerTls } from './notary.ts';
import { freePort } from './ports.ts';
import { type ProgramResult, startProgram } from './processes.ts';

const SIGNETD = fileURLToPath(new URL('../../bin/signetd', import.meta.url));

/** One line of the daemon's log. */
export type LogLine = Readonly<Record<string, unknown>>;

export interface SignetdOptions {
  /** Merged over the defaults, section by section. */
  readonly config?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
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
  const program = await startProgram(SIGNETD, ['--config', configFile], { cwd: directory, env }, { port });
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

type Sections = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

function mergeSections(defaults: Sections, overrides: Sections): Sections {
  const names = new Set([...Object.keys(defaults), ...Object.keys(overrides)]);
  return Object.fromEntries([...names].map((name) => [name, { ...defaults[name], ...overrides[name] }]));
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
