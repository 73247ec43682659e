/** `bin/signet` in a home of its own. Daemons that it starts are stopped with it. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ProgramResult, runProgram } from './processes.ts';
import { temporaryDirectory } from './temp.ts';
import { runOnTerminal, type TerminalResult, type Turn } from './terminal.ts';

/** The launcher. */
export const SIGNET: string = fileURLToPath(new URL('../../bin/signet', import.meta.url));

export interface RunOptions {
  /** In addition to the home's own. */
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
}

export interface CommandLineHome extends AsyncDisposable {
  /** HOME, and the working directory. */
  readonly path: string;
  /** Where its daemons keep keys. */
  readonly keys: string;
  readonly socket: string;
  readonly env: Readonly<Record<string, string>>;
  /** Runs it without a terminal, also where the tests have one. */
  signet(args: readonly string[], options?: RunOptions): Promise<ProgramResult>;
  /** Runs it on a terminal of its own. */
  signetOnTerminal(args: readonly string[], dialogue: readonly Turn[], options?: RunOptions): Promise<TerminalResult>;
}

export async function commandLineHome(): Promise<CommandLineHome> {
  const directory = await temporaryDirectory();
  const path = join(directory.path, 'home');
  await mkdir(path, { mode: 0o700 });
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: path,
    // One that a failed test leaves behind ends by itself.
    NOTARY_SIGNER_AGENT_IDLE_TIMEOUT: '3m',
    // What the real programs use: the tests seal many keys.
    NOTARY_SIGNER_STORAGE_KDF_ITERATIONS: '2048',
  };
  const signet = (args: readonly string[], options: RunOptions = {}) =>
    runProgram('setsid', ['--wait', SIGNET, ...args], {
      cwd: path,
      env: { ...env, ...options.env },
      ...(options.input !== undefined && { input: options.input }),
    });
  return {
    path,
    keys: join(path, '.docker', 'trust', 'private'),
    socket: join(path, '.signet', 'run', 'signetd.sock'),
    env,
    signet,
    signetOnTerminal: (args, dialogue, options = {}) =>
      runOnTerminal([SIGNET, ...args], { cwd: path, env: { ...env, ...options.env } }, dialogue),
    [Symbol.asyncDispose]: async () => {
      await signet(['daemon', 'stop']);
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** The key ID in the first line of `signet key generate`. @throws {Error} There is none */
export function generatedKeyId({ stdout, stderr }: ProgramResult): string {
  const id = /keyID: ([0-9a-f]{64})$/m.exec(stdout)?.[1];
  if (id === undefined) throw new Error(`no key was generated: ${stdout}${stderr}`);
  return id;
}
