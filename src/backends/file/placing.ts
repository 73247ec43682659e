/** The last phase of a restore: files that wait in a stage are moved to their places, all of them or none. */
import { link, realpath, rename, rmdir, unlink } from 'node:fs/promises';
import { dirname, sep } from 'node:path';
import { fromNodeError, SignetError } from '../../errors.ts';
import { createDirectory, syncDirectory } from '../durable-file.ts';
import { statsOf } from './key-directory.ts';

/** What is to be done with one file of an archive. */
export interface Step {
  /** As messages name it. */
  readonly what: string;
  /** The directory that its place is in and must not lead out of. */
  readonly root: string;
  /** Durable, on the same file system. */
  readonly staged: string;
  readonly target: string;
  /** What is there now: `target`, or other copies of a key, which go. */
  readonly replaces: readonly string[];
}

type Undo = (() => Promise<void>)[];

/**
 * Moves everything to its place, or nothing.
 *
 * @throws {SignetError} UNAVAILABLE, CONFIGURATION if a link leads elsewhere; then everything is as before, unless the
 *   message says otherwise
 */
export async function placeAll(steps: readonly Step[]): Promise<void> {
  const undo: Undo = [];
  const directories = new Set<string>();
  let root = '';
  try {
    for (const step of steps) {
      ({ root } = step);
      await makePlace(step, directories, undo);
      await place(step, undo);
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

async function place({ what, staged, target, replaces }: Step, undo: Undo): Promise<void> {
  for (const [index, old] of replaces.entries()) {
    const kept = `${staged}-${index}`;
    await link(old, kept);
    undo.push(() => rename(kept, old));
  }
  if (replaces.includes(target)) await rename(staged, target);
  else {
    // Not `rename`: another program may have made the file just now.
    await link(staged, target).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
      throw new SignetError('UNAVAILABLE', `another program stored ${what} meanwhile`, { hint: 'try again' });
    });
    undo.push(() => unlink(target));
  }
  for (const old of replaces) if (old !== target) await unlink(old);
}

/** The folder of a file. A link there must not lead out of the directory. */
async function makePlace({ root, target }: Step, directories: Set<string>, undo: Undo): Promise<void> {
  const directory = dirname(target);
  if (directories.has(directory)) return;
  const missing: string[] = [];
  for (let level = directory; level !== root && (await statsOf(level)) === undefined; level = dirname(level)) {
    missing.push(level);
  }
  // A folder that somebody else uses by now stays.
  undo.push(async () => {
    for (const level of missing) await rmdir(level).catch(() => undefined);
  });
  await createDirectory(directory, 0o700);
  for (const level of [directory, ...missing.map((path) => dirname(path))]) directories.add(level);
  const isInside = directory === root || (await realpath(directory)).startsWith((await realpath(root)) + sep);
  if (!isInside) throw new SignetError('CONFIGURATION', `${directory} leads out of ${root}`);
}
