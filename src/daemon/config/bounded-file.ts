/** Reads the small files that an operator names: the configuration and the TLS material. */
import { open } from 'node:fs/promises';
import type { SignetError } from '../../errors.ts';

/** No configuration and no bundle of CA certificates comes near this; a log file named by mistake does. */
const MAX_LENGTH_BYTES = 1024 * 1024;

/** Makes the error, so that each caller's messages begin alike. */
type Fail = (problem: string, hint: string, cause?: unknown) => SignetError;

/**
 * Reads a whole file of at most 1 MiB, whatever the file system says its size is.
 *
 * @param what How messages name it, as `server.tls_key_file`.
 * @throws What `fail` makes.
 */
export async function readBoundedFile(path: string, what: string, fail: Fail): Promise<Buffer> {
  let content: Buffer;
  try {
    content = await readUpTo(path, MAX_LENGTH_BYTES + 1);
  } catch (error) {
    const errno = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    throw fail(`cannot read ${what} ${path} (${errno})`, remedyFor(errno), error);
  }
  if (content.length <= MAX_LENGTH_BYTES) return content;
  throw fail(`${what} ${path} is larger than 1 MiB`, 'name the right file');
}

function remedyFor(errno: string): string {
  if (errno === 'ENOENT') return 'create the file or correct the path';
  if (errno === 'EACCES' || errno === 'EPERM') return 'let the user that runs signetd read the file';
  return 'name a regular file';
}

async function readUpTo(path: string, limit: number): Promise<Buffer> {
  const handle = await open(path, 'r');
  try {
    const buffer = Buffer.alloc(limit);
    let length = 0;
    while (length < limit) {
      const { bytesRead } = await handle.read(buffer, length, limit - length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return buffer.subarray(0, length);
  } finally {
    await handle.close();
  }
}
