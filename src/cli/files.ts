/** Files that users name: read with a bound, written whole or not at all. */
import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { createFileDurably } from '../backends/durable-file.ts';
import { fromNodeError, SignetError } from '../errors.ts';

/**
 * Reads a file.
 *
 * @param path `-` for the standard input.
 * @throws {SignetError} INVALID_ARGUMENT if it cannot be read, is a directory or larger than the limit; CANCELLED
 */
export async function readInput(path: string, limitBytes: number, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of openInput(path, signal) as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > limitBytes) {
        throw new SignetError('INVALID_ARGUMENT', `${inputName(path)} is larger than ${limitBytes} bytes`);
      }
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  } catch (error) {
    throw inputError(error, path);
  } finally {
    for (const chunk of chunks) chunk.fill(0);
  }
}

/** @param path `-` for the standard input. */
export function openInput(path: string, signal: AbortSignal): NodeJS.ReadableStream {
  if (path !== '-') return createReadStream(path, { signal });
  signal.addEventListener('abort', () => process.stdin.destroy(signal.reason as Error), { once: true });
  return process.stdin;
}

/** A file that cannot be read is a wrong argument. */
export function inputError(error: unknown, path: string): SignetError {
  const failure = fromNodeError(error, `cannot read ${inputName(path)}`);
  if (failure.code !== 'UNAVAILABLE') return failure;
  return new SignetError('INVALID_ARGUMENT', failure.message, { cause: error });
}

/** Says which file an error of ours is about. */
export function inFile(error: unknown, file: string): unknown {
  if (!(error instanceof SignetError)) return error;
  const { code, message, hint } = error;
  return new SignetError(code, `${file}: ${message}`, { ...(hint !== undefined && { hint }), cause: error });
}

function inputName(path: string): string {
  return path === '-' ? 'the standard input' : path;
}

/**
 * Refuses early, before anyone is asked for a passphrase.
 *
 * @throws {SignetError} INVALID_ARGUMENT if the file exists
 */
export async function requireNewFile(path: string, replace: boolean): Promise<void> {
  if (replace) return;
  const exists = await stat(path).then(
    () => true,
    () => false,
  );
  if (exists) throw fileExists(path);
}

/**
 * Writes a file of mode 0600. A failure leaves what was there.
 *
 * @param replace Otherwise an existing file is an error.
 * @throws {SignetError} INVALID_ARGUMENT if it exists, UNAVAILABLE
 */
export async function writeOutput(path: string, content: Uint8Array | string, replace: boolean): Promise<void> {
  const target = resolve(path);
  try {
    if (!replace) {
      await createFileDurably(target, content);
      return;
    }
    const temporary = join(dirname(target), `.${basename(target)}.${randomBytes(4).toString('hex')}`);
    await createFileDurably(temporary, content);
    try {
      await rename(temporary, target);
    } catch (error) {
      await unlink(temporary).catch(() => undefined);
      throw fromNodeError(error, `cannot write ${path}`);
    }
  } catch (error) {
    if (error instanceof SignetError && error.code === 'KEY_EXISTS') throw fileExists(path);
    throw error;
  }
}

function fileExists(path: string): SignetError {
  return new SignetError('INVALID_ARGUMENT', `${path} exists`, {
    hint: 'name another file, or add --force to replace it',
  });
}
