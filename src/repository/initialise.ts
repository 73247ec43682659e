/** Making a trusted collection. */
import { SignetError } from '../errors.ts';
import { capExpiry } from '../tuf/max-expiry.ts';
import { encodeMetadata, MAX_METADATA_BYTES, type Metadata } from '../tuf/metadata.ts';
import { newTargets, nextSnapshot, nextVersion } from '../tuf/next-version.ts';
import type { RoleAuthority } from '../tuf/role-keys.ts';
import type { RoleName } from '../tuf/roles.ts';
import { baseAuthority } from '../tuf/root.ts';
import { newRoot, rootAuthorities } from '../tuf/root-edit.ts';
import { signMetadata } from '../tuf/sign.ts';
import type { Collection } from './collection.ts';
import { publish } from './publish.ts';
import { chooseRootKey, type RootKey, type RootKeyChoice } from './root-key.ts';
import type { SigningKey, SigningKeys } from './signing-keys.ts';

export interface InitialiseOptions {
  readonly root: RootKeyChoice;
  /** The server keeps the snapshot key, as with Docker's client. */
  readonly serverSnapshot: boolean;
  readonly publish: boolean;
}

export interface Initialised {
  readonly root: RootKey;
  readonly targets: SigningKey;
  /** Undefined if the server has it. */
  readonly snapshot: SigningKey | undefined;
}

/**
 * Makes a collection: keys, a root that names them, empty targets; and publishes it if that is asked for. If anything
 * fails, the keys that were made for it go, and nothing else has changed; except if the server may have taken it.
 *
 * @param announce Called as soon as the root key is known, before the other keys are made.
 * @throws {SignetError} INVALID_ARGUMENT if the collection exists here or on the server, and what the server, the keys and
 *   the publication throw
 */
export async function initialise(
  collection: Collection,
  keys: SigningKeys,
  options: InitialiseOptions,
  announce: (root: RootKey) => void,
): Promise<Initialised> {
  const { local, now } = collection;
  await using _ = await local.lock();
  await requireNew(collection);
  // The server's part first: what fails here has made nothing.
  const timestamp = await collection.server.key('timestamp');
  const serverKey = options.serverSnapshot ? await collection.server.key('snapshot') : undefined;
  let isWritten = false;
  try {
    const root = await chooseRootKey(local.gun, options.root, keys, now);
    announce(root);
    const make = (role: string) => keys.generate({ algorithm: 'ecdsa', role, gun: local.gun });
    const targets = await make('targets');
    const snapshot = serverKey === undefined ? await make('snapshot') : undefined;
    const files = await firstFiles(
      {
        root: [root.certificate],
        targets: [targets.publicKey],
        snapshot: [serverKey ?? snapshot?.publicKey].filter((key) => key !== undefined),
        timestamp: [timestamp],
      },
      snapshot !== undefined,
      keys,
      collection,
    );
    await local.cache.write(files);
    isWritten = true;
    if (options.publish) await publish(collection, keys, true);
    return { root, targets, snapshot };
  } catch (error) {
    if (collection.server.mayHaveTaken) {
      const made = keys.made.map(({ role, key_id }) => `${role} ${key_id}`).join(', ');
      local.warn(`nobody knows whether the server took it: what was made is kept, keys included: ${made}`);
      throw withHint(error, `nobody knows whether the server took it: try signet publish ${local.gun}`);
    }
    if (isWritten) await local.cache.removeAll();
    await keys.removeMade(local.warn);
    throw error;
  }
}

async function requireNew({ local, server }: Collection): Promise<void> {
  const hint = `to begin anew, remove it with signet delete ${local.gun}`;
  if ((await local.cache.read('root')) !== undefined) {
    throw new SignetError('INVALID_ARGUMENT', `${local.gun} is here already`, { hint });
  }
  if ((await server.download('root.json', MAX_METADATA_BYTES)) === undefined) return;
  throw new SignetError('INVALID_ARGUMENT', `${server.url.host} has trust data for ${local.gun} already`, {
    hint: `signet list ${local.gun} shows it; ${hint} --remote`,
  });
}

async function firstFiles(
  base: Parameters<typeof newRoot>[0],
  withSnapshot: boolean,
  keys: SigningKeys,
  { maxExpiryDays, now }: Collection,
): Promise<ReadonlyMap<RoleName, Uint8Array>> {
  const file = async (metadata: Metadata, required: readonly RoleAuthority[]) =>
    encodeMetadata(await signMetadata(capExpiry(metadata, maxExpiryDays, now), { required }, keys.sign));
  const root = newRoot(base, now);
  const files = new Map<RoleName, Uint8Array>([
    ['root', await file(root, rootAuthorities(root, undefined))],
    ['targets', await file(nextVersion(newTargets(now), now), [baseAuthority(root, 'targets')])],
  ]);
  if (!withSnapshot) return files;
  const snapshot = nextSnapshot(undefined, { files }, now);
  return files.set('snapshot', await file(snapshot, [baseAuthority(root, 'snapshot')]));
}

function withHint(error: unknown, hint: string): unknown {
  if (!(error instanceof SignetError)) return error;
  return new SignetError(error.code, error.message, { hint, cause: error });
}
