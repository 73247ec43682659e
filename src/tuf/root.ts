/** root.json: the keys of all four roles. */
import type { KeyId } from '../crypto/key-id.ts';
import type { JsonObject, JsonSubject } from './json.ts';
import { JsonReader } from './json-reader.ts';
import { headerToJson, type MetadataHeader, readSigned } from './metadata-header.ts';
import { type RoleAuthority, type RoleKeys, roleAuthority, roleKeysFromJson, roleKeysToJson } from './role-keys.ts';
import { BASE_ROLES, type BaseRole, isBaseRole } from './roles.ts';
import { keysFromJson, keysToJson, type TufKey } from './tuf-key.ts';

export interface Root extends MetadataHeader {
  readonly type: 'Root';
  /** Always false when Notary writes it. */
  readonly consistentSnapshot: boolean;
  /** May hold keys that no role uses any more: former root certificates. */
  readonly keys: ReadonlyMap<KeyId, TufKey>;
  readonly roles: Readonly<Record<BaseRole, RoleKeys>>;
}

/** @throws {SignetError} The subject's code */
export function rootFromJson(value: JsonObject, subject: JsonSubject): Root {
  const { signed, header } = readSigned(value, 'Root', ['consistent_snapshot', 'keys', 'roles'], subject);
  const keys = keysFromJson(signed.value('keys'), 'signed.keys', subject);
  const roles = signed.object('roles');
  if ([...roles.keys()].some((name) => !isBaseRole(name))) signed.fail('names a role that is none of the four');
  const roleKeys = (name: BaseRole): RoleKeys => {
    const role = new JsonReader(roles.get(name), ['keyids', 'threshold'], `signed.roles.${name}`, subject);
    return roleKeysFromJson(role, keys);
  };
  return {
    type: 'Root',
    ...header,
    consistentSnapshot: signed.boolean('consistent_snapshot'),
    keys,
    roles: {
      root: roleKeys('root'),
      snapshot: roleKeys('snapshot'),
      targets: roleKeys('targets'),
      timestamp: roleKeys('timestamp'),
    },
  };
}

export function rootToJson(root: Root): JsonObject {
  return headerToJson('Root', root)
    .set('consistent_snapshot', root.consistentSnapshot)
    .set('keys', keysToJson(root.keys))
    .set('roles', new Map(BASE_ROLES.map((name) => [name, roleKeysToJson(root.roles[name])])));
}

/** The keys that sign for one of the four roles. */
export function baseAuthority(root: Root, role: BaseRole): RoleAuthority {
  return roleAuthority(role, root.roles[role], root.keys);
}
