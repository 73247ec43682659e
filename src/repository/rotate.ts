/** Replacing the keys of one of a collection's four roles. */
import { type KeyId, keyIdOf } from '../crypto/key-id.ts';
import { SignetError } from '../errors.ts';
import type { AgentKey, GenerateKeyRequest } from '../rpc/messages.ts';
import { MAX_METADATA_BYTES, parseRoot } from '../tuf/metadata.ts';
import type { BaseRole, RoleName } from '../tuf/roles.ts';
import { baseAuthority, type Root } from '../tuf/root.ts';
import { formerRootKeys, replaceRoleKeys } from '../tuf/root-edit.ts';
import { canonicalKeyId, type TufKey } from '../tuf/tuf-key.ts';
import type { Collection } from './collection.ts';
import { Draft, publishedBase } from './draft.ts';
import { draftOptions, settle } from './publish.ts';
import { certificateFor, makeRootKey } from './root-key.ts';
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
 * after the server has taken it; if it has not, the new ones that were made for it go.
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
  try {
    const draft = new Draft(publishedBase(update), draftOptions(collection, keys));
    const root = replaceRoleKeys(before, { [options.role]: next.published }, collection.now);
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
    if (await isRefused(collection, files)) await keys.removeMade(local.warn);
    else if (keys.made.length > 0) local.warn('nobody knows whether the server took the new key: both keys are kept');
    throw error;
  }
  await settle(collection, files);
  return { keys: next.own, removed: await removeReplaced(collection, before, next.published, options.role, keys) };
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
    const own = keyIds.length > 0 ? await existing(keyIds, keys) : [await make(local.gun, keys, options)];
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

async function existing(keyIds: readonly KeyId[], keys: SigningKeys): Promise<SigningKey[]> {
  const found: SigningKey[] = [];
  for (const keyId of keyIds) {
    const info = await keys.find(keyId);
    if (info === undefined) {
      throw new SignetError('KEY_NOT_FOUND', `no key ${keyId}`, { hint: 'import it first: signet key import' });
    }
    found.push(await keys.open(info));
  }
  return found;
}

/** Root keys of the versions before, for clients that have not seen the last rotations. */
async function formerKeys(
  { server }: Collection,
  { version }: Root,
  { role, legacy }: RotateOptions,
): Promise<TufKey[]> {
  if (role !== 'root' || legacy === 0) return [];
  const first = legacy < 0 ? 1 : Math.max(1, version - legacy);
  const former: Root[] = [];
  for (let number = version - 1; number >= first; number--) {
    const bytes = await server.download(`${number}.root.json`, MAX_METADATA_BYTES);
    if (bytes !== undefined) former.push(parseRoot(bytes).signed);
  }
  return formerRootKeys(former);
}

/** Whether it is certain that the server does not have the new root. */
async function isRefused({ server }: Collection, files: ReadonlyMap<RoleName, Uint8Array>): Promise<boolean> {
  const root = files.get('root');
  if (root === undefined) return true;
  return await server.download('root.json', MAX_METADATA_BYTES).then(
    (bytes) => bytes !== undefined && Buffer.compare(bytes, root) !== 0,
    () => false,
  );
}

/** Former root keys stay: old clients may need what they sign. A key that other collections have stays too. */
async function removeReplaced(
  { local }: Collection,
  before: Root,
  published: readonly TufKey[],
  role: BaseRole,
  keys: SigningKeys,
): Promise<readonly AgentKey[]> {
  if (role === 'root') return [];
  const kept = new Set(published.map(keyIdOf));
  const removed: AgentKey[] = [];
  for (const keyId of baseAuthority(before, role).keys.map(canonicalKeyId)) {
    try {
      const info = kept.has(keyId) ? undefined : await keys.find(keyId);
      if (info?.role === role && info.gun === local.gun && (await keys.remove(keyId))) removed.push(info);
    } catch (error) {
      local.warn(`the former ${role} key ${keyId} is still there: ${(error as Error).message}`);
    }
  }
  return removed;
}
