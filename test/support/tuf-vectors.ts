/** Collections that Debian's notary 0.7.0 made (test/vectors/README.md). */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const DIRECTORY = join(import.meta.dirname, '../vectors/tuf');

export interface VectorFile {
  /** As `repo-ecdsa/5.root.json`. */
  readonly path: string;
  readonly role: string;
  readonly bytes: Buffer;
}

export interface VectorCollection {
  readonly name: string;
  readonly gun: string;
  /** An instant at which all of it was valid. */
  readonly now: Date;
}

export const NOW = new Date('2026-11-20T12:00:00Z');

export const COLLECTIONS: readonly VectorCollection[] = [
  { name: 'repo-ecdsa', gun: 'docker.io/vectors/app', now: NOW },
  { name: 'repo-rsa-root', gun: 'vectors/rsa', now: NOW },
  { name: 'repo-p384-root', gun: 'vectors/p384', now: NOW },
  { name: 'repo-ed25519-timestamp', gun: 'vectors/ed25519ts', now: NOW },
];

export function vector(path: string): Buffer {
  return readFileSync(join(DIRECTORY, path));
}

/** Every published file of a collection, in order of role and version. */
export function filesOf(collection: string): VectorFile[] {
  return readdirSync(join(DIRECTORY, collection))
    .map((file) => ({ file, version: Number.parseInt(file, 10) }))
    .sort((a, b) => a.version - b.version)
    .map(({ file }) => ({
      path: `${collection}/${file}`,
      role: file.replace(/^\d+\.|\.json$/g, '').replace('_', '/'),
      bytes: vector(`${collection}/${file}`),
    }));
}

/** The files of one role, oldest first. */
export function versionsOf(collection: string, role: string): Buffer[] {
  return filesOf(collection)
    .filter((file) => file.role === role)
    .map(({ bytes }) => bytes);
}

/** The newest file of a role. @throws {Error} There is none. */
export function newest(collection: string, role: string): Buffer {
  const bytes = versionsOf(collection, role).at(-1);
  if (bytes === undefined) throw new Error(`${collection} has no ${role}`);
  return bytes;
}
