/** A trust directory → one sealed archive: an age file around a tar file of the files as they are stored. */
import { createHash } from 'node:crypto';
import { join, relative, sep } from 'node:path';
import { sealAge } from '../../crypto/age.ts';
import { readKeyPem } from '../../crypto/key-pem.ts';
import type { Secret } from '../../crypto/secret.ts';
import { fromNodeError, SignetError } from '../../errors.ts';
import type { BackupPiece } from '../archive.ts';
import type { SignContext } from '../backend.ts';
import { throwIfCancelled } from '../cancellation.ts';
import { readBoundedFile } from '../durable-file.ts';
import { type KeyDirectory, MAX_KEY_FILE_BYTES } from './key-directory.ts';
import {
  formatManifest,
  KEYS,
  MANIFEST,
  MAX_FILES,
  MAX_KEYS,
  type ManifestFile,
  type ManifestKey,
  TUF,
} from './manifest.ts';
import { TAR_END, tarEntry } from './tar.ts';
import { listTufFiles, maxTufFileBytes, type TufFile, tufDirectoryOf } from './tuf-files.ts';

type Report = (path: string, error: SignetError) => void;

/** @param report Told of files that are left out because they are no keys, or nothing that an archive can hold. */
export async function* backUp(
  directory: KeyDirectory,
  passphrase: Secret,
  report: Report,
  context: SignContext,
): AsyncIterable<BackupPiece> {
  if (passphrase.bytes().byteLength === 0) throw new SignetError('INVALID_ARGUMENT', 'the passphrase is empty');
  const keys: ManifestKey[] = [];
  const files: ManifestFile[] = [];
  let total = await directory.count();
  if (total > MAX_KEYS) throw new SignetError('UNSUPPORTED', `${directory.path} has more than ${MAX_KEYS} keys`);
  const leftOut = { keys: 0, files: 0 };
  const leaveOut =
    (kind: keyof typeof leftOut): Report =>
    (path, error) => {
      leftOut[kind]++;
      report(path, error);
    };
  async function* entries(): AsyncIterable<Buffer> {
    for await (const { keyId, path, role, gun } of directory.list(leaveOut('keys'))) {
      throwIfCancelled(context);
      const content = await readBoundedFile(path, MAX_KEY_FILE_BYTES);
      if (content === undefined) continue; // removed meanwhile
      readKeyPem(content); // another program may be writing it just now
      const relativePath = relative(directory.path, path).split(sep).join('/');
      keys.push({ id: keyId, role, gun, path: relativePath, ...factsOf(content) });
      yield tarEntry(KEYS + relativePath, content);
      content.fill(0); // it may be an unencrypted key
    }
    total = keys.length + leftOut.keys; // without second copies, and what came and went meanwhile
    const tuf = tufDirectoryOf(directory.path);
    if (tuf !== undefined) yield* tufEntries(tuf);
    yield tarEntry(MANIFEST, formatManifest({ keys, files }, new Date()));
    yield TAR_END;
  }
  async function* tufEntries(root: string): AsyncIterable<Buffer> {
    for await (const { path, kind } of listTufFiles(root, leaveOut('files'))) {
      throwIfCancelled(context);
      const content = await readTufFile(root, { path, kind }, leaveOut('files'));
      if (content === undefined) continue;
      if (files.length === MAX_FILES) throw new SignetError('UNSUPPORTED', `${root} has more than ${MAX_FILES} files`);
      files.push({ kind, path, ...factsOf(content) });
      yield tarEntry(TUF + path, content);
    }
  }
  for await (const bytes of sealAge(passphrase.bytes(), entries())) {
    yield { bytes, done: keys.length, total, files: files.length, filesLeftOut: leftOut.files };
  }
}

/** @returns Undefined if it was removed meanwhile, or cannot be read, which is told. */
async function readTufFile(root: string, { path, kind }: TufFile, leaveOut: Report): Promise<Buffer | undefined> {
  const file = join(root, path);
  try {
    return await readBoundedFile(file, maxTufFileBytes(kind));
  } catch (error) {
    leaveOut(file, fromNodeError(error, `cannot read ${file}`));
    return undefined;
  }
}

function factsOf(content: Buffer): { readonly sha256: string; readonly size: number } {
  return { sha256: createHash('sha256').update(content).digest('hex'), size: content.length };
}
