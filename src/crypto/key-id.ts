/** Notary's key IDs (TUF key IDs of the Notary dialect). */
import { hash } from 'node:crypto';
import { SignetError } from '../errors.ts';

declare const brand: unique symbol;
/** 64 lower-case hex characters. Made only by the functions below. */
export type KeyId = string & { readonly [brand]: 'KeyId' };

const PATTERN = /^[0-9a-f]{64}$/;

export function isKeyId(text: string): text is KeyId {
  return PATTERN.test(text);
}

/** @throws {SignetError} INVALID_ARGUMENT */
export function parseKeyId(text: string): KeyId {
  if (isKeyId(text)) return text;
  throw new SignetError('INVALID_ARGUMENT', 'a key ID has 64 lower-case hex characters');
}

/** A `PublicKey`, or a key of metadata, whose key type may also be that of a certificate (`ecdsa-x509`). */
interface KeyOfMetadata {
  /** Holds nothing that JSON escapes. */
  readonly algorithm: string;
  readonly bytes: Uint8Array;
}

/**
 * The TUF key as Notary's metadata holds it, in canonical JSON. The literal `"private":null` belongs to it; base64 is
 * standard and padded, so nothing in the text needs escaping.
 */
export function notaryKeyJson(key: KeyOfMetadata): string {
  const base64 = Buffer.from(key.bytes.buffer, key.bytes.byteOffset, key.bytes.byteLength).toString('base64');
  return `{"keytype":"${key.algorithm}","keyval":{"private":null,"public":"${base64}"}}`;
}

/** SHA-256 over `notaryKeyJson`. */
export function keyIdOf(key: KeyOfMetadata): KeyId {
  return hash('sha256', notaryKeyJson(key), 'hex') as KeyId;
}
