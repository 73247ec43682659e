/** Replacing the keys of one of a collection's four roles. */
import type { KeyId } from '../crypto/key-id.ts';
import { SignetError } from '../errors.ts';
import type { AgentKey, GenerateKeyRequest } from '../rpc/messages.ts';
import type { TargetsByRole } from '../tuf/lookup.ts';
import { MAX_METADATA_BYTES, parseRoot } from '../tuf/metadata.ts';
import { BASE_ROLES, type BaseRole, type RoleName } from '../tuf/roles.ts';
import { baseAuthority, type Root } from '../tuf/root.ts';
import { formerRootKeys, replaceRoleKeys } from '../tuf/root-edit.ts';
import { canonicalKeyId, type TufKey, tufKeyId } from '../tuf/tuf-key.ts';
import type { Collection } from './collection.ts';
import { Draft, publishedBase } from './draft.ts';
import { draftOptions, settle } from './publish.ts';
import { certificateFor, makeRootKey, requireHome } from './root-key.ts';
import type { SigningKey, SigningKeys } from './signing-keys.ts';
import { requireUpdate } from './update.ts';

export interface RotateOptions {
  readonly role: BaseRole;
  /** The server makes the key and keeps it. */
  readonly serverManaged: boolean;
  /** Keys that are here, to be used instead of a new one. */
  readonly keyIds: readonly KeyId[];
  /** How many former versions' root keys sign too, -1 for all. */
  readonly legacy: number;
  readonly requireHardware: boolean;
  readonly generate: Omit<GenerateKeyRequest, 'role' | 'gun' | 'require_hardware'>;
}

export interface Rotation {
  /** New keys that are here; none if the server has it. */
  readonly keys: readonly SigningKey[];
  /** Private keys that nothing needs any more, and that were removed. */
  readonly removed: readonly AgentKey[];
}

/** @throws {SignetError} INVALID_ARGUMENT in Notary's words, for what no server would take */
export function checkRotation({ role, serverManaged, keyIds }: RotateOptions): void {
  const problem =
    role === 'timestamp' && !serverManaged
      ? 'notary does not permit the client managing the timestamp key'
      : serverManaged && role !== 'timestamp' && role !== 'snapshot'
        ? `notary does not permit the server managing the ${role} key`
        : serverManaged && keyIds.length > 0
          ? 'a key of the server cannot be chosen here'
          : undefined;
  if (problem !== undefined) throw new SignetError('INVALID_ARGUMENT', problem);
}

/**
 * Rotates and publishes at once; what is staged stays staged. Private keys that the rotation replaces are removed only
 * after the server has taken it; the new ones that were made for it only if the server certainly has not.
 *
 * @throws {SignetError} INVALID_ARGUMENT, KEY_NOT_FOUND without the present root key, METADATA_REJECTED, UNAVAILABLE, and
 *   what signing throws
 */
export async function rotate(collection: Collection, keys: SigningKeys, options: RotateOptions): Promise<Rotation> {
  checkRotation(options);
  const { local } = collection;
  await using _ = await local.lock();
  const update = await requireUpdate(collection, { mayUseCache: false, mayHaveExpired: true }, true);
  const before = update.trusted.root.signed;
  const next = await nextKeys(collection, keys, options);
  let files: ReadonlyMap<RoleName, Uint8Array> = new Map();
  let root: Root;
  try {
    const draft = new Draft(publishedBase(update), draftOptions(collection, keys));
    root = replaceRoleKeys(before, { [options.role]: next.published }, collection.now);
    await draft.replaceRoot(root, await formerKeys(collection, before, options));
    if (options.role === 'targets') await draft.signRole('targets');
    await draft.renew();
    files = await draft.finish();
    if (!(await collection.server.upload(files))) {
      throw new SignetError('METADATA_REJECTED', 'a newer version of metadata is already available', {
        hint: 'somebody else published meanwhile: try again',
      });
    }
  } catch (error) {
    // A key that the server may have heard of is not thrown away.
    if (!collection.server.mayHaveTaken) await keys.removeMade(local.warn);
    else if (keys.made.length > 0) local.warn(bothKept(keys.made, baseAuthority(before, options.role).keys));
    throw error;
  }
  await settle(collection, files);
  if (options.role === 'root') return { keys: next.own, removed: [] };
  const replaced = baseAuthority(before, options.role).keys.map(canonicalKeyId);
  const used = usedKeys(root, update.trusted.targetsByRole());
  const unused = replaced.filter((keyId) => !used.has(keyId));
  return { keys: next.own, removed: await removeReplaced(collection, unused, options.role, keys) };
}

interface NextKeys {
  readonly own: readonly SigningKey[];
  /** As root.json is to have them. */
  readonly published: readonly TufKey[];
}

async function nextKeys(
  { local, server, now }: Collection,
  keys: SigningKeys,
  options: RotateOptions,
): Promise<NextKeys> {
  const { role, keyIds, serverManaged } = options;
  if (serverManaged && (role === 'timestamp' || role === 'snapshot')) {
    return { own: [], published: [await server.newKey(role)] };
  }
  try {
    const own = keyIds.length > 0 ? await existing(options, keys) : [await make(local.gun, keys, options)];
    const published: TufKey[] = [];
    for (const key of own) {
      published.push(role === 'root' ? await certificateFor(local.gun, key, keys, now) : key.publicKey);
    }
    return { own, published };
  } catch (error) {
    await keys.removeMade(local.warn);
    throw error;
  }
}

async function make(gun: string, keys: SigningKeys, options: RotateOptions): Promise<SigningKey> {
  if (options.role === 'root') return await makeRootKey(options, keys);
  return await keys.generate({
    ...options.generate,
    role: options.role,
    gun,
    require_hardware: options.requireHardware,
  });
}

async function existing(options: RotateOptions, keys: SigningKeys): Promise<SigningKey[]> {
  const found: SigningKey[] = [];
  for (const keyId of options.keyIds) {
    const info = await keys.find(keyId);
    if (info === undefined) {
      throw new SignetError('KEY_NOT_FOUND', `no key ${keyId}`, { hint: 'import it first: signet key import' });
    }
    found.push(await keys.open(requireHome(info, options)));
  }
  return found;
}

/**
 * Root keys of the versions before, for clients that have not seen the last rotations. The versions are only the server's
 * word: of their keys, only those sign that the trusted root still lists.
 */
async function formerKeys(
  { server }: Collection,
  { version, keys }: Root,
  { role, legacy }: RotateOptions,
): Promise<TufKey[]> {
  if (role !== 'root' || legacy === 0) return [];
  const first = legacy < 0 ? 1 : Math.max(1, version - legacy);
  const former: Root[] = [];
  for (let number = version - 1; number >= first; number--) {
    const bytes = await server.download(`${number}.root.json`, MAX_METADATA_BYTES);
    if (bytes !== undefined) former.push(parseRoot(bytes).signed);
  }
  return formerRootKeys(former).filter((key) => keys.has(tufKeyId(key)));
}

function bothKept(made: readonly AgentKey[], former: readonly TufKey[]): string {
  const newIds = made.map(({ key_id }) => key_id).join(', ');
  const formerIds = former.map(canonicalKeyId).join(', ');
  return `nobody knows whether the server took the new key: both keys are kept, the new ${newIds} and the former ${formerIds}`;
}

/** Canonical IDs of the keys that a root's roles or any delegation name. */
function usedKeys(root: Root, roles: TargetsByRole): ReadonlySet<KeyId> {
  const ofRoles = BASE_ROLES.flatMap((role) => baseAuthority(root, role).keys);
  const ofDelegations = [...roles.values()].flatMap(({ delegations }) => [...delegations.keys.values()]);
  return new Set([...ofRoles, ...ofDelegations].map(canonicalKeyId));
}

/** Former root keys stay: old clients may need what they sign. A key that other collections have stays too. */
async function removeReplaced(
  { local }: Collection,
  replaced: readonly KeyId[],
  role: BaseRole,
  keys: SigningKeys,
): Promise<readonly AgentKey[]> {
  const removed: AgentKey[] = [];
  for (const keyId of replaced) {
    try {
      const info = await keys.find(keyId);
      if (info?.role === role && info.gun === local.gun && (await keys.remove(keyId))) removed.push(info);
    } catch (error) {
      local.warn(`the former ${role} key ${keyId} is still there: ${(error as Error).message}`);
    }
  }
  return removed;
}
