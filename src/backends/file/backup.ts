/** A key directory → one sealed archive: an age file around a tar file of the key files as they are stored. */
import { createHash } from 'node:crypto';
import { relative, sep } from 'node:path';
import { sealAge } from '../../crypto/age.ts';
import { readKeyPem } from '../../crypto/key-pem.ts';
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import type { BackupPiece, SignContext } from '../backend.ts';
import { throwIfCancelled } from '../cancellation.ts';
import { readBoundedFile } from '../durable-file.ts';
import { type KeyDirectory, MAX_KEY_FILE_BYTES } from './key-directory.ts';
import { formatManifest, KEYS, MANIFEST, MAX_KEYS, type ManifestKey } from './manifest.ts';
import { TAR_END, tarEntry } from './tar.ts';

/** @param report Told of files that are left out because they are no keys. */
export async function* backUp(
  directory: KeyDirectory,
  passphrase: Secret,
  report: (path: string, error: SignetError) => void,
  context: SignContext,
): AsyncIterable<BackupPiece> {
  if (passphrase.bytes().byteLength === 0) throw new SignetError('INVALID_ARGUMENT', 'the passphrase is empty');
  const keys: ManifestKey[] = [];
  let total = await directory.count();
  if (total > MAX_KEYS) throw new SignetError('UNSUPPORTED', `${directory.path} has more than ${MAX_KEYS} keys`);
  let leftOut = 0;
  const leaveOut = (path: string, error: SignetError) => {
    leftOut++;
    report(path, error);
  };
  async function* entries(): AsyncIterable<Buffer> {
    for await (const { keyId, path, role, gun } of directory.list(leaveOut)) {
      throwIfCancelled(context);
      const content = await readBoundedFile(path, MAX_KEY_FILE_BYTES);
      if (content === undefined) continue; // removed meanwhile
      readKeyPem(content); // another program may be writing it just now
      const relativePath = relative(directory.path, path).split(sep).join('/');
      const sha256 = createHash('sha256').update(content).digest('hex');
      keys.push({ id: keyId, role, gun, path: relativePath, sha256, size: content.length });
      yield tarEntry(KEYS + relativePath, content);
      content.fill(0); // it may be an unencrypted key
    }
    total = keys.length + leftOut; // without second copies, and what came and went meanwhile
    yield tarEntry(MANIFEST, formatManifest(keys, new Date()));
    yield TAR_END;
  }
  for await (const bytes of sealAge(passphrase.bytes(), entries())) yield { bytes, done: keys.length, total };
}
