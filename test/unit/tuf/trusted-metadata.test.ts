/** What a client believes, against servers that lie. */
import { beforeAll, describe, expect, it } from 'vitest';
import { applyChanges } from '../../../src/tuf/apply-changes.ts';
import { fileMetaOf } from '../../../src/tuf/file-meta.ts';
import { lookupTarget } from '../../../src/tuf/lookup.ts';
import { parseRoot } from '../../../src/tuf/metadata.ts';
import { nextSnapshot, nextTimestamp, nextVersion } from '../../../src/tuf/next-version.ts';
import { baseAuthority, type Root } from '../../../src/tuf/root.ts';
import { replaceRoleKeys, rootAuthorities } from '../../../src/tuf/root-edit.ts';
import { TRUST_ON_FIRST_USE } from '../../../src/tuf/trust-pinning.ts';
import { TrustedMetadata } from '../../../src/tuf/trusted-metadata.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/temp.ts';
import { type Files, fileOf, type TestCollection, testCollection } from '../../support/tuf-collection.ts';

const GUN = 'registry.example.com/Team/App';
const NOW = new Date();
const DAY_MS = 24 * 60 * 60 * 1000;
const later = (days: number) => new Date(NOW.getTime() + days * DAY_MS);

let directory: TemporaryDirectory;
let collection: TestCollection;
let first: Files;

beforeAll(async () => {
  directory = await temporaryDirectory();
  collection = await testCollection(directory.path, GUN, NOW);
  first = await collection.publish();
  return () => directory[Symbol.asyncDispose]();
});

function refusal(message: string) {
  return expect.objectContaining({ code: 'METADATA_REJECTED', message });
}

function start(files: Files = first, now = NOW, gun = GUN): TrustedMetadata {
  return TrustedMetadata.fromFirstRoot(fileOf(files, 'root'), TRUST_ON_FIRST_USE, { gun, now });
}

/** Believes root, timestamp and snapshot. */
function upToSnapshot(files: Files = first): TrustedMetadata {
  const trusted = start(files);
  trusted.updateTimestamp(fileOf(files, 'timestamp'));
  trusted.updateSnapshot(fileOf(files, 'snapshot'));
  return trusted;
}

/** Signs `file` as the role would, from what is signed in it. */
async function resigned<R extends 'timestamp' | 'snapshot'>(role: R, change: (old: never) => never): Promise<Buffer> {
  const old = role === 'timestamp' ? collection.timestamp : collection.snapshot;
  return await collection.file(change(old as never), [baseAuthority(collection.root, role)]);
}

describe('a first root', () => {
  it('is believed for its own GUN only, capitals included', () => {
    expect(start().root.signed.version).toBe(1);
    for (const gun of ['registry.example.com/team/app', `${GUN}2`, 'registry.example.com']) {
      expect(() => start(first, NOW, gun)).toThrow(
        refusal('could not validate the path to a trusted root: unable to retrieve valid leaf certificates'),
      );
    }
  });

  it('must be signed by its own root keys', () => {
    const text = fileOf(first, 'root').toString('utf8');
    const forged = new Map(first).set(
      'root',
      Buffer.from(text.replace('"consistent_snapshot":false', '"consistent_snapshot":true')),
    );
    expect(() => start(forged)).toThrow(
      refusal('could not validate the path to a trusted root: failed to validate integrity of roots'),
    );
  });

  it('must have a certificate that is valid now', () => {
    expect(() => start(first, later(3651))).toThrow(/unable to retrieve valid leaf certificates/);
    expect(() => start(first, later(-2))).toThrow(/unable to retrieve valid leaf certificates/);
  });
});

describe('an update', () => {
  it('is believed file by file', () => {
    const trusted = upToSnapshot();
    trusted.updateTargets('targets', fileOf(first, 'targets'));
    expect(trusted.targets.get('targets')?.signed.version).toBe(1);
    expect(trusted.fileMeta('targets')).toEqual(fileMetaOf(fileOf(first, 'targets')));
  });

  it('keeps to the order: nothing is believed that nothing names', () => {
    expect(() => start().updateSnapshot(fileOf(first, 'snapshot'))).toThrow(
      refusal('nothing that is trusted names snapshot'),
    );
    expect(() => start().updateTargets('targets', fileOf(first, 'targets'))).toThrow(
      refusal('nothing that is trusted names targets'),
    );
    expect(() => upToSnapshot().updateTargets('targets/x', fileOf(first, 'targets'))).toThrow(
      refusal('nothing that is trusted names targets/x'),
    );
  });

  it('freeze: an expired timestamp is refused', () => {
    const trusted = start(first, later(15));
    const expires = collection.timestamp?.expires.text;
    expect(() => trusted.updateTimestamp(fileOf(first, 'timestamp'))).toThrow(
      refusal(`timestamp expired at ${expires}`),
    );
  });

  it('an expired root vouches for nothing', () => {
    const trusted = TrustedMetadata.fromKeptRoot(fileOf(first, 'root'), { gun: GUN, now: later(4000) });
    expect(() => trusted.updateTimestamp(fileOf(first, 'timestamp'))).toThrow(
      refusal(`root expired at ${collection.root.expires.text}`),
    );
  });

  it('roll-back: a version below the one that was trusted is refused, the same is not', () => {
    const bounds = { atLeastVersion: 2 };
    const message = refusal('version 1 is lower than current version 2');
    expect(() => start().updateTimestamp(fileOf(first, 'timestamp'), bounds)).toThrow(message);
    expect(() => upToSnapshot().updateSnapshot(fileOf(first, 'snapshot'), bounds)).toThrow(message);
    expect(() => upToSnapshot().updateTargets('targets', fileOf(first, 'targets'), bounds)).toThrow(message);
    start().updateTimestamp(fileOf(first, 'timestamp'), { atLeastVersion: 1 });
  });

  it('mix and match: a file that is not the one named is refused, whoever signed it', async () => {
    const other = await resigned('snapshot', (old) => ({ ...(old as object), version: 9 }) as never);
    const want = Buffer.from(fileMetaOf(fileOf(first, 'snapshot')).hashes.get('sha256') ?? []).toString('hex');
    const trusted = start();
    trusted.updateTimestamp(fileOf(first, 'timestamp'));
    expect(() => trusted.updateSnapshot(other)).toThrow(
      refusal(`sha256 checksum for snapshot did not match: expected ${want}`),
    );
    const targets = await collection.file(nextVersion(collection.targets.get('targets') as never, NOW), [
      baseAuthority(collection.root, 'targets'),
    ]);
    expect(() => upToSnapshot().updateTargets('targets', targets)).toThrow(
      /^sha256 checksum for targets did not match/,
    );
  });

  it('mix and match: a snapshot of another root is refused', async () => {
    const snapshot = nextSnapshot(collection.snapshot, { files: new Map([['root', Buffer.from('other')]]) }, NOW);
    const snapshotFile = await collection.file(snapshot, [baseAuthority(collection.root, 'snapshot')]);
    const timestamp = nextTimestamp(collection.timestamp, snapshotFile, NOW);
    const trusted = start();
    trusted.updateTimestamp(await collection.file(timestamp, [baseAuthority(collection.root, 'timestamp')]));
    expect(() => trusted.updateSnapshot(snapshotFile)).toThrow(/^sha256 checksum for root did not match/);
  });

  it('a role signed by the keys of another role is refused', async () => {
    const { root, timestamp } = collection;
    const forged = await collection.file(timestamp as never, [
      { ...baseAuthority(root, 'snapshot'), name: 'timestamp' },
    ]);
    expect(() => start().updateTimestamp(forged)).toThrow(
      refusal('valid signatures did not meet threshold for timestamp'),
    );
  });

  it('metadata of another type is refused', () => {
    expect(() => start().updateTimestamp(fileOf(first, 'snapshot'))).toThrow(
      refusal('malformed timestamp metadata: signed is not of type Timestamp'),
    );
  });

  it('stays as it was when a file is refused', () => {
    const trusted = upToSnapshot();
    const { timestamp, snapshot, root } = trusted;
    expect(() => trusted.updateRoot(fileOf(first, 'root'))).toThrow(
      refusal('root version 1 does not follow version 1'),
    );
    expect(() => trusted.updateTimestamp(Buffer.from('{}'))).toThrow(/^malformed timestamp metadata/);
    expect(() => trusted.updateSnapshot(Buffer.from('{}'))).toThrow(/^sha256 checksum for snapshot/);
    expect([trusted.timestamp, trusted.snapshot, trusted.root]).toEqual([timestamp, snapshot, root]);
  });
});

describe('a rotated root', () => {
  async function rotated(): Promise<{ readonly next: Root; readonly both: Buffer }> {
    const key = await collection.keys.certificate(directory.path, GUN);
    const next = replaceRoleKeys(collection.root, { root: [key] }, NOW);
    return { next, both: await collection.file(next, rootAuthorities(next, collection.root)) };
  }

  it('is believed if old and new keys signed it', async () => {
    const trusted = upToSnapshot();
    trusted.updateRoot((await rotated()).both);
    expect(trusted.root.signed.version).toBe(2);
    expect([trusted.timestamp, trusted.snapshot, trusted.targets.size]).toEqual([undefined, undefined, 0]);
  });

  it('is refused without the old keys, and without the new', async () => {
    const { next } = await rotated();
    const onlyNew = await collection.file(next, [baseAuthority(next, 'root')]);
    const onlyOld = await collection.file(next, [baseAuthority(collection.root, 'root')]);
    expect(() => start().updateRoot(onlyNew)).toThrow(
      refusal(
        'could not rotate trust to a new trusted root: failed to validate data with current trusted certificates',
      ),
    );
    expect(() => start().updateRoot(onlyOld)).toThrow(
      refusal('could not validate the path to a trusted root: failed to validate integrity of roots'),
    );
  });

  it('must be the next version', async () => {
    const { next } = await rotated();
    const skipped = await collection.file({ ...next, version: 3 }, rootAuthorities(next, collection.root));
    expect(() => start().updateRoot(skipped)).toThrow(refusal('root version 3 does not follow version 1'));
    const trusted = start();
    trusted.updateRoot((await rotated()).both);
    expect(() => trusted.updateRoot(fileOf(first, 'root'))).toThrow(
      refusal('version 1 is lower than current version 2'),
    );
  });

  it('is reached from a kept root that has expired', async () => {
    const { both } = await rotated();
    const trusted = TrustedMetadata.fromKeptRoot(fileOf(first, 'root'), { gun: GUN, now: later(4000) });
    expect(trusted.updateRoot(both).version).toBe(2);
  });

  it('a kept root that is damaged is refused', () => {
    const context = { gun: GUN, now: NOW };
    expect(() => TrustedMetadata.fromKeptRoot(Buffer.from('garbage'), context)).toThrow(/^malformed root metadata/);
    expect(() => TrustedMetadata.fromKeptRoot(fileOf(first, 'root'), { gun: 'other', now: NOW })).toThrow(
      /unable to retrieve valid leaf certificates/,
    );
  });
});

describe('delegations', () => {
  it('are believed with the keys that their parent gives, parents first', async () => {
    const team = await testCollection(directory.path, GUN, NOW);
    const [releases, qa] = [await team.keys.generate(), await team.keys.generate('ed25519')];
    const edit = applyChanges(
      team.targets,
      [
        { type: 'edit-delegation', role: 'targets/releases', create: true, addKeys: [releases], addPaths: [''] },
        { type: 'add-target', role: 'targets/releases', name: 'v1', meta: fileMetaOf(Buffer.from('v1')) },
        { type: 'edit-delegation', role: 'targets/releases/qa', create: true, addKeys: [qa], addPaths: ['qa/'] },
        { type: 'add-target', role: 'targets/releases/qa', name: 'qa/1', meta: fileMetaOf(Buffer.from('qa')) },
        { type: 'edit-delegation', role: 'targets/empty', create: true, addKeys: [qa], addPaths: [''] },
      ],
      NOW,
    );
    expect([...edit.changed]).toEqual(['targets', 'targets/releases', 'targets/releases/qa']);
    team.targets = new Map([...edit.roles].map(([role, targets]) => [role, nextVersion(targets, NOW)]));
    const files = await team.publish();

    const trusted = upToSnapshot(files);
    expect(() => trusted.updateTargets('targets/releases', fileOf(files, 'targets/releases'))).toThrow(
      'tuf: invalid role targets/releases. this role is not known',
    );
    trusted.updateTargets('targets', fileOf(files, 'targets'));
    expect(trusted.publishedDelegations('targets')).toEqual(['targets/releases']);
    trusted.updateTargets('targets/releases', fileOf(files, 'targets/releases'));
    trusted.updateTargets('targets/releases/qa', fileOf(files, 'targets/releases/qa'));
    expect(trusted.publishedDelegations('targets/releases/qa')).toEqual([]);
    expect(lookupTarget(trusted.targetsByRole(), 'qa/1')?.role).toBe('targets/releases/qa');
    trusted.updateTargets('targets/releases', fileOf(files, 'targets/releases'));
    expect([...trusted.targets.keys()]).toEqual(['targets', 'targets/releases']);
  });
});

it('a root that is read again is the root that was written', () => {
  expect(parseRoot(fileOf(first, 'root')).signed).toEqual(collection.root);
});
