/**
 * Metadata files: from bytes to typed values, and back to exactly the bytes that Go would write.
 *
 * The ground of `src/tuf/`, which knows no files, servers, clocks or private keys. A client's update is
 * `TrustedMetadata` (`trusted-metadata.ts`), then `lookupTarget` and `listTargets`. A publication is:
 *
 * 1. `applyChanges` to the trusted roles, or `replaceRoleKeys` to the trusted root
 * 2. for every changed role: `nextVersion`, `signMetadata` by `authorityFor` (a root by `rootAuthorities`),
 *    `encodeMetadata`
 * 3. `nextSnapshot` over the new files, signed and encoded in the same way, if the snapshot key is ours
 *
 * A first publication starts from `newRoot` and `newTargets`. What is uploaded must be what `encodeMetadata` gave.
 */
import { SignetError } from '../errors.ts';
import { canonicalJson, fileJson } from './canonical-json.ts';
import { type JsonObject, type JsonSubject, type JsonValue, parseJson } from './json.ts';
import { asObject, JsonReader, toBase64 } from './json-reader.ts';
import type { RoleName, TargetsRole } from './roles.ts';
import { type Root, rootFromJson, rootToJson } from './root.ts';
import { type Snapshot, snapshotFromJson, snapshotToJson, type Timestamp, timestampFromJson } from './snapshot.ts';
import { delegationsOf, type Targets, targetsFromJson, targetsToJson } from './targets.ts';

export type Metadata = Root | Targets | Snapshot | Timestamp;

export interface Signature {
  /** Of the signing key, as metadata names it. Any text: signatures by unknown keys are legal, and skipped. */
  readonly keyId: string;
  /** Lower case. */
  readonly method: string;
  /** In the port's encoding: ECDSA as r‖s. */
  readonly bytes: Uint8Array;
}

export interface SignedMetadata<T extends Metadata = Metadata> {
  readonly signed: T;
  readonly signatures: readonly Signature[];
}

/** Metadata as it was read. Nothing of it is verified yet. */
export interface ReceivedMetadata<T extends Metadata = Metadata> extends SignedMetadata<T> {
  /** The bytes that the signatures cover: the canonical text of all of `signed`, unknown members included. */
  readonly message: Uint8Array;
  /** The file itself. Not copied. */
  readonly bytes: Uint8Array;
}

/** Notary's limits on downloads, in bytes. */
export const MAX_METADATA_BYTES = 100 * 1024 * 1024;
export const MAX_TIMESTAMP_BYTES = 1024 * 1024;
/** Most signatures of one file: verifying each of very many would be a way to keep a client busy. */
const MAX_SIGNATURES = 256;

/** @throws {SignetError} METADATA_REJECTED */
export function parseRoot(bytes: Uint8Array): ReceivedMetadata<Root> {
  return parse(bytes, 'root', rootFromJson);
}

/** @throws {SignetError} METADATA_REJECTED */
export function parseTargets(bytes: Uint8Array, role: TargetsRole): ReceivedMetadata<Targets> {
  return parse(bytes, role, (signed, subject) => targetsFromJson(signed, role, subject));
}

/** @throws {SignetError} METADATA_REJECTED */
export function parseSnapshot(bytes: Uint8Array): ReceivedMetadata<Snapshot> {
  return parse(bytes, 'snapshot', snapshotFromJson);
}

/** @throws {SignetError} METADATA_REJECTED */
export function parseTimestamp(bytes: Uint8Array): ReceivedMetadata<Timestamp> {
  return parse(bytes, 'timestamp', timestampFromJson);
}

function parse<T extends Metadata>(
  bytes: Uint8Array,
  role: RoleName,
  fromJson: (signed: JsonObject, subject: JsonSubject) => T,
): ReceivedMetadata<T> {
  const subject: JsonSubject = { what: `${role} metadata`, code: 'METADATA_REJECTED' };
  const maxBytes = role === 'timestamp' ? MAX_TIMESTAMP_BYTES : MAX_METADATA_BYTES;
  const file = parseJson(bytes, subject, { duplicates: 'reject', numbers: 'float64', maxBytes });
  const envelope = new JsonReader(file, ['signed', 'signatures'], 'file', subject);
  const signed = asObject(envelope.value('signed'), 'signed', subject);
  const signatures = envelope.array('signatures');
  if (signatures.length > MAX_SIGNATURES) envelope.fail(`has more than ${MAX_SIGNATURES} signatures`);
  return {
    signed: fromJson(signed, subject),
    signatures: signatures.map((item) => signatureFromJson(item, subject)),
    message: Buffer.from(canonicalJson(signed, subject)),
    bytes,
  };
}

function signatureFromJson(value: JsonValue, subject: JsonSubject): Signature {
  const signature = new JsonReader(value, ['keyid', 'method', 'sig'], 'signatures', subject);
  return {
    keyId: signature.string('keyid'),
    method: signature.string('method').toLowerCase(),
    bytes: signature.base64('sig'),
  };
}

/** What is written is ours to get right. */
const WRITING: JsonSubject = { what: 'metadata', code: 'INVALID_ARGUMENT' };

/** @returns The bytes that signatures of the metadata cover. @throws {SignetError} INVALID_ARGUMENT, as `encodeMetadata` */
export function signedMessage(signed: Metadata): Buffer {
  requireWritable(signed);
  return Buffer.from(canonicalJson(toJson(signed), WRITING));
}

/**
 * The file: one line, `signed` first, no line end.
 *
 * @throws {SignetError} INVALID_ARGUMENT for what cannot be published: a control character in the name of a target or
 *   in a delegated path, a number with a fraction in custom data
 */
export function encodeMetadata({ signed, signatures }: SignedMetadata): Buffer {
  requireWritable(signed);
  const list = signatures.map(
    ({ keyId, method, bytes }) =>
      new Map([
        ['keyid', keyId],
        ['method', method],
        ['sig', toBase64(bytes)],
      ]),
  );
  return Buffer.from(`{"signed":${fileJson(toJson(signed), WRITING)},"signatures":${fileJson(list, WRITING)}}`);
}

function toJson(metadata: Metadata): JsonObject {
  switch (metadata.type) {
    case 'Root':
      return rootToJson(metadata);
    case 'Targets':
      return targetsToJson(metadata);
    case 'Snapshot':
    case 'Timestamp':
      return snapshotToJson(metadata);
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must be found
const CONTROL = /[\u0000-\u001f]/;

/** The canonical text has control characters raw, which Go then refuses to put into a file. */
function requireWritable(metadata: Metadata): void {
  if (metadata.type !== 'Targets') return;
  for (const name of metadata.targets.keys()) requirePublishableName(name);
  for (const path of delegationsOf(metadata).flatMap(({ paths }) => paths)) {
    if (CONTROL.test(path)) throw new SignetError('INVALID_ARGUMENT', 'a delegated path has a control character');
  }
}

/** @throws {SignetError} INVALID_ARGUMENT for the name of a target that no Notary server can keep */
export function requirePublishableName(name: string): void {
  if (CONTROL.test(name)) throw new SignetError('INVALID_ARGUMENT', 'the name of a target has a control character');
  if (!name.isWellFormed()) throw new SignetError('INVALID_ARGUMENT', 'the name of a target is not Unicode text');
}
