/** targets.json and the metadata of delegations. */
import type { KeyId } from '../crypto/key-id.ts';
import { type FileMeta, fileMetasFromJson, fileMetasToJson } from './file-meta.ts';
import type { JsonArray, JsonObject, JsonSubject, JsonValue } from './json.ts';
import { JsonReader, malformed } from './json-reader.ts';
import { headerToJson, type MetadataHeader, readSigned } from './metadata-header.ts';
import { type RoleAuthority, type RoleKeys, roleAuthority, roleKeysFromJson, roleKeysToJson } from './role-keys.ts';
import { type DelegationName, isDelegation, parentOf } from './roles.ts';
import { keysFromJson, keysToJson, type TufKey } from './tuf-key.ts';

export interface Targets extends MetadataHeader {
  readonly type: 'Targets';
  readonly delegations: Delegations;
  readonly targets: ReadonlyMap<string, FileMeta>;
}

export interface Delegations {
  readonly keys: ReadonlyMap<KeyId, TufKey>;
  /** In order of priority. Null is Go's nil slice: none, but another text. */
  readonly roles: readonly DelegationRole[] | null;
}

export interface DelegationRole extends RoleKeys {
  /** A direct child of the role that delegates. */
  readonly name: DelegationName;
  /** Prefixes of target names; '' is all names, no paths are no names. */
  readonly paths: readonly string[];
}

/** @param role Whose metadata it is; only its direct children may be delegated to. @throws {SignetError} The subject's code */
export function targetsFromJson(value: JsonObject, role: string, subject: JsonSubject): Targets {
  const { signed, header } = readSigned(value, 'Targets', ['delegations', 'targets'], subject);
  return {
    type: 'Targets',
    ...header,
    delegations: signed.isNull('delegations')
      ? { keys: new Map(), roles: null }
      : delegationsFromJson(signed.value('delegations'), role, subject),
    targets: fileMetasFromJson(signed.object('targets'), 'signed.targets', subject),
  };
}

function delegationsFromJson(value: JsonValue, parent: string, subject: JsonSubject): Delegations {
  const path = 'signed.delegations';
  const delegations = new JsonReader(value, ['keys', 'roles'], path, subject);
  const keys = delegations.isNull('keys')
    ? new Map()
    : keysFromJson(delegations.value('keys'), `${path}.keys`, subject);
  if (delegations.isNull('roles')) return { keys, roles: null };
  const roles = delegations.array('roles').map((item): DelegationRole => {
    const role = new JsonReader(item, ['keyids', 'name', 'paths', 'threshold'], `${path}.roles`, subject);
    const name = role.string('name');
    if (!isDelegation(name) || parentOf(name) !== parent)
      return role.fail(`names a role that is no child of ${parent}`);
    const paths = role.isNull('paths') ? [] : role.strings('paths');
    return { name, paths, ...roleKeysFromJson(role, keys) };
  });
  if (new Set(roles.map(({ name }) => name)).size < roles.length) throw malformed(subject, 'a role is delegated twice');
  return { keys, roles };
}

export function targetsToJson(targets: Targets): JsonObject {
  const { keys, roles } = targets.delegations;
  const delegations = new Map<string, JsonValue>([
    ['keys', keysToJson(keys)],
    ['roles', roles === null ? null : roles.map(delegationToJson)],
  ]);
  return headerToJson('Targets', targets)
    .set('delegations', delegations)
    .set('targets', fileMetasToJson(targets.targets));
}

function delegationToJson(role: DelegationRole): JsonObject {
  const json = roleKeysToJson(role).set('name', role.name);
  return role.paths.length === 0 ? json : json.set('paths', role.paths as JsonArray);
}

/** The roles that are delegated to, in order of priority. */
export function delegationsOf(targets: Targets): readonly DelegationRole[] {
  return targets.delegations.roles ?? [];
}

/** The keys that sign for a delegation; undefined if the metadata of its parent does not name it. */
export function delegationAuthority(parent: Targets, name: DelegationName): RoleAuthority | undefined {
  const role = delegationsOf(parent).find((delegation) => delegation.name === name);
  return role && roleAuthority(name, role, parent.delegations.keys);
}
