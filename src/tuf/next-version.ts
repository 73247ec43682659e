/** New metadata, and the next version of old: version numbers, expiry, and lists of files. */
import { SignetError } from '../errors.ts';
import { fileMetaOf } from './file-meta.ts';
import { type GoTime, goTimeOf } from './go-time.ts';
import type { Metadata } from './metadata.ts';
import type { Snapshot, Timestamp } from './snapshot.ts';
import type { Targets } from './targets.ts';

/** 24 hours in milliseconds. */
export const DAY_MS = 24 * 60 * 60 * 1000;

/** Notary's periods of validity, in days. */
export const VALIDITY_DAYS = {
  Root: 3650,
  Targets: 1095,
  Snapshot: 1095,
  Timestamp: 14,
} as const satisfies Record<Metadata['type'], number>;

/** notary-server keeps versions in a 32-bit column: a version above this could never be followed by another. */
export const MAX_VERSION = 2 ** 31 - 1;

/** @returns When metadata that is signed now expires. */
export function expiryOf(type: Metadata['type'], now: Date): GoTime {
  return goTimeOf(new Date(now.getTime() + VALIDITY_DAYS[type] * DAY_MS));
}

/**
 * The next version of metadata, to be signed now.
 *
 * @throws {SignetError} METADATA_REJECTED if there is no next version
 */
export function nextVersion<T extends Metadata>(metadata: T, now: Date): T {
  if (metadata.version >= MAX_VERSION) {
    throw new SignetError('METADATA_REJECTED', `version ${metadata.version} has no successor that a server can keep`);
  }
  return { ...metadata, version: metadata.version + 1, expires: expiryOf(metadata.type, now) };
}

/** Whether metadata expires within six months, when Notary starts to warn and signs root anew. */
export function expiresSoon({ expires }: Pick<Metadata, 'expires'>, now: Date): boolean {
  const limit = new Date(now);
  limit.setUTCMonth(limit.getUTCMonth() + 6);
  return expires.milliseconds < limit.getTime();
}

/** A targets role without targets or delegations. Its version is 0: `nextVersion` makes the first that is signed. */
export function newTargets(now: Date): Targets {
  return {
    type: 'Targets',
    version: 0,
    expires: expiryOf('Targets', now),
    delegations: { keys: new Map(), roles: [] },
    targets: new Map(),
  };
}

/** What changes in the list of a snapshot or timestamp. */
export interface FileChanges {
  /** Files by role, complete as they are published. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** Roles that are no more. */
  readonly removed?: Iterable<string>;
}

/** @param previous Undefined for the first; `files` must then hold root and targets. */
export function nextSnapshot(previous: Snapshot | undefined, changes: FileChanges, now: Date): Snapshot {
  const empty: Snapshot = { type: 'Snapshot', version: 0, expires: expiryOf('Snapshot', now), meta: new Map() };
  return nextList(previous ?? empty, changes, now);
}

/** @param previous Undefined for the first. */
export function nextTimestamp(previous: Timestamp | undefined, snapshot: Uint8Array, now: Date): Timestamp {
  const empty: Timestamp = { type: 'Timestamp', version: 0, expires: expiryOf('Timestamp', now), meta: new Map() };
  return nextList(previous ?? empty, { files: new Map([['snapshot', snapshot]]) }, now);
}

function nextList<T extends Snapshot | Timestamp>(previous: T, { files, removed = [] }: FileChanges, now: Date): T {
  const meta = new Map(previous.meta);
  for (const role of removed) meta.delete(role);
  for (const [role, bytes] of files) meta.set(role, fileMetaOf(bytes));
  return nextVersion({ ...previous, meta }, now);
}
