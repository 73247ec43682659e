/** Collections made by src/tuf with keys in memory: small, complete, and easy to damage. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parsePem } from '../../src/crypto/pem.ts';
import { PrivateKey } from '../../src/crypto/private-key.ts';
import { SignetError } from '../../src/errors.ts';
import { authorityFor } from '../../src/tuf/lookup.ts';
import { encodeMetadata, type Metadata } from '../../src/tuf/metadata.ts';
import { newTargets, nextSnapshot, nextTimestamp, nextVersion } from '../../src/tuf/next-version.ts';
import type { RoleAuthority } from '../../src/tuf/role-keys.ts';
import type { BaseRole, TargetsRole } from '../../src/tuf/roles.ts';
import { baseAuthority, type Root } from '../../src/tuf/root.ts';
import { newRoot, rootAuthorities } from '../../src/tuf/root-edit.ts';
import { type SignCallback, signMetadata } from '../../src/tuf/sign.ts';
import type { Snapshot, Timestamp } from '../../src/tuf/snapshot.ts';
import type { Targets } from '../../src/tuf/targets.ts';
import { canonicalKeyId, type TufKey } from '../../src/tuf/tuf-key.ts';
import { openssl } from './certificates.ts';

export interface CertificateOptions {
  /** As `openssl req -newkey` wants it; EC P-256 by default. */
  readonly newKey?: readonly string[];
  readonly days?: number;
  readonly digest?: string;
  readonly extensions?: readonly string[];
}

/** Private keys by canonical ID, as the daemon would hold them. */
export class TestKeys {
  readonly #keys = new Map<string, PrivateKey>();
  #certificates = 0;

  readonly sign: SignCallback = async (keyId, message) => {
    const key = this.#keys.get(keyId);
    if (key === undefined) throw new SignetError('KEY_NOT_FOUND', `no key ${keyId}`);
    return await key.sign({ message });
  };

  add(key: PrivateKey): TufKey {
    this.#keys.set(key.keyId, key);
    return key.publicKey;
  }

  async generate(algorithm: 'ecdsa' | 'ed25519' | 'rsa' = 'ecdsa'): Promise<TufKey> {
    return this.add(await PrivateKey.generate(algorithm));
  }

  /** @throws {Error} The private half is not here. */
  privateKey(key: TufKey): PrivateKey {
    const found = this.#keys.get(canonicalKeyId(key));
    if (found === undefined) throw new Error('the private key is not here');
    return found;
  }

  /** A new key with a self-signed leaf certificate, made by openssl in `directory`. */
  async certificate(directory: string, commonName: string, options: CertificateOptions = {}): Promise<TufKey> {
    const name = join(directory, `root-${this.#certificates++}`);
    const newKey = options.newKey ?? ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
    const extensions = options.extensions ?? ['basicConstraints=critical,CA:FALSE'];
    await openssl([
      ...['req', '-x509', '-newkey', ...newKey, '-noenc', `-${options.digest ?? 'sha256'}`],
      ...['-subj', `/CN=${commonName.replaceAll('/', '\\/')}`, '-days', String(options.days ?? 3650)],
      ...extensions.flatMap((extension) => ['-addext', extension]),
      ...['-keyout', `${name}.key`, '-out', `${name}.crt`],
    ]);
    const pem = parsePem(await readFile(`${name}.key`));
    if (pem === undefined) throw new Error('openssl wrote no key');
    const key = PrivateKey.fromPkcs8(pem.bytes);
    this.add(key);
    return { algorithm: `${key.algorithm}-x509`, bytes: await readFile(`${name}.crt`) };
  }
}

/** Files by role. */
export type Files = ReadonlyMap<string, Buffer>;

/** What is published together. */
export class TestCollection {
  readonly keys: TestKeys;
  readonly now: Date;
  root: Root;
  targets: Map<TargetsRole, Targets>;
  snapshot: Snapshot | undefined;
  timestamp: Timestamp | undefined;
  readonly files = new Map<string, Buffer>();

  constructor(keys: TestKeys, base: Readonly<Record<BaseRole, readonly TufKey[]>>, now: Date) {
    this.keys = keys;
    this.now = now;
    this.root = newRoot(base, now);
    this.targets = new Map([['targets', nextVersion(newTargets(now), now)]]);
  }

  /** Signs one piece of metadata. @returns The file */
  async file(signed: Metadata, required: readonly RoleAuthority[]): Promise<Buffer> {
    return encodeMetadata(await signMetadata(signed, { required }, this.keys.sign));
  }

  /** Signs everything, and remembers the files. */
  async publish(): Promise<Files> {
    this.files.set('root', await this.file(this.root, rootAuthorities(this.root, undefined)));
    for (const [role, targets] of this.targets) {
      this.files.set(role, await this.file(targets, [authorityFor(role, this.root, this.targets)]));
    }
    const listed = new Map([...this.files].filter(([role]) => role !== 'snapshot' && role !== 'timestamp'));
    this.snapshot = nextSnapshot(this.snapshot, { files: listed }, this.now);
    const snapshot = await this.file(this.snapshot, [baseAuthority(this.root, 'snapshot')]);
    this.files.set('snapshot', snapshot);
    this.timestamp = nextTimestamp(this.timestamp, snapshot, this.now);
    this.files.set('timestamp', await this.file(this.timestamp, [baseAuthority(this.root, 'timestamp')]));
    return new Map(this.files);
  }
}

/** A collection with an ECDSA key for each role, not published yet. */
export async function testCollection(directory: string, gun: string, now: Date): Promise<TestCollection> {
  const keys = new TestKeys();
  const base = {
    root: [await keys.certificate(directory, gun)],
    targets: [await keys.generate()],
    snapshot: [await keys.generate()],
    timestamp: [await keys.generate()],
  };
  return new TestCollection(keys, base, now);
}

/** @throws {Error} There is no such file. */
export function fileOf(files: Files, role: string): Buffer {
  const bytes = files.get(role);
  if (bytes === undefined) throw new Error(`no ${role} was published`);
  return bytes;
}
