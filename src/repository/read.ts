/** Reading a collection: what its publisher says about targets, and who may speak for it. */

import type { KeyId } from '../crypto/key-id.ts';
import { SignetError } from '../errors.ts';
import { compareUtf8 } from '../tuf/canonical-json.ts';
import { checkFileMeta, type FileMeta } from '../tuf/file-meta.ts';
import { type FoundTarget, listTargets, lookupTarget, type TargetsByRole } from '../tuf/lookup.ts';
import type { TargetsRole } from '../tuf/roles.ts';
import { type DelegationRole, delegationsOf } from '../tuf/targets.ts';
import { canonicalKeyId } from '../tuf/tuf-key.ts';

/** Every target, by name. @param from Roles in order of priority; none for all. */
export function allTargets(roles: TargetsByRole, from: readonly TargetsRole[]): readonly FoundTarget[] {
  return listTargets(roles, from.length > 0 ? from : undefined).sort((a, b) => compareUtf8(a.name, b.name));
}

/** @throws {SignetError} METADATA_REJECTED in Notary's words if no role speaks of it */
export function requireTarget(roles: TargetsByRole, name: string): FoundTarget {
  const found = lookupTarget(roles, name);
  if (found !== undefined) return found;
  throw new SignetError('METADATA_REJECTED', `No valid trust data for ${name}`);
}

/** @param actual Of the content. @throws {SignetError} METADATA_REJECTED in Notary's words */
export function requireContent(actual: FileMeta, { name, meta }: FoundTarget): void {
  try {
    checkFileMeta(actual, meta, name);
  } catch (error) {
    throw new SignetError(
      'METADATA_REJECTED',
      `data not present in the trusted collection, ${(error as SignetError).message}`,
      { cause: error },
    );
  }
}

export interface ListedDelegation extends DelegationRole {
  /** As `key list` shows them, not those of certificates. */
  readonly canonicalKeyIds: readonly KeyId[];
}

/** Delegations of all roles, by name. */
export function allDelegations(roles: TargetsByRole): readonly ListedDelegation[] {
  return [...roles.values()]
    .flatMap((targets) =>
      delegationsOf(targets).map((role) => ({
        ...role,
        canonicalKeyIds: (role.keyIds ?? []).flatMap((keyId) => {
          const key = targets.delegations.keys.get(keyId);
          return key === undefined ? [] : [canonicalKeyId(key)];
        }),
      })),
    )
    .sort((a, b) => compareUtf8(a.name, b.name));
}
