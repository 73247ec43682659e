/** Which collections a trust directory knows. */
import { opendir } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';

export interface KnownCollection {
  readonly gun: string;
  /** Where its metadata is kept. */
  readonly directory: string;
}

/** In no order. A directory that cannot be read has none. */
export async function* localCollections(trustDir: string): AsyncIterable<KnownCollection> {
  const top = join(trustDir, 'tuf');
  for await (const directory of metadataDirectories(top)) {
    yield { gun: relative(top, dirname(directory)).split(sep).join('/'), directory };
  }
}

/** `tuf/<gun>/metadata`; a GUN has any number of levels, of which only the first may have that name, too (gun.ts). */
async function* metadataDirectories(directory: string, isTop = true): AsyncIterable<string> {
  const entries = await opendir(directory).catch(() => undefined);
  if (entries === undefined) return;
  for await (const entry of entries) {
    if (!entry.isDirectory()) continue;
    const path = join(directory, entry.name);
    if (entry.name === 'metadata' && !isTop) yield path;
    else yield* metadataDirectories(path, false);
  }
}
