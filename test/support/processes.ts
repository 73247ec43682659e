/** Real programs: run to their end, or started, awaited, watched and stopped by their own process ID. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { waitFor } from './conditions.ts';
import { isListening } from './ports.ts';

/** Output kept per stream; of more, the newest. */
const KEPT_OUTPUT_CHARACTERS = 16 * 1024 * 1024;

export interface ProgramOptions {
  readonly cwd?: string;
  /** The whole environment; nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
}

export interface ProgramResult {
  /** The exit code, or the name of the signal that ended the program. */
  readonly ending: number | NodeJS.Signals;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningProgram extends AsyncDisposable {
  readonly pid: number;
  /** What was written so far. */
  readonly stdout: string;
  readonly stderr: string;
  /** Settles when the program has ended and its output is complete. */
  readonly ended: Promise<ProgramResult>;
  kill(signal: NodeJS.Signals): void;
  /**
   * Sends SIGTERM, and SIGKILL when the program still runs after `graceMs`. Safe to call again.
   *
   * @returns How it ended; `ending` is `SIGKILL` when the grace did not suffice.
   */
  stop(graceMs?: number): Promise<ProgramResult>;
}

/** How to recognise that a program is ready. Both may be given; without any, it is ready at once. */
export interface Readiness {
  /** It accepts connections on this port of 127.0.0.1. */
  readonly port?: number;
  /** Its output, either stream, matches. */
  readonly output?: RegExp;
  readonly timeoutMs?: number;
}

/** Programs that still run, so that none outlives a test run that dies. */
const running = new Set<ChildProcessWithoutNullStreams>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/**
 * Starts a program and waits until it is ready.
 *
 * @throws {Error} It ended or was not ready in time; the message holds the end of its output.
 */
export async function startProgram(
  command: string,
  args: readonly string[],
  options: ProgramOptions,
  readiness: Readiness = {},
): Promise<RunningProgram> {
  const program = await launch(command, args, options);
  let result: ProgramResult | undefined;
  void program.ended.then((ending) => {
    result = ending;
  });
  try {
    await waitFor(
      `${command} to be ready`,
      async () => {
        if (result !== undefined) throw new Error(`${command} ended (${result.ending})`);
        return await isReady(program, readiness);
      },
      { timeoutMs: readiness.timeoutMs ?? 20_000 },
    );
    return program;
  } catch (error) {
    const { stdout, stderr } = await program.stop();
    throw new Error(`${String(error)}; its output ends\n${stdout.slice(-2000)}${stderr.slice(-4000)}`, {
      cause: error,
    });
  }
}

/**
 * Runs a program to its end.
 *
 * @param input What it reads on its standard input, nothing by default.
 * @throws {Error} It still ran after `timeoutMs` and was killed.
 */
export async function runProgram(
  command: string,
  args: readonly string[],
  options: ProgramOptions & { readonly input?: string; readonly timeoutMs?: number },
): Promise<ProgramResult> {
  const { input = '', timeoutMs = 60_000 } = options;
  const program = await launch(command, args, options, input);
  const timer = setTimeout(() => program.kill('SIGKILL'), timeoutMs);
  const result = await program.ended;
  clearTimeout(timer);
  if (result.ending === 'SIGKILL') throw new Error(`${command} ${args.join(' ')} did not end within ${timeoutMs} ms`);
  return result;
}

async function launch(
  command: string,
  args: readonly string[],
  options: ProgramOptions,
  input = '',
): Promise<RunningProgram> {
  const child = spawn(command, args, { cwd: options.cwd, env: options.env });
  await once(child, 'spawn');
  running.add(child);
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  child.stdin.on('error', () => {}); // a program may end without reading its input
  child.stdin.end(input);
  const result = (ending: number | NodeJS.Signals) => ({ ending, stdout: stdout(), stderr: stderr() });
  const ended = new Promise<ProgramResult>((resolve) => {
    child.once('close', (code, signal) => {
      running.delete(child);
      resolve(result(signal ?? code ?? 0));
    });
  });
  const stop = async (graceMs = 10_000) => {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
    const ending = await ended;
    clearTimeout(timer);
    return ending;
  };
  return {
    pid: child.pid ?? 0,
    get stdout() {
      return stdout();
    },
    get stderr() {
      return stderr();
    },
    ended,
    kill: (signal) => void child.kill(signal),
    stop,
    [Symbol.asyncDispose]: async () => void (await stop()),
  };
}

function collect(stream: NodeJS.ReadableStream): () => string {
  let text = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    text = (text + chunk).slice(-KEPT_OUTPUT_CHARACTERS);
  });
  return () => text;
}

async function isReady(program: RunningProgram, { port, output }: Readiness): Promise<boolean> {
  if (output !== undefined && !output.test(program.stdout) && !output.test(program.stderr)) return false;
  return port === undefined || (await isListening(port));
}
