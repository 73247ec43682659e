/**
 * What a trust directory keeps beside its keys: `<trust>/tuf/<gun>/metadata/<role>.json`, the metadata as it was last seen
 * or made, and `<trust>/tuf/<gun>/changelist/*.change`, what is staged and not published.
 *
 * A backup takes every regular file below `tuf`: other programs may keep more there. Nothing is parsed.
 */
import { opendir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { fromNodeError, SignetError } from '../../errors.ts';
import { MAX_CHANGE_BYTES } from '../../tuf/change-file.ts';
import { MAX_METADATA_BYTES } from '../../tuf/metadata.ts';
import { isOwnFile } from '../durable-file.ts';
import { isStage } from './stage.ts';

/** A change of a changelist is the only kind that nobody can fetch again. */
export type TufFileKind = 'metadata' | 'change' | 'other';

/** A GUN has at most 255 characters; below it come the folder and the role, a path too. */
const MAX_PATH_BYTES = 1024;
const MAX_DEPTH = 64;

/** A file below `tuf`. */
export interface TufFile {
  /** Relative to `tuf`, with `/`. */
  readonly path: string;
  readonly kind: TufFileKind;
}

/**
 * @param keyDirectory Where the keys are.
 * @returns The `tuf` folder beside it, there or not; undefined if the keys are not in the `private` of a trust directory.
 */
export function tufDirectoryOf(keyDirectory: string): string | undefined {
  const path = resolve(keyDirectory);
  return basename(path) === 'private' ? join(dirname(path), 'tuf') : undefined;
}

/**
 * @param path Relative to `tuf`, with `/`.
 * @returns Undefined for a path that no backup holds: out of `tuf`, too long or too deep, or a file that Signet makes for
 *   itself.
 */
export function tufFileKind(path: string): TufFileKind | undefined {
  const names = path.split('/');
  const name = names.at(-1) ?? '';
  const isPlain = names.every((part) => part !== '' && part !== '.' && part !== '..');
  // U+FFFD stands for bytes that are no UTF-8: such a file cannot be named in an archive.
  if (!isPlain || !path.isWellFormed() || /[\p{Cc}\uFFFD]/u.test(path)) return undefined;
  if (names.length > MAX_DEPTH || Buffer.byteLength(path) > MAX_PATH_BYTES) return undefined;
  if (isOwnFile(name) || isStage(names[0] ?? '')) return undefined;
  if (names.at(-2) === 'changelist' && name.endsWith('.change')) return 'change';
  return names.slice(0, -1).includes('metadata') && name.endsWith('.json') ? 'metadata' : 'other';
}

/** The most that a file of a kind may hold, in bytes: what Signet would read of it. */
export function maxTufFileBytes(kind: TufFileKind | undefined): number {
  return kind === 'change' ? MAX_CHANGE_BYTES : MAX_METADATA_BYTES;
}

/**
 * Every file that a backup takes, in no order. Links are not followed.
 *
 * @param root The `tuf` folder; a missing one has no files.
 * @param report Told of links, devices and names that no archive can hold.
 * @throws {SignetError} UNAVAILABLE for a folder that cannot be read
 */
export async function* listTufFiles(
  root: string,
  report: (path: string, error: SignetError) => void,
): AsyncIterable<TufFile> {
  yield* walk(root, '', report);
}

async function* walk(
  root: string,
  folder: string,
  report: (path: string, error: SignetError) => void,
): AsyncIterable<TufFile> {
  const directory = join(root, folder);
  try {
    for await (const entry of await opendir(directory)) {
      const path = folder + entry.name;
      if (entry.isFile() ? isOwnFile(entry.name) : folder === '' && isStage(entry.name)) continue;
      const kind = tufFileKind(path);
      if (kind === undefined)
        report(join(root, path), leftOut(`${join(root, path)} has a name that no backup can hold`));
      else if (entry.isDirectory()) yield* walk(root, `${path}/`, report);
      else if (entry.isFile()) yield { path, kind };
      else report(join(root, path), leftOut(`${join(root, path)} is not a regular file`));
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw fromNodeError(error, `cannot read ${directory}`);
  }
}

function leftOut(message: string): SignetError {
  return new SignetError('UNSUPPORTED', message);
}
