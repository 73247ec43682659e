/** Files that hold one passphrase or PIN, put there by an operator. */
import { stat } from 'node:fs/promises';
import { Secret } from '../crypto/secret.ts';
import { fromNodeError, SignetError } from '../errors.ts';
import { readBoundedFile } from './durable-file.ts';

/** Longer secrets than this are a mistaken file. */
const MAX_SECRET_BYTES = 4096;

/** The content without its final line break. @returns Undefined if the file is missing, empty or has nothing but line breaks. */
export async function readSecret(path: string, links: 'refuse' | 'follow' = 'refuse'): Promise<Secret | undefined> {
  const content = await readBoundedFile(path, MAX_SECRET_BYTES, links);
  if (content === undefined) return undefined;
  if (content.every((byte) => byte === 0x0a || byte === 0x0d)) return undefined;
  let end = content.length;
  if (content[end - 1] === 0x0a) end--;
  if (content[end - 1] === 0x0d) end--;
  return new Secret(content.subarray(0, end));
}

/**
 * Reads a file that only its owner may access. Links are followed: orchestrators mount secrets as links to the current
 * version.
 *
 * @param what How messages name it, as `storage.passphrase_file`.
 * @throws {SignetError} CONFIGURATION if it cannot be read, is open to others, too long or empty
 */
export async function readPrivateSecret(path: string, what: string): Promise<Secret> {
  const hint = `name a file in ${what} that holds the ${kindOf(what)} and that this user can read`;
  const stats = await stat(path).catch((error: unknown) => {
    const { message } = fromNodeError(error, `${what} ${path} cannot be read`);
    throw new SignetError('CONFIGURATION', message, { hint, cause: error });
  });
  if (stats.isDirectory()) throw new SignetError('CONFIGURATION', `${what} ${path} is a directory`, { hint });
  if ((stats.mode & 0o077) !== 0) {
    throw new SignetError('CONFIGURATION', `${what} ${path} is open to others`, { hint: `run: chmod 600 ${path}` });
  }
  const secret = await readSecret(path, 'follow').catch((error: unknown) => {
    const { message } = fromNodeError(error, `cannot read ${path}`);
    throw new SignetError('CONFIGURATION', `${what}: ${message}`, { hint, cause: error });
  });
  if (secret !== undefined) return secret;
  throw new SignetError('CONFIGURATION', `${what} ${path} is empty`, { hint });
}

function kindOf(what: string): string {
  return what.includes('pin') ? 'PIN' : 'passphrase';
}
