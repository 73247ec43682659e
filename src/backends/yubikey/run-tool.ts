/** Runs programs that speak to the card beside the library: yubico-piv-tool, opensc-tool. */
import { spawn } from 'node:child_process';
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import { moduleEnvironment } from '../pkcs11/child-environment.ts';
import { spawned } from '../spawned.ts';

const MAX_OUTPUT_CHARACTERS = 64 * 1024;

export interface ToolResult {
  /** Null if a signal ended it, also that of the time-out. */
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ToolRun {
  /** Hold nothing secret: anybody on the machine can see them. */
  readonly args: readonly string[];
  /** The first line of the tool's standard input. */
  readonly secret?: Secret | undefined;
  /** What follows that line; the caller zeroes it. */
  readonly more?: Uint8Array | undefined;
  readonly env: NodeJS.ProcessEnv;
  /** Milliseconds, after which it is killed. */
  readonly timeoutMs: number;
  /** The hint if it is not installed. */
  readonly remedy: string;
}

/**
 * @param tool Its name, found in PATH.
 * @throws {SignetError} UNSUPPORTED if it is not installed, UNAVAILABLE if it cannot be started
 */
export function runTool(tool: string, { args, secret, more, env, timeoutMs, remedy }: ToolRun): Promise<ToolResult> {
  return new Promise((resolve, reject) => {
    const child = spawned(spawn(tool, args, { env: moduleEnvironment(env), stdio: 'pipe' }));
    const output = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8').on('data', (text: string) => {
        output[stream] = (output[stream] + text).slice(0, MAX_OUTPUT_CHARACTERS);
      });
    }
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      // A program that it started may live on, and keep its output open.
      child.stdout.destroy();
      child.stderr.destroy();
      resolve({ exitCode: null, ...output });
    }, timeoutMs);
    child.once('error', (cause: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      reject(notStarted(tool, remedy, cause));
    });
    child.once('close', (exitCode) => {
      clearTimeout(timer);
      resolve({ exitCode, ...output });
    });
    child.stdin.on('error', () => undefined); // it ended without reading; its exit code tells
    const nothing = new Uint8Array(0);
    const input = Buffer.concat([secret?.bytes() ?? nothing, Buffer.from('\n'), more ?? nothing]);
    child.stdin.end(input, () => input.fill(0));
  });
}

function notStarted(tool: string, hint: string, cause: NodeJS.ErrnoException): SignetError {
  if (cause.code !== 'ENOENT') return new SignetError('UNAVAILABLE', `${tool} cannot be started`, { cause });
  return new SignetError('UNSUPPORTED', `${tool} is not installed`, { hint, cause });
}
