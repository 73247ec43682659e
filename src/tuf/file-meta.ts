/** Lengths and hashes: of targets, and of metadata files in snapshot and timestamp. */
import { createHash, hash } from 'node:crypto';
import { SignetError } from '../errors.ts';
import type { JsonObject, JsonSubject, JsonValue } from './json.ts';
import { asBase64, JsonReader, toBase64 } from './json-reader.ts';

/** Algorithms that Notary writes and checks. */
export const HASH_ALGORITHMS = ['sha256', 'sha512'] as const;
export type HashAlgorithm = (typeof HASH_ALGORITHMS)[number];

const HASH_BYTES: Readonly<Record<string, number>> = { sha256: 32, sha512: 64 } satisfies Record<HashAlgorithm, number>;

export interface FileMeta {
  /** Bytes. */
  readonly length: number;
  /** Raw digests by algorithm. Those of unknown algorithms are kept and not checked. */
  readonly hashes: ReadonlyMap<string, Uint8Array>;
  /** Anything the publisher wants to say about a target. Never null: Go drops that. */
  readonly custom?: JsonValue;
}

/** What Notary writes about a file: its length, SHA-256 and SHA-512. */
export function fileMetaOf(bytes: Uint8Array): FileMeta {
  const hashes = HASH_ALGORITHMS.map((algorithm) => [algorithm, hash(algorithm, bytes, 'buffer')] as const);
  return { length: bytes.byteLength, hashes: new Map(hashes) };
}

/** As `fileMetaOf`, over a stream of chunks, for files that do not fit the memory. */
export async function fileMetaOfChunks(chunks: AsyncIterable<Uint8Array>): Promise<FileMeta> {
  const running = HASH_ALGORITHMS.map((algorithm) => [algorithm, createHash(algorithm)] as const);
  let length = 0;
  for await (const chunk of chunks) {
    length += chunk.byteLength;
    for (const [, hash] of running) hash.update(chunk);
  }
  return { length, hashes: new Map(running.map(([algorithm, hash]) => [algorithm, hash.digest()])) };
}

/**
 * Checks content against what is signed about it: its length and every known hash.
 *
 * @param name Of the file, for messages
 * @throws {SignetError} METADATA_REJECTED, in Notary's words; also if no known hash is there to check
 */
export function checkFile(bytes: Uint8Array, expected: FileMeta, name: string): void {
  checkFileMeta(fileMetaOf(bytes), expected, name);
}

/** As `checkFile`, for content whose length and hashes are known. @throws {SignetError} METADATA_REJECTED */
export function checkFileMeta(actual: FileMeta, expected: FileMeta, name: string): void {
  const known = HASH_ALGORITHMS.filter((algorithm) => expected.hashes.has(algorithm));
  if (known.length === 0) throw new SignetError('METADATA_REJECTED', `there is no known checksum for ${name}`);
  for (const algorithm of known) {
    const want = toHex(expected.hashes.get(algorithm));
    if (toHex(actual.hashes.get(algorithm)) === want) continue;
    throw new SignetError('METADATA_REJECTED', `${algorithm} checksum for ${name} did not match: expected ${want}`);
  }
  if (actual.length !== expected.length) {
    throw new SignetError(
      'METADATA_REJECTED',
      `size of ${name} did not match: expected ${expected.length} bytes, not ${actual.length}`,
    );
  }
}

function toHex(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? '' : Buffer.from(bytes).toString('hex');
}

/** @throws {SignetError} The subject's code; also if no known hash is there, or one of a wrong size */
export function fileMetaFromJson(
  value: JsonValue,
  path: string,
  subject: JsonSubject,
  required: readonly HashAlgorithm[] = [],
): FileMeta {
  const meta = new JsonReader(value, ['custom', 'hashes', 'length'], path, subject);
  const hashes = new Map<string, Uint8Array>();
  for (const [algorithm, digest] of meta.object('hashes')) {
    const bytes = asBase64(digest, `${path}.hashes`, subject);
    if (bytes.byteLength !== (HASH_BYTES[algorithm] ?? bytes.byteLength)) meta.fail('has a checksum of a wrong size');
    hashes.set(algorithm, bytes);
  }
  if (!HASH_ALGORITHMS.some((algorithm) => hashes.has(algorithm)) || required.some((name) => !hashes.has(name))) {
    meta.fail(`has no ${required[0] ?? 'known'} checksum`);
  }
  const length = meta.integer('length', 0);
  const custom = meta.value('custom');
  return custom === null ? { length, hashes } : { length, hashes, custom };
}

export function fileMetaToJson({ length, hashes, custom }: FileMeta): JsonObject {
  const json = new Map<string, JsonValue>();
  if (custom !== undefined) json.set('custom', custom);
  json.set('hashes', new Map([...hashes].map(([algorithm, digest]) => [algorithm, toBase64(digest)])));
  return json.set('length', length);
}

/** Reads `{<name>: <meta>}`. @throws {SignetError} The subject's code */
export function fileMetasFromJson(
  files: JsonObject,
  path: string,
  subject: JsonSubject,
  required?: readonly HashAlgorithm[],
): Map<string, FileMeta> {
  const metas = new Map<string, FileMeta>();
  for (const [name, value] of files) metas.set(name, fileMetaFromJson(value, path, subject, required));
  return metas;
}

export function fileMetasToJson(files: ReadonlyMap<string, FileMeta>): JsonObject {
  return new Map([...files].map(([name, meta]) => [name, fileMetaToJson(meta)]));
}
