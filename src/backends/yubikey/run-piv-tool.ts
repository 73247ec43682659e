/** Runs yubico-piv-tool. */
import { spawn } from 'node:child_process';
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import { moduleEnvironment } from '../pkcs11/child-environment.ts';

export const TOOL = 'yubico-piv-tool';
/** Making a large RSA key takes minutes; milliseconds. */
const TIMEOUT_MS = 180_000;
const MAX_OUTPUT_CHARACTERS = 64 * 1024;

export interface ToolResult {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * @param args Hold nothing secret: anybody on the machine can see them.
 * @param secret The first line of the tool's standard input.
 * @param more What follows that line; the caller zeroes it.
 * @throws {SignetError} UNSUPPORTED without the tool, UNAVAILABLE if it cannot be started
 */
export function runPivTool(
  args: readonly string[],
  secret: Secret | undefined,
  env: NodeJS.ProcessEnv,
  more: Uint8Array = new Uint8Array(0),
): Promise<ToolResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(TOOL, args, { env: moduleEnvironment(env), stdio: 'pipe', timeout: TIMEOUT_MS });
    const output = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8').on('data', (text: string) => {
        output[stream] = (output[stream] + text).slice(0, MAX_OUTPUT_CHARACTERS);
      });
    }
    child.once('error', (cause: NodeJS.ErrnoException) => reject(notStarted(cause)));
    child.once('close', (exitCode) => resolve({ exitCode, ...output }));
    child.stdin.on('error', () => undefined); // it ended without reading; its exit code tells
    const input = Buffer.concat([secret?.bytes() ?? new Uint8Array(0), Buffer.from('\n'), more]);
    child.stdin.end(input, () => input.fill(0));
  });
}

function notStarted(cause: NodeJS.ErrnoException): SignetError {
  if (cause.code !== 'ENOENT') return new SignetError('UNAVAILABLE', `${TOOL} cannot be started`, { cause });
  return new SignetError('UNSUPPORTED', `${TOOL} is not installed`, {
    hint: `install it; libykcs11 sets PIN and touch policies by itself since version 2.3`,
    cause,
  });
}
