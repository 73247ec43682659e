/**
 * A backup → a trust directory, all of it or nothing.
 *
 * The files are first written, flushed and checked in a directory beside their places; only then are they moved there, one
 * after the other. An error in that phase undoes what was done; after a crash, the same restore again completes it, since
 * every file is there whole, old or new.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { openAge } from '../../crypto/age.ts';
import { isKeyId, type KeyId } from '../../crypto/key-id.ts';
import { readKeyPem } from '../../crypto/key-pem.ts';
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import type { RestoreOptions, RestoreReport } from '../archive.ts';
import type { SignContext } from '../backend.ts';
import { throwIfCancelled } from '../cancellation.ts';
import { readBoundedFile } from '../durable-file.ts';
import { type KeyDirectory, keyIdOfPath, MAX_KEY_FILE_BYTES, statsOf } from './key-directory.ts';
import {
  KEYS,
  MANIFEST,
  MAX_FILES,
  MAX_KEYS,
  MAX_MANIFEST_BYTES,
  type Manifest,
  parseManifest,
  TUF,
} from './manifest.ts';
import { placeAll, type Step } from './placing.ts';
import { Stages } from './stages.ts';
import { readTar } from './tar.ts';
import { maxTufFileBytes, tufDirectoryOf, tufFileKind } from './tuf-files.ts';

/** Keys and files that a refusal names. */
const NAMED = 10;

/** One file of the archive. */
interface Archived {
  /** Undefined: a file of `tuf`. */
  readonly keyId: KeyId | undefined;
  /** Below the directory of its kind. */
  readonly path: string;
  readonly sha256: string;
  readonly size: number;
  /** In the stage. */
  readonly number: number;
}

/** By name in the archive. */
type Digests = Map<string, Archived>;

/** @throws {SignetError} as `KeyArchiver.restore` */
export async function restoreInto(
  directory: KeyDirectory,
  archive: AsyncIterable<Uint8Array>,
  passphrase: Secret,
  options: RestoreOptions,
  context: SignContext,
): Promise<RestoreReport> {
  const tuf = tufDirectoryOf(directory.path);
  if (options.dryRun) {
    const files = await readArchive(openAge(passphrase.bytes(), archive), options, context, undefined);
    return (await plan(directory, tuf, files, options)).report;
  }
  await directory.prepare();
  await using stages = await Stages.open(directory.path, tuf);
  const files = await readArchive(openAge(passphrase.bytes(), archive), options, context, stages);
  const { places, report } = await plan(directory, tuf, files, options);
  throwIfCancelled(context);
  await placeAll(places.map(({ file, ...place }): Step => ({ ...place, staged: stages.pathOf(file) })));
  return report;
}

/** Reads and checks the whole archive. @param stages Receive the files; undefined: they are only looked at. */
async function readArchive(
  plaintext: AsyncIterable<Uint8Array>,
  { onProgress }: RestoreOptions,
  context: SignContext,
  stages: Stages | undefined,
): Promise<Digests> {
  const files: Digests = new Map();
  let manifest: Manifest | undefined;
  let keys = 0;
  for await (const { name, content } of readTar(plaintext, limitOf)) {
    throwIfCancelled(context);
    if (manifest !== undefined) throw unexpected();
    if (name === MANIFEST) {
      manifest = parseManifest(content);
      continue;
    }
    const { keyId, path } = placeOf(name);
    if (files.has(name) || (keyId === undefined ? files.size - keys >= MAX_FILES : ++keys > MAX_KEYS))
      throw unexpected();
    if (keyId !== undefined) readKeyPem(content);
    const sha256 = createHash('sha256').update(content).digest('hex');
    const file = { keyId, path, sha256, size: content.length, number: files.size };
    files.set(name, file);
    await stages?.write(file, content);
    onProgress?.(files.size, 0);
  }
  checkManifest(files, manifest);
  await stages?.flush();
  return files;
}

function limitOf(name: string): number {
  if (name === MANIFEST) return MAX_MANIFEST_BYTES;
  return name.startsWith(TUF) ? maxTufFileBytes(tufFileKind(name.slice(TUF.length))) : MAX_KEY_FILE_BYTES;
}

/** @throws {SignetError} INTEGRITY for a path that no backup holds */
function placeOf(name: string): Pick<Archived, 'keyId' | 'path'> {
  if (name.startsWith(TUF)) {
    const path = name.slice(TUF.length);
    if (tufFileKind(path) !== undefined) return { keyId: undefined, path };
  }
  const path = name.startsWith(KEYS) ? name.slice(KEYS.length) : '';
  const keyId = keyIdOfPath(path);
  if (keyId === undefined) throw unexpected();
  return { keyId, path };
}

function checkManifest(files: Digests, manifest: Manifest | undefined): void {
  const listed = [
    ...(manifest?.keys ?? []).map((entry) => ({ ...entry, name: KEYS + entry.path })),
    ...(manifest?.files ?? []).map((entry) => ({ ...entry, name: TUF + entry.path })),
  ];
  const names = new Set(listed.map(({ name }) => name));
  const isThere = listed.every(({ name, sha256, size }) => {
    const file = files.get(name);
    return file?.sha256 === sha256 && file.size === size;
  });
  if (manifest !== undefined && names.size === files.size && isThere) return;
  throw new SignetError('INTEGRITY', 'the backup does not hold the keys that its manifest lists');
}

interface Place extends Omit<Step, 'staged'> {
  readonly file: Archived;
}

/** @throws {SignetError} KEY_EXISTS if there are other contents and they are not to be replaced */
async function plan(
  directory: KeyDirectory,
  tuf: string | undefined,
  files: Digests,
  { replace }: RestoreOptions,
): Promise<{ readonly places: readonly Place[]; readonly report: RestoreReport }> {
  const places: Place[] = [];
  const report = { restored: [] as string[], unchanged: [] as string[], replaced: [] as string[] };
  for (const [name, file] of files) {
    const { keyId, path } = file;
    const root = keyId === undefined ? tuf : directory.path;
    if (root === undefined) throw noTrustDirectory(directory.path);
    const target = join(root, ...path.split('/'));
    const present = keyId === undefined ? await presentFile(target) : await directory.locate(keyId);
    const shown = keyId ?? name;
    if (await isAnyOf(present, file)) {
      report.unchanged.push(shown);
      continue;
    }
    (present.length === 0 ? report.restored : report.replaced).push(shown);
    places.push({ file, what: keyId === undefined ? name : `key ${keyId}`, root, target, replaces: present });
  }
  if (!replace && report.replaced.length > 0) throw notReplaced(report.replaced);
  return { places, report };
}

async function presentFile(path: string): Promise<readonly string[]> {
  return (await statsOf(path))?.isFile() ? [path] : [];
}

async function isAnyOf(paths: readonly string[], { sha256, size }: Archived): Promise<boolean> {
  for (const path of paths) {
    const content = await readBoundedFile(path, size).catch(() => undefined);
    if (content !== undefined && createHash('sha256').update(content).digest('hex') === sha256) return true;
  }
  return false;
}

function notReplaced(replaced: readonly string[]): SignetError {
  const named = replaced.slice(0, NAMED).join(', ');
  const more = replaced.length > NAMED ? ` and ${replaced.length - NAMED} more` : '';
  const what = replaced.every(isKeyId) ? 'keys' : 'keys and files';
  return new SignetError(
    'KEY_EXISTS',
    `of the ${what} in the backup, ${replaced.length} are here with another content: ${named}${more}`,
    { hint: 'restore with replacement, or move them away' },
  );
}

function noTrustDirectory(path: string): SignetError {
  return new SignetError('CONFIGURATION', `the backup holds metadata, and ${path} is not in a trust directory`, {
    hint: 'restore it into a trust directory: there, keys are in the folder private',
  });
}

function unexpected(): SignetError {
  return new SignetError('INTEGRITY', 'the archive holds something else than a backup of keys');
}
