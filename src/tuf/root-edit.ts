/** New roots: the first one, and those that replace keys. */
import type { KeyId } from '../crypto/key-id.ts';
import { SignetError } from '../errors.ts';
import { expiryOf, nextVersion } from './next-version.ts';
import type { RoleAuthority, RoleKeys } from './role-keys.ts';
import { BASE_ROLES, type BaseRole } from './roles.ts';
import { baseAuthority, type Root } from './root.ts';
import { isCertificateKey, type TufKey, tufKeyId } from './tuf-key.ts';

/** Keys by role; root keys are certificates for the GUN (`ecdsa-x509`, `rsa-x509`). */
export type BaseKeys = Readonly<Record<BaseRole, readonly TufKey[]>>;

/**
 * The first root of a collection: version 1, every threshold 1.
 *
 * @throws {SignetError} INVALID_ARGUMENT for a role without a key, or a root key that is no certificate
 */
export function newRoot(keys: BaseKeys, now: Date): Root {
  const role = (name: BaseRole): RoleKeys => ({ keyIds: idsOf(name, keys[name]), threshold: 1 });
  return {
    type: 'Root',
    version: 1,
    expires: expiryOf('Root', now),
    consistentSnapshot: false,
    keys: byId(BASE_ROLES.flatMap((name) => keys[name])),
    roles: { root: role('root'), snapshot: role('snapshot'), targets: role('targets'), timestamp: role('timestamp') },
  };
}

/**
 * The next root, with all keys of the given roles replaced. Thresholds stay. Former root certificates stay in `keys`,
 * where old clients look for them; other keys go when no role has them any more.
 *
 * @throws {SignetError} INVALID_ARGUMENT for fewer keys than the role's threshold, or a root key that is no certificate;
 *   METADATA_REJECTED if there is no next version
 */
export function replaceRoleKeys(root: Root, replaced: Partial<BaseKeys>, now: Date): Root {
  const role = (name: BaseRole): RoleKeys => {
    const keys = replaced[name];
    if (keys === undefined) return root.roles[name];
    const { threshold } = root.roles[name];
    const keyIds = idsOf(name, keys);
    if (keyIds.length >= threshold) return { keyIds, threshold };
    throw new SignetError('INVALID_ARGUMENT', `the ${name} role needs ${threshold} keys, not ${keyIds.length}`);
  };
  const roles = {
    root: role('root'),
    snapshot: role('snapshot'),
    targets: role('targets'),
    timestamp: role('timestamp'),
  };
  const used = new Set(Object.values(roles).flatMap(({ keyIds }) => keyIds ?? []));
  const gone = new Set(
    BASE_ROLES.filter((name) => name !== 'root').flatMap((name) =>
      (root.roles[name].keyIds ?? []).filter((keyId) => !used.has(keyId)),
    ),
  );
  const kept = [...root.keys].filter(([keyId]) => !gone.has(keyId));
  const keys = new Map([...kept, ...byId(Object.values(replaced).flat())]);
  return nextVersion({ ...root, keys, roles }, now);
}

/**
 * Who must sign a root: its own root role, and that of the root before it, each with its threshold. The current keys
 * come first.
 */
export function rootAuthorities(next: Root, previous: Root | undefined): RoleAuthority[] {
  return [next, previous].flatMap((root) => (root === undefined ? [] : baseAuthority(root, 'root')));
}

/**
 * The root keys of former roots, newest first: signatures by them let clients follow that missed a rotation (Notary's
 * `--legacy`).
 *
 * @param former In any order
 */
export function formerRootKeys(former: Iterable<Root>): TufKey[] {
  const newestFirst = [...former].sort((a, b) => b.version - a.version);
  return [...byId(newestFirst.flatMap((root) => baseAuthority(root, 'root').keys)).values()];
}

function byId(keys: readonly TufKey[]): Map<KeyId, TufKey> {
  return new Map(keys.map((key) => [tufKeyId(key), key]));
}

function idsOf(role: BaseRole, keys: readonly TufKey[]): KeyId[] {
  if (keys.length === 0) throw new SignetError('INVALID_ARGUMENT', `the ${role} role has no key`);
  if (role === 'root' && !keys.every(isCertificateKey)) {
    throw new SignetError('INVALID_ARGUMENT', 'a root key must be a certificate for the collection');
  }
  return [...byId(keys).keys()];
}
