/**
 * A backup → a key directory, all of it or nothing.
 *
 * The files are first written, flushed and checked in a directory beside their places; only then are they moved there, one
 * after the other. An error in that phase undoes what was done; after a crash, the same restore again completes it, since
 * every key is there whole, old or new.
 */
import { createHash } from 'node:crypto';
import { link, realpath, rename, unlink } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { openAge } from '../../crypto/age.ts';
import type { KeyId } from '../../crypto/key-id.ts';
import { readKeyPem } from '../../crypto/key-pem.ts';
import type { Secret } from '../../crypto/secret.ts';
import { fromNodeError, SignetError } from '../../errors.ts';
import type { RestoreOptions, RestoreReport, SignContext } from '../backend.ts';
import { throwIfCancelled } from '../cancellation.ts';
import { createDirectory, readBoundedFile, syncDirectory } from '../durable-file.ts';
import { type KeyDirectory, keyIdOfPath, MAX_KEY_FILE_BYTES } from './key-directory.ts';
import { KEYS, MANIFEST, MAX_KEYS, MAX_MANIFEST_BYTES, type ManifestKey, parseManifest } from './manifest.ts';
import { Stage } from './stage.ts';
import { readTar } from './tar.ts';

/** Key IDs that a refusal names. */
const NAMED_KEYS = 10;

type Digests = Map<
  string,
  { readonly keyId: KeyId; readonly sha256: string; readonly size: number; readonly number: number }
>;

/** What is to be done with one key of the archive. */
interface Step {
  readonly keyId: KeyId;
  /** In the stage. */
  readonly number: number;
  readonly target: string;
  /** Other copies of the key, which go. */
  readonly replaces: readonly string[];
}

/** @throws {SignetError} as `KeyArchiver.restore` */
export async function restoreInto(
  directory: KeyDirectory,
  archive: AsyncIterable<Uint8Array>,
  passphrase: Secret,
  options: RestoreOptions,
  context: SignContext,
): Promise<RestoreReport> {
  if (options.dryRun) {
    const files = await readArchive(openAge(passphrase.bytes(), archive), options, context, undefined);
    return (await plan(directory, files, options)).report;
  }
  await directory.prepare();
  await using stage = await Stage.open(directory.path);
  const files = await readArchive(openAge(passphrase.bytes(), archive), options, context, stage);
  const { steps, report } = await plan(directory, files, options);
  throwIfCancelled(context);
  await perform(directory.path, stage.path, steps);
  return report;
}

/** Reads and checks the whole archive. @param stage Receives the files; undefined: they are only looked at. */
async function readArchive(
  plaintext: AsyncIterable<Uint8Array>,
  { onProgress }: RestoreOptions,
  context: SignContext,
  stage: Stage | undefined,
): Promise<Digests> {
  const files: Digests = new Map();
  let manifest: readonly ManifestKey[] | undefined;
  const limitOf = (name: string) => (name === MANIFEST ? MAX_MANIFEST_BYTES : MAX_KEY_FILE_BYTES);
  for await (const { name, content } of readTar(plaintext, limitOf)) {
    throwIfCancelled(context);
    if (manifest !== undefined) throw unexpected();
    if (name === MANIFEST) {
      manifest = parseManifest(content);
      continue;
    }
    const path = name.startsWith(KEYS) ? name.slice(KEYS.length) : '';
    const keyId = keyIdOfPath(path);
    if (keyId === undefined || files.has(path) || files.size >= MAX_KEYS) throw unexpected();
    readKeyPem(content);
    const sha256 = createHash('sha256').update(content).digest('hex');
    const number = files.size;
    files.set(path, { keyId, sha256, size: content.length, number });
    await stage?.write(number, content);
    onProgress?.(files.size, 0);
  }
  checkManifest(files, manifest);
  await stage?.flush();
  return files;
}

function checkManifest(files: Digests, manifest: readonly ManifestKey[] | undefined): void {
  const isListed = ({ path, sha256, size }: ManifestKey) => {
    const file = files.get(path);
    return file?.sha256 === sha256 && file.size === size;
  };
  if (manifest?.length === files.size && manifest.every(isListed)) return;
  throw new SignetError('INTEGRITY', 'the backup does not hold the keys that its manifest lists');
}

/** @throws {SignetError} KEY_EXISTS if there are other contents and they are not to be replaced */
async function plan(
  directory: KeyDirectory,
  files: Digests,
  { replace }: RestoreOptions,
): Promise<{ readonly steps: readonly Step[]; readonly report: RestoreReport }> {
  const steps: Step[] = [];
  const report = { restored: [] as KeyId[], unchanged: [] as KeyId[], replaced: [] as KeyId[] };
  for (const [path, { keyId, sha256, number }] of files) {
    const present = await directory.locate(keyId);
    if (await isAnyOf(present, sha256)) {
      report.unchanged.push(keyId);
      continue;
    }
    (present.length === 0 ? report.restored : report.replaced).push(keyId);
    steps.push({ keyId, number, target: join(directory.path, ...path.split('/')), replaces: present });
  }
  const { replaced } = report;
  if (replace || replaced.length === 0) return { steps, report };
  const named = replaced.slice(0, NAMED_KEYS).join(', ');
  const more = replaced.length > NAMED_KEYS ? ` and ${replaced.length - NAMED_KEYS} more` : '';
  throw new SignetError(
    'KEY_EXISTS',
    `of the keys in the backup, ${replaced.length} are here with another content: ${named}${more}`,
    {
      hint: 'restore with replacement, or move them away',
    },
  );
}

async function isAnyOf(paths: readonly string[], sha256: string): Promise<boolean> {
  for (const path of paths) {
    const content = await readBoundedFile(path, MAX_KEY_FILE_BYTES).catch(() => undefined);
    if (content !== undefined && createHash('sha256').update(content).digest('hex') === sha256) return true;
  }
  return false;
}

/** Moves everything to its place, or nothing. */
async function perform(root: string, stage: string, steps: readonly Step[]): Promise<void> {
  const undo: (() => Promise<void>)[] = [];
  const directories = new Set([root]);
  try {
    for (const step of steps) {
      await makePlace(root, dirname(step.target));
      directories.add(dirname(step.target));
      await place(stage, step, undo);
    }
    for (const directory of directories) await syncDirectory(directory);
  } catch (error) {
    const failures = [];
    for (const step of undo.reverse()) await step().catch((failure: unknown) => failures.push(failure));
    for (const directory of directories) await syncDirectory(directory).catch(() => undefined);
    const rest = failures.length === 0 ? 'nothing was changed' : 'not all of it could be undone: restore again';
    throw fromNodeError(error, `cannot restore into ${root}; ${rest}`);
  }
}

async function place(stage: string, { keyId, number, target, replaces }: Step, undo: (() => Promise<void>)[]) {
  const staged = join(stage, String(number));
  for (const [index, old] of replaces.entries()) {
    const kept = join(stage, `${number}-${index}`);
    await link(old, kept);
    undo.push(() => rename(kept, old));
  }
  if (replaces.includes(target)) await rename(staged, target);
  else {
    // Not `rename`: another program may have made the key just now.
    await link(staged, target).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
      throw new SignetError('UNAVAILABLE', `another program stored key ${keyId} meanwhile`, { hint: 'try again' });
    });
    undo.push(() => unlink(target));
  }
  for (const old of replaces) if (old !== target) await unlink(old);
}

/** The folder of a legacy layout. A link there must not lead out of the key directory. */
async function makePlace(root: string, directory: string): Promise<void> {
  if (directory === root) return;
  await createDirectory(directory, 0o700);
  if (!(await realpath(directory)).startsWith((await realpath(root)) + sep)) {
    throw new SignetError('CONFIGURATION', `${directory} leads out of the key directory ${root}`);
  }
}

function unexpected(): SignetError {
  return new SignetError('INTEGRITY', 'the archive holds something else than a backup of keys');
}
