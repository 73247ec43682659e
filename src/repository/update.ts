/** A client's update: what the server has, believed step by step, and kept (TUF specification §5). */
import { SignetError } from '../errors.ts';
import { checkFile, type FileMeta } from '../tuf/file-meta.ts';
import { authorityFor } from '../tuf/lookup.ts';
import {
  MAX_METADATA_BYTES,
  MAX_TIMESTAMP_BYTES,
  type Metadata,
  parseRoot,
  parseSnapshot,
  parseTargets,
  parseTimestamp,
  type ReceivedMetadata,
} from '../tuf/metadata.ts';
import { expiresSoon } from '../tuf/next-version.ts';
import { type DelegationName, isDelegation, type RoleName, type TargetsRole } from '../tuf/roles.ts';
import { lowVersion } from '../tuf/root-trust.ts';
import { TrustedMetadata, type UpdateBounds } from '../tuf/trusted-metadata.ts';
import { verifySignatures } from '../tuf/verify.ts';
import type { Collection } from './collection.ts';

/** A delegation that the snapshot names, and that was not believed. */
export interface RefusedDelegation {
  /** The file that the snapshot names, no older than the kept one; undefined if the server does not have that. */
  readonly bytes: Uint8Array | undefined;
  readonly reason: SignetError;
}

export interface Update {
  readonly trusted: TrustedMetadata;
  readonly refused: ReadonlyMap<DelegationName, RefusedDelegation>;
  /** Roles that have expired, for their publisher to sign anew. */
  readonly expired: ReadonlySet<RoleName>;
  /** False: the server could not be asked, or knows nothing, and a timestamp from before was used. */
  readonly isFresh: boolean;
}

export interface UpdateOptions {
  /** Whether a server that cannot be reached, or knows nothing any more, may be replaced by what is kept. */
  readonly mayUseCache: boolean;
  /** For publishers: what has expired is theirs to renew, and no reason to refuse it. The timestamp must not have. */
  readonly mayHaveExpired?: boolean;
  /** Files that need not be downloaded, beside the kept ones: those that were just uploaded. */
  readonly files?: ReadonlyMap<RoleName, Uint8Array>;
}

/** More roots than anyone rotates between two looks. */
const MAX_NEW_ROOTS = 1024;

/**
 * Brings the kept metadata up to date. What is kept changes only if all of the update is believed.
 *
 * @param held True if the caller has locked the collection.
 * @returns Undefined if neither the server nor the cache knows the collection
 * @throws {SignetError} METADATA_REJECTED, UNAVAILABLE, what the server answers, CONFIGURATION for a pin that is none
 */
export async function updateCollection(
  collection: Collection,
  options: UpdateOptions,
  held = false,
): Promise<Update | undefined> {
  const updater = new Updater(collection, options);
  const update = await updater.run();
  if (update !== undefined && updater.hasNews && !held) {
    await using _ = await collection.local.lock();
    // Another program may have kept something newer meanwhile, over which nothing older must be written.
    if (!(await updater.isCurrent())) return await updateCollection(collection, options, true);
    return await finish(collection, updater, update);
  }
  return update && (await finish(collection, updater, update));
}

async function finish(collection: Collection, updater: Updater, update: Update): Promise<Update> {
  announceExpiry(collection, update.trusted);
  if (updater.hasNews) await updater.keep();
  return update;
}

/** As `updateCollection`, where it must exist. @throws {SignetError} Also METADATA_REJECTED if it does not. */
export async function requireUpdate(collection: Collection, options: UpdateOptions, held = false): Promise<Update> {
  const update = await updateCollection(collection, options, held);
  if (update !== undefined) return update;
  throw unknownCollection(collection);
}

/** The error for a collection that the server does not have, in Notary's words. */
export function unknownCollection({ server, local }: Collection): SignetError {
  return new SignetError('METADATA_REJECTED', `${server.url.host} does not have trust data for ${local.gun}`, {
    hint: `look at the name and at the server, or make the collection: signet init -p ${local.gun}`,
  });
}

interface FoundFile {
  readonly bytes: Uint8Array;
  readonly kept: Uint8Array | undefined;
}

class Updater {
  readonly #collection: Collection;
  readonly #options: UpdateOptions;
  /** New files by role, to be kept. */
  readonly #news = new Map<RoleName, Uint8Array>();
  readonly #refused = new Map<DelegationName, RefusedDelegation>();
  readonly #expired = new Set<RoleName>();
  /** What was kept when it was first looked at. */
  readonly #seen = new Map<RoleName, Buffer | undefined>();
  #isFresh = true;

  constructor(collection: Collection, options: UpdateOptions) {
    this.#collection = collection;
    this.#options = options;
  }

  get hasNews(): boolean {
    return this.#news.size > 0;
  }

  /** Whether what is kept is still what this update was checked against. */
  async isCurrent(): Promise<boolean> {
    for (const [role, seen] of this.#seen) {
      const kept = await this.#collection.local.cache.read(role);
      if (kept === undefined ? seen !== undefined : seen?.equals(kept) !== true) return false;
    }
    return true;
  }

  async keep(): Promise<void> {
    await this.#collection.local.cache.write(this.#news);
  }

  async run(): Promise<Update | undefined> {
    const trusted = await this.#firstRoot();
    if (trusted === undefined) return undefined;
    try {
      if (!(await this.#update(trusted))) return undefined;
    } catch (error) {
      if (!(error instanceof SignetError) || error.code !== 'METADATA_REJECTED') throw error;
      // A newer root may explain it: rotated keys, or an expired one that was replaced.
      const isNewer = await this.#newerRoots(trusted);
      if (!isNewer && !this.#isFresh) throw error;
      if (!isNewer) await this.#requireSameRoot(trusted);
      if (!(await this.#update(trusted))) return undefined;
    }
    return { trusted, refused: this.#refused, expired: this.#expired, isFresh: this.#isFresh };
  }

  async #firstRoot(): Promise<TrustedMetadata | undefined> {
    const { local, server, pinning, now } = this.#collection;
    const onExpired = this.#options.mayHaveExpired && { onExpired: (role: RoleName) => this.#expired.add(role) };
    const context = { gun: local.gun, now, ...onExpired };
    const kept = await this.#kept('root');
    if (kept !== undefined) return TrustedMetadata.fromKeptRoot(kept, context);
    const bytes = await server.download('root.json', MAX_METADATA_BYTES);
    if (bytes === undefined) return undefined;
    const trusted = TrustedMetadata.fromFirstRoot(bytes, pinning, context);
    this.#news.set('root', bytes);
    return trusted;
  }

  /** @returns Whether there is a newer root. */
  async #newerRoots(trusted: TrustedMetadata): Promise<boolean> {
    const { server } = this.#collection;
    for (let count = 0; count < MAX_NEW_ROOTS; count++) {
      const version = trusted.root.signed.version + 1;
      const bytes = await server.download(`${version}.root.json`, MAX_METADATA_BYTES).catch((error: unknown) => {
        if (!this.#isFresh) return undefined; // offline: what is kept must do
        throw error;
      });
      if (bytes === undefined) return count > 0;
      trusted.updateRoot(bytes);
      this.#news.set('root', bytes);
    }
    throw new SignetError('METADATA_REJECTED', `the server has more than ${MAX_NEW_ROOTS} new roots`);
  }

  /** Somebody who replaced the whole collection has another root of a version that we know. */
  async #requireSameRoot(trusted: TrustedMetadata): Promise<void> {
    const bytes = await this.#collection.server.download('root.json', MAX_METADATA_BYTES);
    if (bytes === undefined || Buffer.compare(bytes, trusted.root.bytes) === 0) return;
    const { version } = parseRoot(bytes).signed;
    const current = trusted.root.signed.version;
    if (version < current) throw lowVersion(version, current);
    throw new SignetError(
      'METADATA_REJECTED',
      'could not rotate trust to a new trusted root: failed to validate data with current trusted certificates',
      { hint: `if ${this.#collection.local.gun} was made anew, and you know by whom: signet delete it, then list it` },
    );
  }

  /** @returns False if there is no timestamp anywhere. */
  async #update(trusted: TrustedMetadata): Promise<boolean> {
    this.#refused.clear();
    this.#expired.clear();
    const timestamp = await this.#timestamp();
    if (timestamp === undefined) return false;
    const kept = await this.#kept('timestamp');
    trusted.updateTimestamp(timestamp, this.#bounds(kept, timestamp, parseTimestamp, 'timestamp', trusted));
    this.#learn('timestamp', timestamp, kept);

    const snapshot = await this.#file('snapshot', trusted);
    trusted.updateSnapshot(
      snapshot.bytes,
      this.#bounds(snapshot.kept, snapshot.bytes, parseSnapshot, 'snapshot', trusted),
    );
    this.#learn('snapshot', snapshot.bytes, snapshot.kept);
    await this.#targets('targets', trusted);
    await this.#delegations('targets', trusted);
    return true;
  }

  /** Always from the server; the kept one if it cannot be asked, or knows nothing, and the caller may do with that. */
  async #timestamp(): Promise<Uint8Array | undefined> {
    const { server, local } = this.#collection;
    const { mayUseCache } = this.#options;
    this.#isFresh = true;
    let failure: SignetError | undefined;
    try {
      const bytes = await server.download('timestamp.json', MAX_TIMESTAMP_BYTES);
      if (bytes !== undefined) return bytes;
    } catch (error) {
      if (!mayUseCache || !(error instanceof SignetError) || error.code !== 'UNAVAILABLE') throw error;
      failure = error;
    }
    const kept = mayUseCache ? await this.#kept('timestamp') : undefined;
    if (kept === undefined && failure !== undefined) throw failure;
    if (kept === undefined) return undefined;
    this.#isFresh = false;
    if (failure !== undefined) local.warn(failure.message);
    local.warn(
      'Error while downloading remote metadata, using cached timestamp - this might not be the latest version available remotely',
    );
    return kept;
  }

  async #targets(role: TargetsRole, trusted: TrustedMetadata): Promise<void> {
    let file: FoundFile | undefined;
    try {
      file = await this.#file(role, trusted);
      const { bytes, kept } = file;
      const parse = (old: Uint8Array) => parseTargets(old, role);
      trusted.updateTargets(role, bytes, this.#bounds(kept, bytes, parse, role, trusted));
      this.#learn(role, bytes, kept);
    } catch (error) {
      if (isDelegation(role) && error instanceof SignetError && error.code === 'METADATA_REJECTED') {
        this.#refused.set(role, refusal(role, file, trusted, error));
      }
      throw error;
    }
  }

  /** Pre-order. One that cannot be believed delegates nothing, and the others go on. */
  async #delegations(parent: TargetsRole, trusted: TrustedMetadata): Promise<void> {
    for (const role of trusted.publishedDelegations(parent)) {
      try {
        await this.#targets(role, trusted);
      } catch (error) {
        if (!(error instanceof SignetError) || error.code !== 'METADATA_REJECTED') throw error;
        this.#collection.local.warn(`${role} is left out: ${error.message}`);
        continue;
      }
      await this.#delegations(role, trusted);
    }
  }

  /** The file that trusted metadata names: the kept one if it still is that, else from the server by its checksum. */
  async #file(role: Exclude<RoleName, 'timestamp' | 'root'>, trusted: TrustedMetadata): Promise<FoundFile> {
    const meta = trusted.fileMeta(role);
    const kept = await this.#kept(role);
    for (const known of [this.#options.files?.get(role), kept]) {
      if (known !== undefined && isFile(known, meta)) return { bytes: known, kept };
    }
    if (meta.length > MAX_METADATA_BYTES) {
      throw new SignetError('METADATA_REJECTED', `${role} is larger than ${MAX_METADATA_BYTES} bytes`);
    }
    const sha256 = Buffer.from(meta.hashes.get('sha256') ?? []).toString('hex');
    const bytes = await this.#collection.server.download(`${role}.${sha256}.json`, meta.length);
    if (bytes === undefined) {
      throw new SignetError('METADATA_REJECTED', `the server does not have the ${role} metadata that it names`);
    }
    return { bytes, kept };
  }

  async #kept(role: RoleName): Promise<Buffer | undefined> {
    const kept = await this.#collection.local.cache.read(role);
    if (!this.#seen.has(role)) this.#seen.set(role, kept);
    return kept;
  }

  /**
   * What was believed before bounds what is believed now, as long as the same keys speak: after a rotation the versions
   * of a stolen key must not keep the new one out (TUF specification §5.3.11).
   */
  #bounds(
    kept: Uint8Array | undefined,
    bytes: Uint8Array,
    parse: (bytes: Uint8Array) => ReceivedMetadata<Metadata>,
    role: RoleName,
    trusted: TrustedMetadata,
  ): UpdateBounds {
    if (kept === undefined || Buffer.compare(kept, bytes) === 0) return {};
    try {
      const metadata = parse(kept);
      verifySignatures(metadata, authorityFor(role, trusted.root.signed, trusted.targetsByRole()));
      return { atLeastVersion: metadata.signed.version };
    } catch {
      return {}; // damaged, or signed by former keys
    }
  }

  #learn(role: RoleName, bytes: Uint8Array, kept: Uint8Array | undefined): void {
    if (kept === undefined || Buffer.compare(kept, bytes) !== 0) this.#news.set(role, bytes);
    else this.#news.delete(role);
  }
}

/**
 * What a publisher may sign anew: only what the trusted snapshot vouches for, and no version before the kept one,
 * whoever signed that.
 */
function refusal(
  role: DelegationName,
  file: FoundFile | undefined,
  trusted: TrustedMetadata,
  reason: SignetError,
): RefusedDelegation {
  if (file === undefined || !isFile(file.bytes, trusted.fileMeta(role))) return { bytes: undefined, reason };
  const version = versionOf(role, file.bytes);
  const former = file.kept === undefined ? 0 : (versionOf(role, file.kept) ?? 0);
  if (version === undefined) return { bytes: undefined, reason };
  if (version < former) return { bytes: undefined, reason: lowVersion(version, former) };
  return { bytes: file.bytes, reason };
}

/** @returns Undefined if it is no metadata of the role. */
function versionOf(role: DelegationName, bytes: Uint8Array): number | undefined {
  try {
    return parseTargets(bytes, role).signed.version;
  } catch {
    return undefined;
  }
}

function isFile(bytes: Uint8Array, meta: FileMeta): boolean {
  try {
    checkFile(bytes, meta, '');
    return true;
  } catch {
    return false;
  }
}

function announceExpiry({ local, now }: Collection, { root, snapshot, targets }: TrustedMetadata): void {
  const all: [RoleName, Metadata | undefined][] = [
    ['root', root.signed],
    ['snapshot', snapshot?.signed],
    ...[...targets].map(([role, { signed }]): [RoleName, Metadata] => [role, signed]),
  ];
  for (const [role, metadata] of all) {
    if (metadata === undefined || !expiresSoon(metadata, now)) continue;
    local.warn(`${role} of ${local.gun} expires at ${metadata.expires.text}`);
  }
}
