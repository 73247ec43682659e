/**
 * Metadata made by src/tuf, judged by the real notary-server and the real notary client.
 *
 * notary-server hashes its own serialisation of what it parsed: a file that is not byte for byte what Go would write is
 * answered with 200, and ends the collection. So every publication is followed by another one, and by reading.
 */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { applyChanges } from '../../src/tuf/apply-changes.ts';
import type { Change } from '../../src/tuf/change.ts';
import { parseCustom } from '../../src/tuf/change-file.ts';
import { fileMetaOf } from '../../src/tuf/file-meta.ts';
import { parseJson } from '../../src/tuf/json.ts';
import { authorityFor, listTargets } from '../../src/tuf/lookup.ts';
import { encodeMetadata, type Metadata, parseTimestamp } from '../../src/tuf/metadata.ts';
import { newTargets, nextSnapshot, nextVersion } from '../../src/tuf/next-version.ts';
import type { RoleAuthority } from '../../src/tuf/role-keys.ts';
import type { TargetsRole } from '../../src/tuf/roles.ts';
import { baseAuthority, type Root } from '../../src/tuf/root.ts';
import { newRoot, replaceRoleKeys, rootAuthorities } from '../../src/tuf/root-edit.ts';
import { signMetadata } from '../../src/tuf/sign.ts';
import type { Snapshot } from '../../src/tuf/snapshot.ts';
import type { Targets } from '../../src/tuf/targets.ts';
import { TRUST_ON_FIRST_USE } from '../../src/tuf/trust-pinning.ts';
import { TrustedMetadata } from '../../src/tuf/trusted-metadata.ts';
import { keyFromJson, type TufKey } from '../../src/tuf/tuf-key.ts';
import { writeKeyFile } from '../support/key-files.ts';
import { type NotaryClient, startNotarySigner } from '../support/notary.ts';
import { type Stack, startStack } from '../support/stack.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';
import { TestKeys } from '../support/tuf-collection.ts';

const GUN = 'registry.example.com/Team/App';
const HELLO = fileMetaOf(Buffer.from('hello\n'));
const SHA256 = createHash('sha256').update('hello\n').digest('hex');

/** Names that need escapes, or another order than JavaScript's. */
const ODD_NAMES = [
  '<gt>&lt',
  'quo"te',
  'back\\slash',
  'u\u2028\u2029x',
  'é',
  '\uffee',
  '\u{1f600}',
  '10',
  '9',
  '__proto__',
  '\u007f',
];
/** Custom data that notary itself fails to publish, or nearly. */
const CUSTOM = [
  '{"b":1,"a":2}',
  '{"a":"<>&"}',
  '{"a":1e3}',
  '{"a":1.0}',
  '"a\\n\\u0001b"',
  '"\\u2028"',
  '"\\/"',
  '{"b":{"d":[3,1,2],"c":null}}',
  '-0',
  '1152921504606846976',
];

let stack: Stack<Awaited<ReturnType<typeof startNotarySigner>>>;
let directory: TemporaryDirectory;
const keys = new TestKeys();
let now: Date;

/** What was published last. */
let root: Root;
let targets: Map<TargetsRole, Targets>;
let snapshot: Snapshot | undefined;
const files = new Map<string, Buffer>();

beforeAll(async () => {
  directory = await temporaryDirectory();
  stack = await startStack((path, tls) => startNotarySigner(path, tls));
  now = new Date();
  return async () => {
    await stack[Symbol.asyncDispose]();
    await directory[Symbol.asyncDispose]();
  };
});

async function file(signed: Metadata, ...authorities: RoleAuthority[]): Promise<Buffer> {
  return encodeMetadata(await signMetadata(signed, { required: authorities }, keys.sign));
}

/** The server's public key for the timestamp. */
async function timestampKey(): Promise<TufKey> {
  const subject = { what: 'timestamp.key', code: 'METADATA_REJECTED' } as const;
  const json = Buffer.from(await stack.server.metadata(GUN, 'timestamp.key'));
  return keyFromJson(
    parseJson(json, subject, { duplicates: 'reject', numbers: 'exact', maxBytes: 65_536 }),
    'key',
    subject,
  );
}

/** Signs the snapshot anew, and uploads it with the given files. @returns The server's answer */
async function upload(
  changed: ReadonlyMap<string, Buffer>,
): Promise<{ readonly status: number; readonly body: string }> {
  for (const [role, bytes] of changed) files.set(role, bytes);
  const removed = [...(snapshot?.meta.keys() ?? [])].filter((role) => !files.has(role));
  snapshot = nextSnapshot(snapshot, { files, removed }, now);
  const snapshotFile = await file(snapshot, baseAuthority(root, 'snapshot'));
  return await stack.server.publish(GUN, new Map(changed).set('snapshot', snapshotFile));
}

async function publish(changed: ReadonlyMap<string, Buffer>): Promise<void> {
  expect(await upload(changed)).toEqual({ status: 200, body: '' });
}

/** Applies changes and uploads what they change; all stays as it was if the server refuses. */
async function uploadChanges(changes: readonly Change[]): Promise<{ readonly status: number; readonly body: string }> {
  const before = { targets, snapshot, files: new Map(files) };
  const edit = applyChanges(targets, changes, now);
  targets = new Map(edit.roles);
  for (const role of edit.removed) files.delete(role);
  const changed = new Map<string, Buffer>();
  for (const role of edit.changed) changed.set(role, await signedAgain(role));
  const answer = await upload(changed);
  if (answer.status !== 200) {
    targets = before.targets;
    snapshot = before.snapshot;
    files.clear();
    for (const [role, bytes] of before.files) files.set(role, bytes);
  }
  return answer;
}

/** @returns The file of the role's next version */
async function signedAgain(role: TargetsRole): Promise<Buffer> {
  const old = targets.get(role);
  if (old === undefined) throw new Error(`no metadata of ${role}`);
  const next = nextVersion(old, now);
  targets.set(role, next);
  return await file(next, authorityFor(role, root, targets));
}

async function publishChanges(...changes: Change[]): Promise<void> {
  expect(await uploadChanges(changes)).toEqual({ status: 200, body: '' });
}

/** Downloads everything, as a client that sees the collection for the first time. */
async function fetchAll(): Promise<TrustedMetadata> {
  const get = async (name: string) => Buffer.from(await stack.server.metadata(GUN, `${name}.json`));
  const trusted = TrustedMetadata.fromFirstRoot(await get('root'), TRUST_ON_FIRST_USE, { gun: GUN, now });
  trusted.updateTimestamp(await get('timestamp'));
  trusted.updateSnapshot(await get('snapshot'));
  trusted.updateTargets('targets', await get('targets'));
  for (const role of trusted.publishedDelegations('targets')) trusted.updateTargets(role, await get(role));
  return trusted;
}

/** What a new person's notary lists: names, roles. */
async function listed(name: string): Promise<string> {
  const client: NotaryClient = await stack.client(name);
  return await client.succeeds('list', GUN);
}

describe('a collection made by src/tuf', () => {
  test('is taken by notary-server and read by notary', async () => {
    root = newRoot(
      {
        root: [await keys.certificate(directory.path, GUN)],
        targets: [await keys.generate()],
        snapshot: [await keys.generate()],
        timestamp: [await timestampKey()],
      },
      now,
    );
    targets = new Map([['targets', newTargets(now)]]);
    await publish(
      new Map([
        ['root', await file(root, ...rootAuthorities(root, undefined))],
        ['targets', await signedAgain('targets')],
      ]),
    );
    expect(await listed('first')).toContain('No targets present in this repository.');
  });

  test('has targets of any name', async () => {
    await publishChanges(
      ...ODD_NAMES.map((name): Change => ({ type: 'add-target', role: 'targets', name, meta: HELLO })),
    );
    const list = await listed('names');
    for (const name of ODD_NAMES) expect(list).toContain(name);
    expect(list.match(new RegExp(SHA256, 'g'))).toHaveLength(ODD_NAMES.length);
  });

  test.each(CUSTOM)('has custom data %s', async (json) => {
    const custom = parseCustom(Buffer.from(json));
    if (custom === undefined) throw new Error('no custom data');
    await publishChanges({ type: 'add-target', role: 'targets', name: json, meta: { ...HELLO, custom } });
    const found = listTargets((await fetchAll()).targetsByRole());
    expect(found.find(({ name }) => name === json)?.meta.custom).toEqual(custom);
  });

  test('with all of it, is read by notary and takes the next publication', async () => {
    await publishChanges({ type: 'remove-target', role: 'targets', name: ODD_NAMES[0] ?? '' });
    const list = await listed('custom');
    expect(list.match(new RegExp(SHA256, 'g'))).toHaveLength(ODD_NAMES.length - 1 + CUSTOM.length);
  });

  test('has delegations by certificate and by Ed25519 key', async () => {
    const certificate = await keys.certificate(directory.path, 'somebody', { newKey: ['rsa:2048'] });
    await publishChanges(
      { type: 'edit-delegation', role: 'targets/releases', create: true, addKeys: [certificate], addPaths: ['r<', ''] },
      { type: 'edit-delegation', role: 'targets/qa', create: true, addKeys: [await keys.generate('ed25519')] },
      { type: 'edit-delegation', role: 'targets/none', create: true },
      { type: 'add-target', role: 'targets/releases', name: 'r<1', meta: HELLO },
    );
    expect(await listed('delegations')).toMatch(/^r<1 +[0-9a-f]{64} +6 +targets\/releases$/m);
    const client = await stack.client('delegations');
    expect(await client.succeeds('delegation', 'list', GUN)).toMatch(/targets\/releases +"" <all paths>/);
    await publishChanges({ type: 'delete-delegation', role: 'targets/none' });
    await publishChanges({ type: 'witness', role: 'targets/releases' });
    expect((await fetchAll()).targets.get('targets/releases')?.signed.version).toBe(2);
  });

  test('a delegation that comes back must go on counting versions, or the server refuses it', async () => {
    const key = await keys.generate();
    const former = targets.get('targets/releases')?.version ?? 0;
    await publishChanges({ type: 'delete-delegation', role: 'targets/releases' });
    expect(await listed('without')).not.toContain('targets/releases');
    const again: Change[] = [
      { type: 'edit-delegation', role: 'targets/releases', create: true, addKeys: [key], addPaths: [''] },
      { type: 'add-target', role: 'targets/releases', name: 'back', meta: HELLO },
    ];
    expect(await uploadChanges(again)).toEqual({
      status: 400,
      body: expect.stringContaining('A newer version of metadata is already available.'),
    });

    await publishChanges(...again.slice(0, 1));
    targets.set('targets/releases', { ...newTargets(now), version: former });
    await publishChanges(...again.slice(1));
    expect(await listed('back')).toMatch(/^back +[0-9a-f]{64} +6 +targets\/releases$/m);
  });

  test('rotates its keys, and people who know the old root follow', async () => {
    const known = await stack.client('delegations');
    const before = root;
    const newKeys = { root: [await keys.certificate(directory.path, GUN)], targets: [await keys.generate()] };
    root = replaceRoleKeys(root, newKeys, now);
    await publish(
      new Map([
        ['root', await file(root, ...rootAuthorities(root, before))],
        ['targets', await signedAgain('targets')],
      ]),
    );
    expect(await known.succeeds('lookup', GUN, 'é')).toBe(`é sha256:${SHA256} 6\n`);
    expect((await fetchAll()).root.signed.version).toBe(2);
  });

  test('every file of it that the server gives is what was uploaded', async () => {
    for (const [role, bytes] of files) {
      expect(await stack.server.metadata(GUN, `${role}.json`)).toBe(bytes.toString('utf8'));
    }
    const timestamp = parseTimestamp(Buffer.from(await stack.server.metadata(GUN, 'timestamp.json')));
    expect(timestamp.signed.version).toBe(snapshot?.version);
  });

  test('the real notary publishes on top of it with the same keys, and src/tuf on top of that', async () => {
    // notary signs custom data as it is written, so it can publish no role with custom data that has escapes
    await publishChanges(...CUSTOM.map((name): Change => ({ type: 'remove-target', role: 'targets', name })));
    const person = await stack.client('with-keys');
    const store = join(person.home, '.notary/private');
    await mkdir(store, { recursive: true, mode: 0o700 });
    for (const role of ['root', 'targets', 'snapshot'] as const) {
      const [key] = baseAuthority(root, role).keys;
      if (key === undefined) throw new Error(`no key for ${role}`);
      const owner = { role, gun: role === 'root' ? '' : GUN };
      await writeKeyFile(store, { key: keys.privateKey(key), ...owner, passphrase: `${role}-passphrase` });
    }
    await writeFile(join(person.home, 'hello.txt'), 'hello\n');
    await person.succeeds('add', '-p', GUN, 'by-notary', 'hello.txt');
    const { ending } = await person.run(['key', 'rotate', GUN, 'root'], 'yes\n');
    expect(ending).toBe(0);

    const known = await stack.client('delegations');
    expect(await known.succeeds('list', GUN)).toMatch(/^by-notary +[0-9a-f]{64} +6 +targets$/m);
    const trusted = await fetchAll();
    expect(trusted.root.signed.version).toBe(3);
    root = trusted.root.signed;
    targets = new Map(trusted.targetsByRole());
    snapshot = trusted.snapshot?.signed;
    for (const [role, { bytes }] of [['root', trusted.root] as const, ...trusted.targets])
      files.set(role, Buffer.from(bytes));
    await publishChanges({ type: 'add-target', role: 'targets', name: 'by-signet', meta: HELLO });
    expect(await person.succeeds('list', GUN)).toMatch(/^by-signet +[0-9a-f]{64} +6 +targets$/m);
  });
});
