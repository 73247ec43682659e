/** The metadata of one collection, each file believed because of those before it (TUF specification §5.3 to §5.6). */
import { SignetError } from '../errors.ts';
import { checkFile, type FileMeta } from './file-meta.ts';
import { authorityFor, type TargetsByRole } from './lookup.ts';
import {
  type Metadata,
  parseRoot,
  parseSnapshot,
  parseTargets,
  parseTimestamp,
  type ReceivedMetadata,
} from './metadata.ts';
import type { RoleAuthority } from './role-keys.ts';
import type { DelegationName, RoleName, TargetsRole } from './roles.ts';
import type { Root } from './root.ts';
import {
  lowVersion,
  requireUnexpired,
  verifyFirstRoot,
  verifyKeptRoot,
  verifyNextRoot,
  verifyUsableRoot,
} from './root-trust.ts';
import type { Snapshot, Timestamp } from './snapshot.ts';
import { delegationsOf, type Targets } from './targets.ts';
import type { TrustPinning } from './trust-pinning.ts';
import { verifySignatures } from './verify.ts';

export interface TrustContext {
  /** Which collection it must be. */
  readonly gun: string;
  /** Against which expiry is checked. One instant for a whole update. */
  readonly now: Date;
}

/** What else a file must satisfy. */
export interface UpdateBounds {
  /** The version of the copy that was trusted before: nothing lower is believed. */
  readonly atLeastVersion?: number;
}

/**
 * Takes files in the order root, newer roots, timestamp, snapshot, targets, delegations (parents first), and believes
 * each or throws METADATA_REJECTED and stays as it was. Downloads, caches and retries are the caller's.
 *
 * A delegation that is refused delegates nothing; the others go on. When something else fails that a newer root may
 * explain (a rotated key, a snapshot that names another root), call `updateRoot` with the following versions and start
 * again with the timestamp.
 */
export class TrustedMetadata {
  readonly #context: TrustContext;
  #root: ReceivedMetadata<Root>;
  #timestamp: ReceivedMetadata<Timestamp> | undefined;
  #snapshot: ReceivedMetadata<Snapshot> | undefined;
  #targets: Map<TargetsRole, ReceivedMetadata<Targets>> = new Map();

  private constructor(root: ReceivedMetadata<Root>, context: TrustContext) {
    this.#root = root;
    this.#context = context;
  }

  /** Starts from the first root that a server shows. @throws {SignetError} METADATA_REJECTED, CONFIGURATION */
  static fromFirstRoot(bytes: Uint8Array, pinning: TrustPinning, context: TrustContext): TrustedMetadata {
    const root = parseRoot(bytes);
    verifyFirstRoot(root, context.gun, pinning, context.now);
    return new TrustedMetadata(root, context);
  }

  /** Starts from a root that was trusted before, expired or not. @throws {SignetError} METADATA_REJECTED */
  static fromKeptRoot(bytes: Uint8Array, context: TrustContext): TrustedMetadata {
    const root = parseRoot(bytes);
    verifyKeptRoot(root, context.gun);
    return new TrustedMetadata(root, context);
  }

  get root(): ReceivedMetadata<Root> {
    return this.#root;
  }

  get timestamp(): ReceivedMetadata<Timestamp> | undefined {
    return this.#timestamp;
  }

  get snapshot(): ReceivedMetadata<Snapshot> | undefined {
    return this.#snapshot;
  }

  /** Parents before children. */
  get targets(): ReadonlyMap<TargetsRole, ReceivedMetadata<Targets>> {
    return this.#targets;
  }

  /** What `lookupTarget`, `listTargets` and `applyChanges` take. */
  targetsByRole(): TargetsByRole {
    return new Map([...this.#targets].map(([role, { signed }]) => [role, signed]));
  }

  /** Goes on to the next version of root, expired or not; everything below it must be given again. */
  updateRoot(bytes: Uint8Array): Root {
    const root = parseRoot(bytes);
    verifyNextRoot(root, this.#root.signed, this.#context.gun);
    this.#root = root;
    this.#timestamp = undefined;
    this.#snapshot = undefined;
    this.#targets = new Map();
    return root.signed;
  }

  /** The root must be usable now; what was given for snapshot and targets is dropped. */
  updateTimestamp(bytes: Uint8Array, bounds: UpdateBounds = {}): Timestamp {
    verifyUsableRoot(this.#root, this.#context.gun, this.#context.now);
    const timestamp = this.#believe(parseTimestamp(bytes), this.#authority('timestamp'), bounds);
    this.#timestamp = timestamp;
    this.#snapshot = undefined;
    this.#targets = new Map();
    return timestamp.signed;
  }

  /** Must be the file that the timestamp names, and name the root that is trusted. */
  updateSnapshot(bytes: Uint8Array, bounds: UpdateBounds = {}): Snapshot {
    checkFile(bytes, this.fileMeta('snapshot'), 'snapshot');
    const snapshot = this.#believe(parseSnapshot(bytes), this.#authority('snapshot'), bounds);
    checkFile(this.#root.bytes, metaOf(snapshot.signed, 'root'), 'root');
    this.#snapshot = snapshot;
    this.#targets = new Map();
    return snapshot.signed;
  }

  /** Must be the file that the snapshot names, signed for the role by the keys that its parent gives. What is below is dropped. */
  updateTargets(role: TargetsRole, bytes: Uint8Array, bounds: UpdateBounds = {}): Targets {
    checkFile(bytes, this.fileMeta(role), role);
    const targets = this.#believe(parseTargets(bytes, role), this.#authority(role), bounds);
    for (const name of [...this.#targets.keys()]) if (name.startsWith(`${role}/`)) this.#targets.delete(name);
    this.#targets.set(role, targets);
    return targets.signed;
  }

  /**
   * Length and hashes of a file to fetch: snapshot's from the timestamp, others' from the snapshot.
   *
   * @throws {SignetError} METADATA_REJECTED if it is not named
   */
  fileMeta(role: Exclude<RoleName, 'timestamp'>): FileMeta {
    return metaOf((role === 'snapshot' ? this.#timestamp : this.#snapshot)?.signed, role);
  }

  /** The roles that a trusted role delegates to and that have been published, in order of priority. */
  publishedDelegations(parent: TargetsRole): DelegationName[] {
    const targets = this.#targets.get(parent)?.signed;
    const names = targets === undefined ? [] : delegationsOf(targets).map(({ name }) => name);
    return names.filter((name) => this.#snapshot?.signed.meta.has(name) === true);
  }

  #authority(role: RoleName): RoleAuthority {
    return authorityFor(role, this.#root.signed, this.targetsByRole());
  }

  #believe<T extends Metadata>(
    metadata: ReceivedMetadata<T>,
    authority: RoleAuthority,
    { atLeastVersion = 0 }: UpdateBounds,
  ): ReceivedMetadata<T> {
    verifySignatures(metadata, authority);
    requireUnexpired(metadata.signed, authority.name, this.#context.now);
    const { version } = metadata.signed;
    if (version < atLeastVersion) throw lowVersion(version, atLeastVersion);
    return metadata;
  }
}

function metaOf(list: Timestamp | Snapshot | undefined, role: string): FileMeta {
  const meta = list?.meta.get(role);
  if (meta !== undefined) return meta;
  throw new SignetError('METADATA_REJECTED', `nothing that is trusted names ${role}`);
}
