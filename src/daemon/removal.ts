/** What the log says about a deleted key, whichever service was asked. */
import type { KeyId } from '../crypto/key-id.ts';
import type { Removal } from '../keyring/keyring.ts';
import { describeError, type Logger } from './log.ts';

/** Tells that a key was deleted, and which homes could not be asked: they may hold another copy. */
export function logRemoval(
  log: Logger,
  { caller }: { readonly caller: string },
  keyId: KeyId,
  { removed, unasked }: Removal,
): void {
  if (removed) log.info({ caller, keyId }, 'key deleted');
  for (const { backend, error } of unasked) {
    const fields = { caller, keyId, backend: backend.name, location: backend.location };
    log.warn({ ...fields, ...describeError(error, log) }, 'key deleted elsewhere; this home could not be asked');
  }
}
