/** The next versions of a collection's metadata: changed, listed in a snapshot, signed, and ready to be uploaded. */
import { SignetError } from '../errors.ts';
import { applyChanges } from '../tuf/apply-changes.ts';
import type { Change } from '../tuf/change.ts';
import { authorityFor, type TargetsByRole } from '../tuf/lookup.ts';
import { capExpiry, type MaxExpiryDays, requireExpiryWithinCap } from '../tuf/max-expiry.ts';
import {
  encodeMetadata,
  type Metadata,
  parseRoot,
  parseSnapshot,
  parseTargets,
  type ReceivedMetadata,
} from '../tuf/metadata.ts';
import { expiresSoon, nextSnapshot, nextVersion } from '../tuf/next-version.ts';
import { type DelegationName, isDelegation, type RoleName, type TargetsRole } from '../tuf/roles.ts';
import { baseAuthority, type Root } from '../tuf/root.ts';
import { rootAuthorities } from '../tuf/root-edit.ts';
import { verifyKeptRoot, verifyUsableRoot } from '../tuf/root-trust.ts';
import { type Signers, signMetadata } from '../tuf/sign.ts';
import type { Snapshot } from '../tuf/snapshot.ts';
import { delegationsOf, type Targets } from '../tuf/targets.ts';
import type { TufKey } from '../tuf/tuf-key.ts';
import { verifySignatures } from '../tuf/verify.ts';
import type { Collection, Warn } from './collection.ts';
import type { SigningKeys } from './signing-keys.ts';
import type { RefusedDelegation, Update } from './update.ts';

/** What the next versions come after. */
export interface Base {
  /** The file that is, or is to be, published as it is. */
  readonly root: ReceivedMetadata<Root>;
  readonly roles: TargetsByRole;
  /** Undefined before the first publication of a collection whose snapshot the server signs. */
  readonly snapshot: Snapshot | undefined;
  readonly refused: ReadonlyMap<DelegationName, RefusedDelegation>;
  /** Roles that clients refuse until they are signed anew. */
  readonly expired: ReadonlySet<RoleName>;
  /** False: nothing is published, so that root and targets must be uploaded too. */
  readonly isPublished: boolean;
  /** Files of `roles` that may be uploaded as they are. */
  readonly files: ReadonlyMap<RoleName, Uint8Array>;
}

/** What was published. */
export function publishedBase({ trusted, refused, expired }: Update): Base {
  return {
    root: trusted.root,
    roles: trusted.targetsByRole(),
    snapshot: trusted.snapshot?.signed,
    refused,
    expired,
    isPublished: true,
    files: new Map(),
  };
}

/**
 * What was initialised here and not published.
 *
 * @returns Undefined if there is nothing
 * @throws {SignetError} METADATA_REJECTED if it is damaged, no root for this collection, or expires after the cap
 */
export async function initialisedBase({ local, maxExpiryDays, now }: Collection): Promise<Base | undefined> {
  const { cache, gun } = local;
  const [rootFile, targetsFile, snapshotFile] = await Promise.all(
    (['root', 'targets', 'snapshot'] as const).map((role) => cache.read(role)),
  );
  if (rootFile === undefined || targetsFile === undefined) return undefined;
  const root = parseRoot(rootFile);
  verifyKeptRoot(root, gun);
  verifyUsableRoot(root, gun, now);
  const hint = `raise signet.max_expiry, or begin anew with signet delete ${gun} and signet init ${gun}`;
  const requireCap = (role: RoleName, metadata: Metadata) =>
    requireExpiryWithinCap(metadata, maxExpiryDays, now, { role, hint });
  requireCap('root', root.signed);
  const roles = new Map<TargetsRole, Targets>();
  const files = new Map<TargetsRole, Uint8Array>();
  const pending: TargetsRole[] = ['targets'];
  for (let role = pending.shift(); role !== undefined; role = pending.shift()) {
    const file = role === 'targets' ? targetsFile : await cache.read(role);
    if (file === undefined) continue; // delegated to, and without metadata
    const metadata = parseTargets(file, role);
    verifySignatures(metadata, authorityFor(role, root.signed, roles));
    requireCap(role, metadata.signed);
    roles.set(role, metadata.signed);
    files.set(role, file);
    pending.push(...delegationsOf(metadata.signed).map(({ name }) => name));
  }
  const snapshot = snapshotFile && parseSnapshot(snapshotFile).signed;
  return { root, roles, snapshot, refused: new Map(), expired: new Set(), isPublished: false, files };
}

export interface DraftOptions {
  readonly keys: SigningKeys;
  readonly now: Date;
  readonly maxExpiryDays: MaxExpiryDays;
  readonly warn: Warn;
  /** The version of a role that the server has published and that nobody delegates to now; 0 if there is none. */
  readonly formerVersion: (role: DelegationName) => Promise<number>;
}

/** Collects changed metadata, signs it, and gives the files to upload. */
export class Draft {
  readonly #base: Base;
  readonly #options: DraftOptions;
  readonly #files = new Map<RoleName, Uint8Array>();
  #root: Root;
  #roles: TargetsByRole;
  #removed: ReadonlySet<TargetsRole> = new Set();

  constructor(base: Base, options: DraftOptions) {
    this.#base = base;
    this.#options = options;
    this.#root = base.root.signed;
    this.#roles = base.roles;
    if (base.isPublished) return;
    this.#files.set('root', base.root.bytes);
    for (const [role, bytes] of base.files) this.#files.set(role, bytes);
  }

  /**
   * Signs a root in the place of the present one.
   *
   * @param former Keys that sign too if they are there, for clients that missed their replacement.
   */
  async replaceRoot(next: Root, former: readonly TufKey[] = []): Promise<void> {
    const required = rootAuthorities(next, this.#root);
    this.#files.set('root', await this.#signed(next, { required, optional: former }));
    this.#root = next;
  }

  /** Applies changes, all or none, and signs what they change. */
  async apply(changes: readonly Change[]): Promise<void> {
    const { now } = this.#options;
    const edit = applyChanges(this.#withWitnessed(changes), changes, now);
    for (const role of edit.changed) this.#requireBelieved(role, changes);
    this.#roles = edit.roles;
    this.#removed = edit.removed;
    for (const role of [...edit.changed].sort((a, b) => a.length - b.length)) await this.signRole(role);
  }

  /** Signs the next version of a targets role. */
  async signRole(role: TargetsRole): Promise<void> {
    const { now, formerVersion } = this.#options;
    const current = this.#roles.get(role);
    if (current === undefined) throw new SignetError('INTERNAL', `no metadata of ${role}`);
    const isNew = current.version === 0 && isDelegation(role);
    const version = isNew ? this.#plausible(role, await formerVersion(role)) : current.version;
    const next = nextVersion({ ...current, version }, now);
    this.#roles = new Map([...this.#roles, [role, next]]);
    this.#files.set(role, await this.#signed(next, { required: [authorityFor(role, this.#root, this.#roles)] }));
  }

  /**
   * Signs anew what has expired, and a root that soon will, unless it was signed before. Roles whose keys are not here are
   * somebody else's to renew.
   */
  async renew(): Promise<void> {
    const { now } = this.#options;
    const { isPublished, expired } = this.#base;
    if (!isPublished) return;
    if (!this.#files.has('root') && (expired.has('root') || expiresSoon(this.#root, now))) {
      await this.#unlessKeyless('root', () => this.replaceRoot(nextVersion(this.#root, now)));
    }
    for (const role of this.#roles.keys()) {
      if (expired.has(role) && !this.#files.has(role)) await this.#unlessKeyless(role, () => this.signRole(role));
    }
  }

  /**
   * Lists the new files in a snapshot, if its key is ours; otherwise the server makes it.
   *
   * @returns Files to upload; none if nothing changed
   */
  async finish(): Promise<ReadonlyMap<RoleName, Uint8Array>> {
    if (this.#files.size === 0 && !this.#base.expired.has('snapshot')) return this.#files;
    const { now } = this.#options;
    const listed = new Map<string, Uint8Array>(this.#files);
    const next = nextSnapshot(this.#base.snapshot, { files: listed, removed: this.#removed }, now);
    try {
      this.#files.set('snapshot', await this.#signed(next, { required: [baseAuthority(this.#root, 'snapshot')] }));
    } catch (error) {
      if (!(error instanceof SignetError) || error.code !== 'KEY_NOT_FOUND') throw error;
    }
    return this.#files;
  }

  /**
   * The version of a role that nobody delegates to is only the server's word. Every publication of a role is one of the
   * snapshot too: a higher version would be there to leave the role without successors.
   */
  #plausible(role: DelegationName, version: number): number {
    if (version <= (this.#base.snapshot?.version ?? 0)) return version;
    throw new SignetError('METADATA_REJECTED', `the server has version ${version} of ${role}, which cannot be`, {
      hint: 'choose another name for the delegation',
    });
  }

  async #unlessKeyless(role: RoleName, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof SignetError) || error.code !== 'KEY_NOT_FOUND') throw error;
      this.#options.warn(`${role} expires and is not renewed: ${error.message}`);
    }
  }

  async #signed(metadata: Metadata, signers: Signers): Promise<Buffer> {
    const { keys, maxExpiryDays, now } = this.#options;
    return encodeMetadata(await signMetadata(capExpiry(metadata, maxExpiryDays, now), signers, keys.sign));
  }

  /** Delegations that clients refuse, because their keys changed or they have expired, and that are to be signed anew. */
  #withWitnessed(changes: readonly Change[]): TargetsByRole {
    const roles = new Map(this.#roles);
    for (const change of changes) {
      if (change.type !== 'witness' || !isDelegation(change.role)) continue;
      const refused = this.#base.refused.get(change.role);
      if (refused === undefined) continue;
      const { bytes, reason } = refused;
      if (bytes === undefined) {
        throw new SignetError('METADATA_REJECTED', `${change.role} cannot be signed anew: ${reason.message}`, {
          hint: 'the server does not show what was published last: have its keepers look, or remove the delegation',
          cause: reason,
        });
      }
      roles.set(change.role, parseTargets(bytes, change.role).signed);
    }
    return roles;
  }

  /** What clients refuse looks empty here: a change of it would publish it without all that it has. */
  #requireBelieved(role: TargetsRole, changes: readonly Change[]): void {
    const refused = isDelegation(role) ? this.#base.refused.get(role) : undefined;
    if (refused === undefined || changes.some((change) => change.type === 'witness' && change.role === role)) return;
    throw new SignetError('METADATA_REJECTED', `${role} cannot be changed: ${refused.reason.message}`, {
      ...(refused.bytes && { hint: `look at what it publishes, and sign it anew with signet witness GUN ${role}` }),
      cause: refused.reason,
    });
  }
}
