/** Changes of the delegations that one role gives. */
import type { KeyId } from '../crypto/key-id.ts';
import { SignetError } from '../errors.ts';
import type { EditDelegation } from './change.ts';
import { type DelegationName, pathsWithin, unknownRole } from './roles.ts';
import { type DelegationRole, delegationsOf, type Targets } from './targets.ts';
import { canonicalKeyId, type TufKey, tufKeyId } from './tuf-key.ts';

/** Notary's, for delegations that it makes. */
const DEFAULT_THRESHOLD = 1;

/**
 * Changes a delegation, or makes it at the end of the list. A delegation may end up with fewer keys than its threshold:
 * it cannot sign until it has more (`hasEnoughKeys`).
 *
 * @param parentPaths What the parent itself may speak of
 * @throws {SignetError} INVALID_ARGUMENT if it is not there and not to be made, or for a path outside the parent's
 */
export function addOrEditDelegation(parent: Targets, edit: EditDelegation, parentPaths: readonly string[]): Targets {
  const roles = delegationsOf(parent);
  const found = roles.find(({ name }) => name === edit.role);
  if (found === undefined && !edit.create) throw unknownRole(edit.role);
  const before: DelegationRole = found ?? { name: edit.role, paths: [], keyIds: [], threshold: DEFAULT_THRESHOLD };

  const addPaths = edit.addPaths ?? [];
  if (pathsWithin(addPaths, parentPaths).length < addPaths.length) {
    throw new SignetError('INVALID_ARGUMENT', `a path of ${edit.role} is outside those of the role above it`);
  }
  const remainingPaths = edit.clearPaths ? [] : before.paths.filter((path) => !edit.removePaths?.includes(path));
  const keys = new Map(parent.delegations.keys);
  for (const key of edit.addKeys ?? []) keys.set(tufKeyId(key), key);

  const after: DelegationRole = {
    name: edit.role,
    keyIds: union(withoutKeys(before, edit.removeKeys ?? [], keys), (edit.addKeys ?? []).map(tufKeyId)),
    paths: union(remainingPaths, addPaths),
    threshold: edit.threshold ?? before.threshold,
  };
  const others = found === undefined ? [...roles, after] : roles.map((role) => (role === found ? after : role));
  return withDelegations(parent, keys, others);
}

/** @throws {SignetError} INVALID_ARGUMENT if the role is not delegated to */
export function deleteDelegation(parent: Targets, name: DelegationName): Targets {
  const roles = delegationsOf(parent);
  const rest = roles.filter((role) => role.name !== name);
  if (rest.length === roles.length) throw unknownRole(name);
  return withDelegations(parent, parent.delegations.keys, rest);
}

/** Takes keys out of all delegations of a role. @returns The same object if none of them has any. */
export function removeDelegationKeys(parent: Targets, keyIds: readonly string[]): Targets {
  const { keys } = parent.delegations;
  const roles = delegationsOf(parent);
  const after = roles.map((role) => ({ ...role, keyIds: withoutKeys(role, keyIds, keys) }));
  const isSame = after.every(({ keyIds: left }, index) => left.length === (roles[index]?.keyIds ?? []).length);
  return isSame ? parent : withDelegations(parent, keys, after);
}

/** @param removed IDs of keys, or of their certificates */
function withoutKeys(role: DelegationRole, removed: readonly string[], keys: ReadonlyMap<KeyId, TufKey>): KeyId[] {
  return (role.keyIds ?? []).filter((keyId) => {
    const key = keys.get(keyId);
    return !removed.includes(keyId) && !(key && removed.includes(canonicalKeyId(key)));
  });
}

/** Keys that no role has any more go. */
function withDelegations(parent: Targets, keys: ReadonlyMap<KeyId, TufKey>, roles: readonly DelegationRole[]): Targets {
  const used = new Set(roles.flatMap(({ keyIds }) => keyIds ?? []));
  const kept = new Map([...keys].filter(([keyId]) => used.has(keyId)));
  return { ...parent, delegations: { keys: kept, roles } };
}

function union<T>(first: readonly T[], second: readonly T[]): T[] {
  return [...new Set([...first, ...second])];
}
