/** Applies staged changes to the targets roles of a collection. */
import { SignetError } from '../errors.ts';
import type { AddTarget, Change, EditDelegation, Witness } from './change.ts';
import { addOrEditDelegation, deleteDelegation, removeDelegationKeys } from './delegation-edit.ts';
import type { FileMeta } from './file-meta.ts';
import type { TargetsByRole } from './lookup.ts';
import { requirePublishableName } from './metadata.ts';
import { newTargets } from './next-version.ts';
import {
  type DelegationName,
  isTargetsRole,
  parentOf,
  pathsCover,
  pathsWithin,
  type TargetsRole,
  unknownRole,
} from './roles.ts';
import { delegationsOf, type Targets } from './targets.ts';

export interface TargetsEdit {
  /**
   * All roles after the changes; versions and expiry are as before. A new role has version 0; if the server knows an
   * older one of its name, the caller gives it that one's version.
   */
  readonly roles: TargetsByRole;
  /** Roles that must be signed anew, with `nextVersion`: changed ones and witnessed ones. */
  readonly changed: ReadonlySet<TargetsRole>;
  /** Roles that are delegated to no more, those below them included. */
  readonly removed: ReadonlySet<TargetsRole>;
}

/**
 * Applies changes in order, all or none.
 *
 * @param roles Verified metadata by role. Not changed.
 * @throws {SignetError} INVALID_ARGUMENT with the number of the change in the message, counted from 0
 */
export function applyChanges(roles: TargetsByRole, changes: Iterable<Change>, now: Date): TargetsEdit {
  const draft = new TargetsDraft(roles, now);
  let index = 0;
  for (const change of changes) {
    try {
      draft.apply(change);
    } catch (error) {
      throw error instanceof SignetError ? inChange(index, error) : error;
    }
    index++;
  }
  return draft.result();
}

function inChange(index: number, { code, message, hint, cause }: SignetError): SignetError {
  const options = { cause, hint: hint ?? `remove change ${index} from the changelist, or correct what it needs` };
  return new SignetError(code, `change ${index}: ${message}`, options);
}

class TargetsDraft {
  readonly #now: Date;
  readonly #roles: Map<TargetsRole, Targets>;
  /** Targets of roles that were copied for this draft: thousands of changes copy them once. */
  readonly #copies = new Map<TargetsRole, Map<string, FileMeta>>();
  readonly #changed = new Set<TargetsRole>();
  readonly #removed = new Set<TargetsRole>();
  /** A server takes no version of a role that it has seen before, even if the role was gone in between. */
  readonly #formerVersions = new Map<TargetsRole, number>();

  constructor(roles: TargetsByRole, now: Date) {
    this.#roles = new Map(roles);
    this.#now = now;
  }

  apply(change: Change): void {
    switch (change.type) {
      case 'add-target':
        this.#addTarget(change);
        break;
      case 'remove-target':
        if (this.#metadata(change.role).targets.has(change.name)) this.#copy(change.role).delete(change.name);
        break;
      case 'edit-delegation':
        this.#editDelegation(change);
        break;
      case 'delete-delegation':
        this.#deleteDelegation(change.role);
        break;
      case 'purge-delegation-keys':
        for (const [role, targets] of this.#roles) this.#replace(role, removeDelegationKeys(targets, change.keyIds));
        break;
      case 'witness':
        this.#witness(change);
        break;
    }
  }

  result(): TargetsEdit {
    return { roles: this.#roles, changed: this.#changed, removed: this.#removed };
  }

  #addTarget({ role, name, meta }: AddTarget): void {
    requirePublishableName(name);
    if (!pathsCover(this.#paths(role), name)) {
      throw new SignetError('INVALID_ARGUMENT', `could not add all targets: ${role} may not sign ${quoted(name)}`, {
        hint: `add a path to ${role} that the name starts with, or add the target to another role`,
      });
    }
    this.#copy(role).set(name, meta);
  }

  #editDelegation(edit: EditDelegation): void {
    const parent = parentOf(edit.role);
    this.#replace(parent, addOrEditDelegation(this.#metadata(parent), edit, this.#paths(parent)));
  }

  #deleteDelegation(role: DelegationName): void {
    const parent = parentOf(role);
    this.#replace(parent, deleteDelegation(this.#metadata(parent), role));
    for (const [name, { version }] of [...this.#roles]) {
      if (name !== role && !name.startsWith(`${role}/`)) continue;
      this.#formerVersions.set(name, version);
      this.#roles.delete(name);
      this.#copies.delete(name);
      this.#changed.delete(name);
      this.#removed.add(name);
    }
  }

  #witness({ role }: Witness): void {
    if (!isTargetsRole(role) || !this.#roles.has(role)) throw unknownRole(role);
    this.#changed.add(role);
  }

  /** The role's metadata; empty metadata for a delegation that has published nothing yet. */
  #metadata(role: TargetsRole): Targets {
    this.#paths(role); // refuses roles that nobody delegates to
    return this.#roles.get(role) ?? { ...newTargets(this.#now), version: this.#formerVersions.get(role) ?? 0 };
  }

  /** Paths that the role may speak of. @throws {SignetError} INVALID_ARGUMENT for a role that is not known */
  #paths(role: TargetsRole): readonly string[] {
    if (role === 'targets') return [''];
    const parent = this.#roles.get(parentOf(role));
    const delegation = parent && delegationsOf(parent).find(({ name }) => name === role);
    if (delegation === undefined) throw unknownRole(role);
    return pathsWithin(delegation.paths, this.#paths(parentOf(role)));
  }

  /** The role's targets, to be changed. */
  #copy(role: TargetsRole): Map<string, FileMeta> {
    const copied = this.#copies.get(role);
    if (copied !== undefined) return copied;
    const metadata = this.#metadata(role);
    const targets = new Map(metadata.targets);
    this.#copies.set(role, targets);
    this.#replace(role, { ...metadata, targets });
    return targets;
  }

  #replace(role: TargetsRole, targets: Targets): void {
    if (this.#roles.get(role) === targets) return;
    this.#roles.set(role, targets);
    this.#changed.add(role);
    this.#removed.delete(role);
  }
}

/** Names of targets are shown as JSON strings, so that they cannot imitate other text. */
function quoted(name: string): string {
  return JSON.stringify(name.slice(0, 128));
}
