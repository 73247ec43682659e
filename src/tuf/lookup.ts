/** Who speaks for a role, and which role's word counts for a target. */
import type { FileMeta } from './file-meta.ts';
import type { RoleAuthority } from './role-keys.ts';
import {
  isBaseRole,
  parentOf,
  pathsCover,
  pathsWithin,
  type RoleName,
  type TargetsRole,
  unknownRole,
} from './roles.ts';
import { baseAuthority, type Root } from './root.ts';
import { delegationAuthority, delegationsOf, type Targets } from './targets.ts';

/** A role's metadata, and the names that it may speak of. */
export interface ReachedRole {
  readonly role: TargetsRole;
  readonly targets: Targets;
  /** Prefixes: the role's own, as far as all roles above it have them. */
  readonly paths: readonly string[];
}

export interface FoundTarget {
  readonly name: string;
  readonly role: TargetsRole;
  readonly meta: FileMeta;
}

/** Metadata by role; roles that are missing, because they were bad or never published, delegate nothing. */
export type TargetsByRole = ReadonlyMap<TargetsRole, Targets>;

/**
 * The keys that sign for a role: base roles have theirs from root, delegations from the role above.
 *
 * @throws {SignetError} INVALID_ARGUMENT for a role that is not known
 */
export function authorityFor(role: RoleName, root: Root, roles: TargetsByRole): RoleAuthority {
  if (isBaseRole(role)) return baseAuthority(root, role);
  const parent = roles.get(parentOf(role));
  const authority = parent && delegationAuthority(parent, role);
  if (authority === undefined) throw unknownRole(role);
  return authority;
}

/** All roles that `targets` leads to, parents first, then by priority (pre-order). */
export function* reachedRoles(roles: TargetsByRole): Generator<ReachedRole> {
  yield* reachedFrom(roles, 'targets', ['']);
}

function* reachedFrom(roles: TargetsByRole, role: TargetsRole, paths: readonly string[]): Generator<ReachedRole> {
  const targets = roles.get(role);
  if (targets === undefined) return;
  yield { role, targets, paths };
  for (const { name, paths: own } of delegationsOf(targets)) yield* reachedFrom(roles, name, pathsWithin(own, paths));
}

/**
 * Finds a target: in the first of the given roles or, in pre-order, in what it delegates to; then in the next.
 *
 * @param from Roles in order of priority
 */
export function lookupTarget(
  roles: TargetsByRole,
  name: string,
  from: readonly TargetsRole[] = ['targets'],
): FoundTarget | undefined {
  for (const start of from) {
    for (const { role, targets, paths } of subtree(roles, start)) {
      const meta = pathsCover(paths, name) ? targets.targets.get(name) : undefined;
      if (meta !== undefined) return { name, role, meta };
    }
  }
  return undefined;
}

/** Every target with what `lookupTarget` finds for it, in no order. @param from Roles in order of priority */
export function listTargets(roles: TargetsByRole, from: readonly TargetsRole[] = ['targets']): FoundTarget[] {
  const found = new Map<string, FoundTarget>();
  for (const { role, targets, paths } of from.flatMap((start) => [...subtree(roles, start)])) {
    for (const [name, meta] of targets.targets) {
      if (!found.has(name) && pathsCover(paths, name)) found.set(name, { name, role, meta });
    }
  }
  return [...found.values()];
}

function* subtree(roles: TargetsByRole, start: TargetsRole): Generator<ReachedRole> {
  for (const reached of reachedRoles(roles)) {
    if (reached.role === start || reached.role.startsWith(`${start}/`)) yield reached;
  }
}
