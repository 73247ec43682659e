/** What is to be signed or verified, from a file or the standard input: whole if it is short, else as its digest. */
import { createHash } from 'node:crypto';
import { SignetError } from '../errors.ts';
import { inputError, openInput } from './files.ts';

/** The daemon takes 4 MiB in one request; a longer message is hashed here. */
const MAX_WHOLE_BYTES = 3 * 1024 * 1024;

export interface MessageInput {
  readonly sha256: Buffer;
  /** Undefined if it is too long. */
  readonly whole: Buffer | undefined;
}

/** @param path `-` for the standard input. @throws {SignetError} INVALID_ARGUMENT if it cannot be read, CANCELLED */
export async function readMessage(path: string, signal: AbortSignal): Promise<MessageInput> {
  const hash = createHash('sha256');
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of openInput(path, signal) as AsyncIterable<Buffer>) {
      hash.update(chunk);
      length += chunk.length;
      if (length <= MAX_WHOLE_BYTES) chunks.push(chunk);
    }
  } catch (error) {
    throw inputError(error, path);
  }
  return { sha256: hash.digest(), whole: length <= MAX_WHOLE_BYTES ? Buffer.concat(chunks) : undefined };
}

/** Ed25519 signs messages, never digests (RFC 8032). */
export function tooLongForEd25519(): SignetError {
  return new SignetError('UNSUPPORTED', `an ed25519 key signs at most ${MAX_WHOLE_BYTES / 1024 / 1024} MiB here`, {
    hint: 'use an ecdsa or rsa key, or sign the digest of the file',
  });
}
