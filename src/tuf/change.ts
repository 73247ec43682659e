/** What people stage before they publish. `change-file.ts` has the files. */
import type { FileMeta } from './file-meta.ts';
import type { DelegationName, RoleName, TargetsRole } from './roles.ts';
import type { TufKey } from './tuf-key.ts';

export type Change = AddTarget | RemoveTarget | EditDelegation | DeleteDelegation | PurgeDelegationKeys | Witness;

/** Adds a target, or replaces it. */
export interface AddTarget {
  readonly type: 'add-target';
  readonly role: TargetsRole;
  readonly name: string;
  readonly meta: FileMeta;
}

/** Removes a target; nothing happens if it is not there. */
export interface RemoveTarget {
  readonly type: 'remove-target';
  readonly role: TargetsRole;
  readonly name: string;
}

/** Changes a delegation. */
export interface EditDelegation {
  readonly type: 'edit-delegation';
  readonly role: DelegationName;
  /** Whether the delegation is made if it is not there; otherwise it must be there. */
  readonly create: boolean;
  readonly threshold?: number;
  readonly addKeys?: readonly TufKey[];
  /** IDs of keys or of their certificates. Unknown ones are ignored. */
  readonly removeKeys?: readonly string[];
  readonly addPaths?: readonly string[];
  readonly removePaths?: readonly string[];
  /** Removes all paths, before others are added. */
  readonly clearPaths?: boolean;
}

export interface DeleteDelegation {
  readonly type: 'delete-delegation';
  readonly role: DelegationName;
}

/** Removes keys from all delegations. */
export interface PurgeDelegationKeys {
  readonly type: 'purge-delegation-keys';
  /** As `EditDelegation.removeKeys`. */
  readonly keyIds: readonly string[];
}

/** Signs a role anew although nothing in it changes, because its keys have. */
export interface Witness {
  readonly type: 'witness';
  readonly role: RoleName;
}
