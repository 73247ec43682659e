/** Which keys sign for a role, and how many of them must. */
import { isKeyId, type KeyId } from '../crypto/key-id.ts';
import type { JsonArray, JsonValue } from './json.ts';
import { type JsonReader, malformed } from './json-reader.ts';
import type { TufKey } from './tuf-key.ts';

export interface RoleKeys {
  /** IDs of metadata. Null is Go's nil slice: no keys, but another text. */
  readonly keyIds: readonly KeyId[] | null;
  /** At least 1. May be larger than the number of keys: such a role cannot sign. */
  readonly threshold: number;
}

/** A role with the keys themselves: what verifies and what signs. */
export interface RoleAuthority {
  /** For messages. */
  readonly name: string;
  /** Without duplicates. */
  readonly keys: readonly TufKey[];
  readonly threshold: number;
}

/** Reads `keyids` and `threshold`. @throws {SignetError} Also if a key is not among `keys` */
export function roleKeysFromJson(role: JsonReader, keys: ReadonlyMap<KeyId, TufKey>): RoleKeys {
  const threshold = role.integer('threshold', 1);
  if (role.isNull('keyids')) return { keyIds: null, threshold };
  const keyIds = role.strings('keyids').map((keyId) => {
    if (!isKeyId(keyId)) throw malformed(role.subject, 'a role names a key by something that is no key ID');
    if (!keys.has(keyId)) throw malformed(role.subject, 'a role names a key that is not there');
    return keyId;
  });
  return { keyIds, threshold };
}

export function roleKeysToJson({ keyIds, threshold }: RoleKeys): Map<string, JsonValue> {
  return new Map<string, JsonValue>([
    ['keyids', keyIds as JsonArray | null],
    ['threshold', threshold],
  ]);
}

/** @param keys Those of the metadata that names the role. */
export function roleAuthority(
  name: string,
  { keyIds, threshold }: RoleKeys,
  keys: ReadonlyMap<KeyId, TufKey>,
): RoleAuthority {
  const own = [...new Set(keyIds ?? [])].flatMap((keyId) => keys.get(keyId) ?? []);
  return { name, keys: own, threshold };
}

/** Whether the role can sign at all. */
export function hasEnoughKeys({ keyIds, threshold }: RoleKeys): boolean {
  return new Set(keyIds ?? []).size >= threshold;
}
