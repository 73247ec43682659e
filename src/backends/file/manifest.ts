/** What a backup says about itself: its last entry, so that it is written in one pass over the files. */
import { isKeyId, type KeyId } from '../../crypto/key-id.ts';
import { SignetError } from '../../errors.ts';
import { keyIdOfPath } from './key-directory.ts';
import { type TufFileKind, tufFileKind } from './tuf-files.ts';

/** Name of the manifest in the archive. */
export const MANIFEST = 'manifest.json';
/** Keys are below it, under their paths in the key directory. */
export const KEYS = 'keys/';
/** Metadata and changelists are below it, under their paths in the `tuf` folder. */
export const TUF = 'tuf/';
const FORMAT = 'signet-backup';
/** Of keys alone. */
const KEYS_VERSION = 1;
/** With files of `tuf`. */
const TUF_VERSION = 2;
/** A manifest of this many keys has about 30 MiB. */
export const MAX_KEYS = 100_000;
/** Below `tuf`. */
export const MAX_FILES = 100_000;
export const MAX_MANIFEST_BYTES: number = 64 * 1024 * 1024;

interface ManifestEntry {
  /** Relative to the key directory or to `tuf`, with `/`. */
  readonly path: string;
  /** Hex, of the file. */
  readonly sha256: string;
  /** Bytes. */
  readonly size: number;
}

export interface ManifestKey extends ManifestEntry {
  readonly id: KeyId;
  readonly role: string;
  readonly gun: string;
}

export interface ManifestFile extends ManifestEntry {
  readonly kind: TufFileKind;
}

export interface Manifest {
  readonly keys: readonly ManifestKey[];
  /** Below `tuf`. */
  readonly files: readonly ManifestFile[];
}

/**
 * Without files it is of version 1, which programs read that know keys only.
 *
 * @throws {SignetError} UNSUPPORTED if it is larger than a restore would take
 */
export function formatManifest({ keys, files }: Manifest, created: Date): Buffer {
  const [version, lists] = files.length === 0 ? [KEYS_VERSION, { keys }] : [TUF_VERSION, { keys, files }];
  const text = JSON.stringify({ format: FORMAT, version, created: created.toISOString(), ...lists });
  const content = Buffer.from(text);
  if (content.length <= MAX_MANIFEST_BYTES) return content;
  throw new SignetError('UNSUPPORTED', `the backup's manifest would be larger than ${MAX_MANIFEST_BYTES} bytes`);
}

/** @throws {SignetError} INTEGRITY; UNSUPPORTED for a version that this program does not know */
export function parseManifest(content: Uint8Array): Manifest {
  const value = parseJson(content);
  if (!isRecord(value) || value['format'] !== FORMAT) throw malformed();
  const { version } = value;
  if (version !== KEYS_VERSION && version !== TUF_VERSION) {
    throw new SignetError('UNSUPPORTED', 'the backup is of a later version', {
      hint: 'restore it with a later Signet',
    });
  }
  const { keys } = value;
  const files = version === TUF_VERSION ? value['files'] : [];
  if (!Array.isArray(keys) || keys.length > MAX_KEYS || !keys.every(isManifestKey)) throw malformed();
  if (!Array.isArray(files) || files.length > MAX_FILES || !files.every(isManifestFile)) throw malformed();
  return { keys, files };
}

function parseJson(content: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(content).toString());
  } catch (error) {
    throw new SignetError('INTEGRITY', "the backup's manifest is no JSON", { cause: error });
  }
}

function isManifestKey(value: unknown): value is ManifestKey {
  if (!isManifestEntry(value)) return false;
  const { id, role, gun, path } = value;
  if (typeof id !== 'string' || !isKeyId(id) || keyIdOfPath(path) !== id) return false;
  return typeof role === 'string' && typeof gun === 'string';
}

function isManifestFile(value: unknown): value is ManifestFile {
  return isManifestEntry(value) && value['kind'] !== undefined && value['kind'] === tufFileKind(value.path);
}

function isManifestEntry(value: unknown): value is ManifestEntry & Readonly<Record<string, unknown>> {
  if (!isRecord(value)) return false;
  const { path, sha256, size } = value;
  return typeof path === 'string' && typeof sha256 === 'string' && Number.isInteger(size);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function malformed(): SignetError {
  return new SignetError('INTEGRITY', "the backup's manifest is damaged");
}
