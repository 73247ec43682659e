/** Public keys as metadata holds them, and their two IDs. */
import { type KeyId, keyIdOf } from '../crypto/key-id.ts';
import type { PublicKey } from '../crypto/public-key.ts';
import { SignetError } from '../errors.ts';
import { bundlePublicKey } from './certificate-bundle.ts';
import type { JsonObject, JsonSubject, JsonValue } from './json.ts';
import { asObject, JsonReader, malformed, toBase64 } from './json-reader.ts';

/** A key of metadata. Every `PublicKey` is one. */
export interface TufKey {
  /** `keytype`: an algorithm of ours, `ecdsa-x509`, `rsa-x509`, or one that a later Notary may know. */
  readonly algorithm: string;
  /** As in `PublicKey`; for certificates their PEM text, leaf first. */
  readonly bytes: Uint8Array;
}

/** Key types without characters that JSON escapes; of unknown ones nothing but the ID is ever used. */
const KEY_TYPE = /^[-a-z0-9_.]{1,64}$/i;

/** The ID that metadata uses: for a certificate it is that of the certificate, not of its key. */
export function tufKeyId(key: TufKey): KeyId {
  return keyIdOf(key);
}

/**
 * The ID that private key files, prompts and the signing daemon use: that of the public key itself.
 *
 * @throws {SignetError} METADATA_REJECTED for a key that holds no usable certificate
 */
export function canonicalKeyId(key: TufKey): KeyId {
  return keyIdOf(isCertificateKey(key) ? publicKeyOfTufKey(key) : key);
}

export function isCertificateKey(key: TufKey): boolean {
  return key.algorithm === 'ecdsa-x509' || key.algorithm === 'rsa-x509';
}

/**
 * The key that verifies: for certificates that of the leaf.
 *
 * @throws {SignetError} METADATA_REJECTED for an unknown key type or a malformed certificate
 */
export function publicKeyOfTufKey(key: TufKey): PublicKey {
  switch (key.algorithm) {
    case 'ecdsa':
    case 'ed25519':
    case 'rsa':
      return { algorithm: key.algorithm, bytes: key.bytes };
    case 'ecdsa-x509':
    case 'rsa-x509': {
      const publicKey = bundlePublicKey(key.bytes);
      if (`${publicKey.algorithm}-x509` === key.algorithm) return publicKey;
      throw new SignetError('METADATA_REJECTED', `a key of type ${key.algorithm} has another kind of certificate`);
    }
    default:
      throw new SignetError('METADATA_REJECTED', `unknown key type "${key.algorithm}"`);
  }
}

/** Member order is that of canonical JSON. */
function keyToJson(key: TufKey): JsonObject {
  const keyval = new Map<string, JsonValue>([
    ['private', null],
    ['public', toBase64(key.bytes)],
  ]);
  return new Map<string, JsonValue>([
    ['keytype', key.algorithm],
    ['keyval', keyval],
  ]);
}

/** @throws {SignetError} The subject's code; also for a key that carries a private half */
export function keyFromJson(value: JsonValue | undefined, path: string, subject: JsonSubject): TufKey {
  const key = new JsonReader(value, ['keytype', 'keyval'], path, subject);
  const keyval = new JsonReader(key.value('keyval'), ['private', 'public'], `${path}.keyval`, subject);
  const algorithm = key.string('keytype');
  if (!KEY_TYPE.test(algorithm)) key.fail('has a malformed key type');
  if (!keyval.isNull('private')) keyval.fail('holds a private key');
  return { algorithm, bytes: keyval.base64('public') };
}

/** Reads `{<key ID>: <key>}`. @throws {SignetError} The subject's code; also for a key under another ID than its own */
export function keysFromJson(value: JsonValue, path: string, subject: JsonSubject): Map<KeyId, TufKey> {
  const keys = new Map<KeyId, TufKey>();
  for (const [id, member] of asObject(value, path, subject)) {
    const key = keyFromJson(member, path, subject);
    const keyId = tufKeyId(key);
    if (keyId !== id) throw malformed(subject, 'key ID is not valid for key content');
    keys.set(keyId, key);
  }
  return keys;
}

export function keysToJson(keys: ReadonlyMap<KeyId, TufKey>): JsonObject {
  return new Map([...keys].map(([keyId, key]) => [keyId, keyToJson(key)]));
}
