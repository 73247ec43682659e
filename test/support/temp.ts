/** Temporary directories that remove themselves. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TemporaryDirectory extends AsyncDisposable {
  /** Absolute, short enough for a Unix socket inside it. */
  readonly path: string;
}

/** @returns A new empty directory, mode 0700; disposing removes it with everything in it. */
export async function temporaryDirectory(parent: string = tmpdir()): Promise<TemporaryDirectory> {
  const path = await mkdtemp(join(parent, 'signet-test-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
