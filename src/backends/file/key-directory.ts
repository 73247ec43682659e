/**
 * Where Notary and Docker keep key files, and how a key is found there without reading them all.
 *
 * Current layout: `<private>/<key ID>.key`. Legacy layouts (notary ≤ 0.4): `<private>/root_keys/<key ID>[_role].key` and
 * `<private>/tuf_keys/<gun>/<key ID>[_role].key`. They are read in place: nothing is migrated or deleted.
 */
import type { Stats } from 'node:fs';
import { lstat, opendir, stat } from 'node:fs/promises';
import { basename, join, relative, sep } from 'node:path';
import { isKeyId, type KeyId } from '../../crypto/key-id.ts';
import { type KeyPem, readKeyPem } from '../../crypto/key-pem.ts';
import { fromNodeError, SignetError } from '../../errors.ts';
import { createDirectory, readBoundedFile } from '../durable-file.ts';
import { SingleFlight } from '../single-flight.ts';

/** A PEM of an RSA-16384 key has 13 KiB. */
export const MAX_KEY_FILE_BYTES = 64 * 1024;
const FILE_NAME = /^([0-9a-f]{64})(?:_(.{1,255}))?\.key$/;
const LEGACY_DIRECTORIES = ['root_keys', 'tuf_keys'] as const;
/** S_ISVTX, sys/stat.h: a directory that many share, as /tmp. */
const STICKY = 0o1000;
const OWN_DIRECTORY_HINT = 'name a directory of its own in storage.path';
/** GUNs are paths; nobody nests them deeper. */
const MAX_DEPTH = 32;
/** Files of a listing that are read side by side. */
const READS_AT_ONCE = 16;
/** Legacy directories are looked through again at most this often, in milliseconds. */
const LEGACY_REFRESH_MS = 500;

/** Tells whether a file is still the one that was read. */
export interface FileIdentity {
  readonly inode: number;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  readonly changedMs: number;
}

export interface KeyFile {
  readonly keyId: KeyId;
  readonly path: string;
  readonly identity: FileIdentity;
  /** performance.now() before it was read: deriving its key may take longer than a change stays unseen. */
  readonly readAt: number;
  readonly pem: KeyPem;
  readonly role: string;
  readonly gun: string;
}

interface Place {
  readonly keyId: KeyId;
  readonly path: string;
  /** Facts that only a legacy path tells; headers win. */
  readonly role: string;
  readonly gun: string;
}

export class KeyDirectory {
  readonly path: string;
  readonly #mayBeMissing: boolean;
  /** Of a key that has several copies there, the first is read. */
  #legacy = new Map<KeyId, Place[]>();
  #legacyReadAt = Number.NEGATIVE_INFINITY;
  readonly #legacyRefresh = new SingleFlight<string, void>();

  /** @param options.mayBeMissing A missing directory is one without keys, until the first is stored. */
  constructor(path: string, options: { readonly mayBeMissing: boolean } = { mayBeMissing: false }) {
    this.path = path;
    this.#mayBeMissing = options.mayBeMissing;
  }

  /** To be called before anything is written. @throws {SignetError} as `verify` */
  async prepare(): Promise<void> {
    if (this.#mayBeMissing) await this.create();
    else await this.verify();
  }

  /**
   * Makes the directory if it is missing. Otherwise only at start: one that went away later, an unmounted volume, must not
   * be replaced by an empty one.
   *
   * @throws {SignetError} as `verify`
   */
  async create(): Promise<void> {
    try {
      await createDirectory(this.path, 0o700);
    } catch (error) {
      throw fromNodeError(error, `cannot create the key directory ${this.path}`);
    }
    await this.verify();
  }

  /** Refuses a directory that others can write to. @throws {SignetError} CONFIGURATION, UNAVAILABLE */
  async verify(): Promise<void> {
    const stats = await this.#stat();
    if (!stats.isDirectory()) {
      throw new SignetError('CONFIGURATION', `storage.path ${this.path} is not a directory`, {
        hint: OWN_DIRECTORY_HINT,
      });
    }
    const uid = process.getuid?.();
    if ((stats.mode & 0o022) !== 0) {
      // Closing a directory that others use, as /tmp, would break the machine.
      const isShared = (stats.mode & STICKY) !== 0 || (uid !== undefined && stats.uid !== uid);
      throw new SignetError('CONFIGURATION', `the key directory ${this.path} can be written to by others`, {
        hint: isShared ? OWN_DIRECTORY_HINT : `run: chmod go-w ${this.path}`,
      });
    }
    if (uid !== undefined && stats.uid !== uid && stats.uid !== 0) {
      throw new SignetError(
        'CONFIGURATION',
        `the key directory ${this.path} belongs to another user (uid ${stats.uid})`,
        {
          hint: OWN_DIRECTORY_HINT,
        },
      );
    }
  }

  /** @throws {SignetError} UNAVAILABLE if the directory is gone or cannot be read */
  async check(): Promise<void> {
    const stats = await this.#stat().catch((error: unknown) => {
      if (this.#mayBeMissing && isMissing(error)) return undefined;
      throw error;
    });
    if (stats?.isDirectory() === false) throw new SignetError('UNAVAILABLE', `${this.path} is not a directory`);
  }

  /** The path a new key gets. */
  pathOf(keyId: KeyId): string {
    return join(this.path, `${keyId}.key`);
  }

  /**
   * @returns Undefined only if the directory can be read and has no such key.
   * @throws {SignetError} UNAVAILABLE, INTEGRITY (the file is there but is no key)
   */
  async find(keyId: KeyId): Promise<KeyFile | undefined> {
    const flat = await this.#read({ keyId, path: this.pathOf(keyId), role: '', gun: '' });
    if (flat !== undefined) return flat;
    await this.#refreshLegacy();
    const [place] = this.#legacy.get(keyId) ?? [];
    const legacy = place === undefined ? undefined : await this.#read(place);
    if (legacy !== undefined) return legacy;
    // Once more: notary may have moved it here from a legacy layout since the first look.
    const moved = await this.#read({ keyId, path: this.pathOf(keyId), role: '', gun: '' });
    // A directory that went away (an unmounted volume) must not look like one without keys.
    if (moved === undefined) await this.check();
    return moved;
  }

  /**
   * Paths of all files named after the key, also of one that cannot be parsed: it must still be possible to remove it.
   *
   * @throws {SignetError} UNAVAILABLE
   */
  async locate(keyId: KeyId): Promise<readonly string[]> {
    await this.#refreshLegacy();
    const paths = [this.pathOf(keyId), ...(this.#legacy.get(keyId) ?? []).map(({ path }) => path)];
    const present: string[] = [];
    for (const path of paths) if ((await statsOf(path))?.isFile()) present.push(path);
    if (present.length === 0) await this.check();
    return present;
  }

  /** @returns Whether `file` is unchanged on disk. @throws {SignetError} UNAVAILABLE */
  async isCurrent(file: { readonly path: string; readonly identity: FileIdentity }): Promise<boolean> {
    const stats = await statsOf(file.path);
    return stats?.isFile() === true && isSameFile(identityOf(stats), file.identity);
  }

  /**
   * Every key file. A file that is no key is reported and left out.
   *
   * @throws {SignetError} UNAVAILABLE
   */
  async *list(report: (path: string, error: SignetError) => void): AsyncIterable<KeyFile> {
    const seen = new Set<KeyId>();
    const readOne = async (place: Place) => {
      try {
        return await this.#read(place);
      } catch (error) {
        report(place.path, fromNodeError(error, `cannot read ${place.path}`));
        return undefined;
      }
    };
    for await (const places of inBatches(this.#places(), READS_AT_ONCE)) {
      for (const file of await Promise.all(places.map(readOne))) {
        if (file === undefined || seen.has(file.keyId)) continue; // vanished meanwhile, a link, or a second copy
        seen.add(file.keyId);
        yield file;
      }
    }
  }

  /** How many files are named like keys. @throws {SignetError} UNAVAILABLE */
  async count(): Promise<number> {
    let count = 0;
    for await (const _ of this.#places()) count++;
    return count;
  }

  async *#places(): AsyncIterable<Place> {
    try {
      for await (const entry of await opendir(this.path)) {
        const place = entry.isFile() ? placeOf(join(this.path, entry.name), '') : undefined;
        // `<key ID>_role.key` is a name of the legacy layouts only: here nobody would find it again.
        if (place !== undefined && place.path === this.pathOf(place.keyId)) yield place;
      }
    } catch (error) {
      const failure = fromNodeError(error, `cannot read the key directory ${this.path}`);
      if (!this.#mayBeMissing || !isMissing(failure)) throw failure;
    }
    await this.#refreshLegacy();
    for (const [place] of this.#legacy.values()) if (place !== undefined) yield place;
  }

  /** Who comes while it runs waits for it: a half-read index must not look like an absent key. */
  #refreshLegacy(): Promise<void> {
    return this.#legacyRefresh.run('', async () => {
      const now = performance.now();
      if (now - this.#legacyReadAt < LEGACY_REFRESH_MS) return;
      const found = new Map<KeyId, Place[]>();
      for (const name of LEGACY_DIRECTORIES) await this.#walk(join(this.path, name), name, found, 0);
      this.#legacy = found;
      this.#legacyReadAt = now;
    });
  }

  async #walk(directory: string, top: string, found: Map<KeyId, Place[]>, depth: number): Promise<void> {
    if (depth > MAX_DEPTH) return;
    try {
      for await (const entry of await opendir(directory)) {
        const path = join(directory, entry.name);
        if (entry.isDirectory()) await this.#walk(path, top, found, depth + 1);
        if (!entry.isFile()) continue;
        const gun = top === 'tuf_keys' ? relative(join(this.path, top), directory).split(sep).join('/') : '';
        const place = placeOf(path, gun);
        if (place !== undefined) found.set(place.keyId, [...(found.get(place.keyId) ?? []), place]);
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw fromNodeError(error, `cannot read the key directory ${directory}`);
    }
  }

  async #read(place: Place): Promise<KeyFile | undefined> {
    const readAt = performance.now();
    // Identity first: a file replaced between the two calls is then seen as changed, and read again.
    const stats = await statsOf(place.path);
    if (stats === undefined || !stats.isFile()) return undefined;
    const text = await readBoundedFile(place.path, MAX_KEY_FILE_BYTES);
    if (text === undefined) return undefined;
    const pem = readKeyPem(text);
    return {
      keyId: place.keyId,
      path: place.path,
      identity: identityOf(stats),
      readAt,
      pem,
      role: pem.role || place.role,
      gun: pem.gun || place.gun,
    };
  }

  async #stat(): Promise<Stats> {
    try {
      return await stat(this.path);
    } catch (error) {
      throw fromNodeError(error, `cannot read the key directory ${this.path}`);
    }
  }
}

function isMissing(error: unknown): boolean {
  return ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';
}

async function* inBatches<Item>(items: AsyncIterable<Item>, size: number): AsyncIterable<readonly Item[]> {
  let batch: Item[] = [];
  for await (const item of items) {
    if (batch.push(item) < size) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

function placeOf(path: string, gun: string): Place | undefined {
  const match = FILE_NAME.exec(basename(path));
  const keyId = match?.[1];
  if (keyId === undefined || !isKeyId(keyId)) return undefined;
  return { keyId, path, role: match?.[2] ?? '', gun };
}

/**
 * @param path Relative to the key directory, with `/`.
 * @returns The key that a file of that path is found as; undefined where no key would be found, or outside.
 */
export function keyIdOfPath(path: string): KeyId | undefined {
  const names = path.split('/');
  const directories = names.slice(0, -1);
  const isPlain = directories.every((name) => name !== '' && name !== '.' && name !== '..');
  const isLegacy = LEGACY_DIRECTORIES.some((name) => name === directories[0]);
  if (!isPlain || /\p{Cc}/u.test(path) || directories.length > MAX_DEPTH) return undefined;
  const keyId = placeOf(path, '')?.keyId;
  if (directories.length === 0) return keyId !== undefined && path === `${keyId}.key` ? keyId : undefined;
  return isLegacy ? keyId : undefined;
}

/** @returns Of the entry itself: links are not followed. Undefined if there is none. @throws {SignetError} UNAVAILABLE */
export async function statsOf(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw fromNodeError(error, `cannot read ${path}`);
  }
}

function identityOf(stats: Stats): FileIdentity {
  return { inode: stats.ino, sizeBytes: stats.size, modifiedMs: stats.mtimeMs, changedMs: stats.ctimeMs };
}

/** Whether nothing has written to the file in between. */
export function isSameFile(a: FileIdentity, b: FileIdentity): boolean {
  return (
    a.inode === b.inode && a.sizeBytes === b.sizeBytes && a.modifiedMs === b.modifiedMs && a.changedMs === b.changedMs
  );
}
