/** What a backup says about itself: its last entry, so that it is written in one pass over the keys. */
import { isKeyId, type KeyId } from '../../crypto/key-id.ts';
import { SignetError } from '../../errors.ts';
import { keyIdOfPath } from './key-directory.ts';

/** Name of the manifest in the archive. */
export const MANIFEST = 'manifest.json';
/** Keys are below it, under their paths in the key directory. */
export const KEYS = 'keys/';
const FORMAT = 'signet-backup';
const VERSION = 1;
/** A manifest of this many keys has about 30 MiB. */
export const MAX_KEYS = 100_000;
export const MAX_MANIFEST_BYTES: number = 64 * 1024 * 1024;

export interface ManifestKey {
  readonly id: KeyId;
  readonly role: string;
  readonly gun: string;
  /** Relative to the key directory. */
  readonly path: string;
  /** Hex, of the file. */
  readonly sha256: string;
  /** Bytes. */
  readonly size: number;
}

export function formatManifest(keys: readonly ManifestKey[], created: Date): Buffer {
  return Buffer.from(JSON.stringify({ format: FORMAT, version: VERSION, created: created.toISOString(), keys }));
}

/** @throws {SignetError} INTEGRITY; UNSUPPORTED for a version that this program does not know */
export function parseManifest(content: Uint8Array): readonly ManifestKey[] {
  const value = parseJson(content);
  if (!isRecord(value) || value['format'] !== FORMAT) throw malformed();
  if (value['version'] !== VERSION) {
    throw new SignetError('UNSUPPORTED', 'the backup is of a later version', {
      hint: 'restore it with a later Signet',
    });
  }
  const { keys } = value;
  if (!Array.isArray(keys) || keys.length > MAX_KEYS || !keys.every(isManifestKey)) throw malformed();
  return keys;
}

function parseJson(content: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(content).toString());
  } catch (error) {
    throw new SignetError('INTEGRITY', "the backup's manifest is no JSON", { cause: error });
  }
}

function isManifestKey(value: unknown): value is ManifestKey {
  if (!isRecord(value)) return false;
  const { id, role, gun, path, sha256, size } = value;
  if (typeof id !== 'string' || !isKeyId(id) || typeof path !== 'string' || keyIdOfPath(path) !== id) return false;
  return typeof role === 'string' && typeof gun === 'string' && typeof sha256 === 'string' && Number.isInteger(size);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function malformed(): SignetError {
  return new SignetError('INTEGRITY', "the backup's manifest is damaged");
}
