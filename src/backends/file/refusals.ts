/**
 * Files that no passphrase at hand opened. Each try costs about 0.4 s of a core, and clients ask again at once: the
 * answer stays the same for a while, unless the file changes.
 */
import type { KeyId } from '../../crypto/key-id.ts';
import type { SignetError } from '../../errors.ts';
import { type FileIdentity, isSameFile, type KeyFile } from './key-directory.ts';

/** How long, milliseconds: also how long a passphrase file that was corrected goes unnoticed. */
const REMEMBERED_MS = 5000;
const MAX = 1000;

export class Refusals {
  readonly #byKey = new Map<
    KeyId,
    { readonly identity: FileIdentity; readonly until: number; readonly error: SignetError }
  >();

  /** @throws {SignetError} what the last try said, if it was lately and the file is the same */
  check(file: KeyFile): void {
    const refusal = this.#byKey.get(file.keyId);
    if (refusal === undefined) return;
    if (refusal.until > performance.now() && isSameFile(refusal.identity, file.identity)) throw refusal.error;
    this.#byKey.delete(file.keyId);
  }

  remember(file: KeyFile, error: SignetError): void {
    const [oldest] = this.#byKey.keys();
    if (this.#byKey.size >= MAX && oldest !== undefined) this.#byKey.delete(oldest);
    this.#byKey.set(file.keyId, { identity: file.identity, until: performance.now() + REMEMBERED_MS, error });
  }
}
