/** Names of TUF roles and the rules of Notary's delegations. */
import { SignetError } from '../errors.ts';

/** The four roles that root.json names. */
export const BASE_ROLES = ['root', 'snapshot', 'targets', 'timestamp'] as const;
export type BaseRole = (typeof BASE_ROLES)[number];
/** A delegation: `targets/releases`. Made only by the functions below. */
export type DelegationName = `targets/${string}`;
/** Roles that list targets. */
export type TargetsRole = 'targets' | DelegationName;
export type RoleName = BaseRole | DelegationName;

/** Purging keys addresses all delegations at once. */
export const ALL_DELEGATIONS = 'targets/*';

const DELEGATION = /^targets(?:\/[-a-z0-9_]+)+$/;
const MAX_ROLE_LENGTH = 255;

export function isBaseRole(name: string): name is BaseRole {
  return (BASE_ROLES as readonly string[]).includes(name);
}

/** Lower-case letters, digits, `-` and `_` in parts separated by single slashes, under `targets/`. */
export function isDelegation(name: string): name is DelegationName {
  return name.length <= MAX_ROLE_LENGTH && DELEGATION.test(name);
}

export function isTargetsRole(name: string): name is TargetsRole {
  return name === 'targets' || isDelegation(name);
}

export function isRoleName(name: string): name is RoleName {
  return isBaseRole(name) || isDelegation(name);
}

/** @throws {SignetError} INVALID_ARGUMENT in Notary's words */
export function parseDelegation(name: string): DelegationName {
  if (isDelegation(name)) return name;
  throw new SignetError('INVALID_ARGUMENT', `tuf: invalid role ${quotable(name)}. invalid delegation role name`);
}

/** The error for a role that the collection does not have, in Notary's words. */
export function unknownRole(name: string): SignetError {
  return new SignetError('INVALID_ARGUMENT', `tuf: invalid role ${quotable(name)}. this role is not known`);
}

/** Role names come from people and files: bounded and without control characters in messages. */
function quotable(name: string): string {
  return name.slice(0, MAX_ROLE_LENGTH).replace(/\p{Cc}/gu, '\ufffd');
}

/** The role whose metadata names the delegation. */
export function parentOf(name: DelegationName): TargetsRole {
  return name.slice(0, name.lastIndexOf('/')) as TargetsRole;
}

/** Whether one of the paths covers the name: a path is a plain prefix, and '' covers everything. */
export function pathsCover(paths: readonly string[], name: string): boolean {
  return paths.some((path) => name.startsWith(path));
}

/** What is left of a delegation's paths inside those of its parent: a path counts only if a parent's path covers it. */
export function pathsWithin(paths: readonly string[], parentPaths: readonly string[]): string[] {
  return paths.filter((path) => pathsCover(parentPaths, path));
}
