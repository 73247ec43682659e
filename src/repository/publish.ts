/** Publishing what is staged. */
import { SignetError } from '../errors.ts';
import { MAX_METADATA_BYTES, parseTargets } from '../tuf/metadata.ts';
import type { DelegationName, RoleName } from '../tuf/roles.ts';
import type { Collection } from './collection.ts';
import { Draft, type DraftOptions, initialisedBase, publishedBase } from './draft.ts';
import type { SigningKeys } from './signing-keys.ts';
import { requireUpdate, unknownCollection, updateCollection } from './update.ts';

/** Another publisher may be faster again and again; this often we start anew from what was published. */
const MAX_ATTEMPTS = 5;

const EMPTY = Buffer.alloc(0);

export interface Publication {
  /** Roles that were uploaded; none if there was nothing to publish. */
  readonly roles: readonly RoleName[];
  /** Staged changes that were published. */
  readonly changes: number;
}

/**
 * Publishes what is staged: all of it, on top of what the server has, or nothing. Changes that were published leave the
 * changelist; those that came meanwhile stay.
 *
 * @param held True if the caller has locked the collection.
 * @throws {SignetError} METADATA_REJECTED if neither side knows the collection or the server refuses, KEY_NOT_FOUND,
 *   INVALID_ARGUMENT for a change that cannot be applied, UNAVAILABLE, and what signing throws
 */
export async function publish(collection: Collection, keys: SigningKeys, held = false): Promise<Publication> {
  const { changelist } = collection.local;
  await using _ = held ? undefined : await collection.local.lock();
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const staged = await changelist.read();
    const draft = await startDraft(collection, keys);
    await draft.apply(staged.map(({ change }) => change));
    await draft.renew();
    const files = await draft.finish();
    if (files.size > 0) {
      if (!(await collection.server.upload(files))) continue;
      await settle(collection, files);
    }
    await changelist.remove(staged.map(({ file }) => file));
    return { roles: [...files.keys()], changes: staged.length };
  }
  throw new SignetError('METADATA_REJECTED', 'a newer version of metadata is already available', {
    hint: 'others publish to this collection: try again',
  });
}

/** On top of what is published or, for the first publication, of what was initialised. */
async function startDraft(collection: Collection, keys: SigningKeys): Promise<Draft> {
  const update = await updateCollection(collection, { mayUseCache: false, mayHaveExpired: true }, true);
  const base = update === undefined ? await initialisedBase(collection) : publishedBase(update);
  if (base === undefined) throw unknownCollection(collection);
  return new Draft(base, draftOptions(collection, keys));
}

export function draftOptions({ server, local, maxExpiryDays, now }: Collection, keys: SigningKeys): DraftOptions {
  const formerVersion = async (role: DelegationName) => {
    const bytes = await server.download(`${role}.json`, MAX_METADATA_BYTES);
    return bytes === undefined ? 0 : parseTargets(bytes, role).signed.version;
  };
  return { keys, now, maxExpiryDays, warn: local.warn, formerVersion };
}

/**
 * Looks at a collection that was just published as its readers do, and keeps what they see. A server that took the files
 * and cannot serve them is found now, not by them.
 *
 * @param held The collection is locked.
 * @throws {SignetError} METADATA_REJECTED if readers would refuse it
 */
export async function settle(collection: Collection, files: ReadonlyMap<RoleName, Uint8Array>): Promise<void> {
  const { local } = collection;
  const root = files.get('root');
  if (root !== undefined) await local.cache.write(new Map([['root', root]]));
  try {
    const { trusted } = await requireUpdate(collection, { mayUseCache: false, mayHaveExpired: true, files }, true);
    const shown = new Map<RoleName, Uint8Array>([['root', trusted.root.bytes]]);
    for (const [role, { bytes }] of trusted.targets) shown.set(role, bytes);
    for (const [role, bytes] of files) {
      if (role === 'snapshot' || Buffer.compare(shown.get(role) ?? EMPTY, bytes) === 0) continue;
      local.warn(`the server shows another version of ${role} than was published: it is behind, or others were faster`);
    }
  } catch (error) {
    if (!(error instanceof SignetError) || error.code !== 'UNAVAILABLE') throw error;
    local.warn(`published, but not read back: ${error.message}`);
  }
}
