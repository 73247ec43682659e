/** snapshot.json and timestamp.json: which files belong together, and which are the newest. */
import { type FileMeta, fileMetasFromJson, fileMetasToJson } from './file-meta.ts';
import type { JsonObject, JsonSubject } from './json.ts';
import { headerToJson, type MetadataHeader, readSigned } from './metadata-header.ts';

export interface Snapshot extends MetadataHeader {
  readonly type: 'Snapshot';
  /** By role name, without `.json`; `root` and `targets` are always there, timestamp and snapshot never. */
  readonly meta: ReadonlyMap<string, FileMeta>;
}

export interface Timestamp extends MetadataHeader {
  readonly type: 'Timestamp';
  /** Holds `snapshot`. */
  readonly meta: ReadonlyMap<string, FileMeta>;
}

/** @throws {SignetError} The subject's code */
export function snapshotFromJson(value: JsonObject, subject: JsonSubject): Snapshot {
  const { signed, header } = readSigned(value, 'Snapshot', ['meta'], subject);
  const meta = fileMetasFromJson(signed.object('meta'), 'signed.meta', subject, ['sha256']);
  for (const role of ['root', 'targets']) if (!meta.has(role)) signed.fail(`does not name ${role}`);
  return { type: 'Snapshot', ...header, meta };
}

/** @throws {SignetError} The subject's code */
export function timestampFromJson(value: JsonObject, subject: JsonSubject): Timestamp {
  const { signed, header } = readSigned(value, 'Timestamp', ['meta'], subject);
  const meta = fileMetasFromJson(signed.object('meta'), 'signed.meta', subject, ['sha256']);
  if (!meta.has('snapshot')) signed.fail('does not name snapshot');
  return { type: 'Timestamp', ...header, meta };
}

export function snapshotToJson(metadata: Snapshot | Timestamp): JsonObject {
  return headerToJson(metadata.type, metadata).set('meta', fileMetasToJson(metadata.meta));
}
