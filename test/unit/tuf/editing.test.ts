/** New roots, next versions, signatures: what Notary's own publications look like. */
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { SignetError } from '../../../src/errors.ts';
import { fileMetaOf } from '../../../src/tuf/file-meta.ts';
import { parseRoot, parseSnapshot, parseTargets, parseTimestamp } from '../../../src/tuf/metadata.ts';
import {
  expiresSoon,
  MAX_VERSION,
  newTargets,
  nextSnapshot,
  nextTimestamp,
  nextVersion,
} from '../../../src/tuf/next-version.ts';
import { baseAuthority } from '../../../src/tuf/root.ts';
import { formerRootKeys, newRoot, replaceRoleKeys, rootAuthorities } from '../../../src/tuf/root-edit.ts';
import { signMetadata } from '../../../src/tuf/sign.ts';
import { canonicalKeyId, type TufKey, tufKeyId } from '../../../src/tuf/tuf-key.ts';
import { temporaryDirectory } from '../../support/temp.ts';
import { TestKeys } from '../../support/tuf-collection.ts';
import { newest, versionsOf } from '../../support/tuf-vectors.ts';

const NOW = new Date('2026-11-20T12:00:00.250Z');
const keys = new TestKeys();
let root: TufKey;
let other: TufKey;

beforeAll(async () => {
  await using directory = await temporaryDirectory();
  root = await keys.certificate(directory.path, 'gun');
  other = await keys.generate();
});

const [, , , fourth, fifth] = versionsOf('repo-ecdsa', 'root').map((bytes) => parseRoot(bytes).signed);
if (!fourth || !fifth) throw new Error('roots are missing');

describe('newRoot', () => {
  it('is version 1, every threshold 1, for ten years', () => {
    const made = newRoot({ root: [root], targets: [other], snapshot: [other], timestamp: [other] }, NOW);
    expect(made).toMatchObject({ type: 'Root', version: 1, consistentSnapshot: false });
    expect(made.expires.text).toBe('2036-11-17T12:00:00.25Z');
    expect(made.roles.root).toEqual({ keyIds: [tufKeyId(root)], threshold: 1 });
    expect([...made.keys.keys()].sort()).toEqual([tufKeyId(root), tufKeyId(other)].sort());
  });

  it('refuses a role without a key, and a root key without a certificate', () => {
    const base = { root: [root], targets: [other], snapshot: [other], timestamp: [other] };
    const refusal = (message: string) => expect.objectContaining({ code: 'INVALID_ARGUMENT', message });
    expect(() => newRoot({ ...base, snapshot: [] }, NOW)).toThrow(refusal('the snapshot role has no key'));
    expect(() => newRoot({ ...base, root: [other] }, NOW)).toThrow(
      refusal('a root key must be a certificate for the collection'),
    );
  });
});

describe('replaceRoleKeys', () => {
  it('rotates the root key as notary did: the old certificate stays in keys', () => {
    const newKeys = baseAuthority(fifth, 'root').keys;
    const rotated = replaceRoleKeys(fourth, { root: newKeys }, NOW);
    expect({ ...rotated, expires: fifth.expires }).toEqual(fifth);
    expect(rootAuthorities(rotated, fourth).map((role) => role.keys.map(tufKeyId))).toEqual([
      fifth.roles.root.keyIds,
      fourth.roles.root.keyIds,
    ]);
  });

  it('rotates other keys as notary did: the old key goes', () => {
    const versions = versionsOf('repo-ecdsa', 'root').map((bytes) => parseRoot(bytes).signed);
    const rotations = [
      ['timestamp', 0],
      ['snapshot', 1],
      ['targets', 2],
    ] as const;
    for (const [role, index] of rotations) {
      const [before, after] = [versions[index], versions[index + 1]];
      if (!before || !after) throw new Error('roots are missing');
      const rotated = replaceRoleKeys(before, { [role]: baseAuthority(after, role).keys }, NOW);
      expect({ ...rotated, expires: after.expires }).toEqual(after);
    }
  });

  it('keeps a key that another role still has', () => {
    const shared = newRoot({ root: [root], targets: [other], snapshot: [other], timestamp: [other] }, NOW);
    const rotated = replaceRoleKeys(shared, { targets: baseAuthority(fifth, 'targets').keys }, NOW);
    expect(rotated.keys.has(tufKeyId(other))).toBe(true);
    expect(rotated.version).toBe(2);
  });

  it('refuses fewer keys than the threshold', () => {
    const strict = { ...fourth, roles: { ...fourth.roles, targets: { ...fourth.roles.targets, threshold: 2 } } };
    expect(() => replaceRoleKeys(strict, { targets: [other, other] }, NOW)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: 'the targets role needs 2 keys, not 1' }),
    );
  });

  it('finds the keys of former roots, newest first, each once', () => {
    const roots = versionsOf('repo-ecdsa', 'root').map((bytes) => parseRoot(bytes).signed);
    expect(formerRootKeys(roots).map(tufKeyId)).toEqual([
      ...(fifth.roles.root.keyIds ?? []),
      ...(fourth.roles.root.keyIds ?? []),
    ]);
  });
});

describe('next versions', () => {
  it('follow each other, with new periods of validity', () => {
    const first = nextVersion(newTargets(NOW), NOW);
    expect([first.version, first.expires.text]).toEqual([1, '2029-11-19T12:00:00.25Z']);
    expect(nextVersion(first, new Date('2027-01-01T00:00:00Z'))).toMatchObject({
      version: 2,
      expires: { text: '2029-12-31T00:00:00Z' },
    });
  });

  it('are exactly one more than what they follow', () => {
    const snapshot = parseSnapshot(newest('repo-ecdsa', 'snapshot')).signed;
    const timestamp = parseTimestamp(newest('repo-ecdsa', 'timestamp')).signed;
    fc.assert(
      fc.property(fc.integer({ min: 0, max: MAX_VERSION - 1 }), (version) => {
        const next = [
          nextVersion({ ...newTargets(NOW), version }, NOW),
          replaceRoleKeys({ ...fourth, version }, {}, NOW),
          nextSnapshot({ ...snapshot, version }, { files: new Map() }, NOW),
          nextTimestamp({ ...timestamp, version }, Buffer.of(), NOW),
        ];
        expect(next.map((metadata) => metadata.version)).toEqual(next.map(() => version + 1));
      }),
    );
  });

  it('end where the database of a server ends', () => {
    expect(() => nextVersion({ ...newTargets(NOW), version: MAX_VERSION }, NOW)).toThrow(
      expect.objectContaining({
        code: 'METADATA_REJECTED',
        message: 'version 2147483647 has no successor that a server can keep',
      }),
    );
  });

  it('list files as notary lists them', () => {
    const [first, second] = versionsOf('repo-ecdsa', 'snapshot')
      .slice(-2)
      .map((bytes) => parseSnapshot(bytes).signed);
    if (!first || !second) throw new Error('snapshots are missing');
    const files = new Map(['root', 'targets', 'targets/releases'].map((role) => [role, newest('repo-ecdsa', role)]));
    const made = nextSnapshot(first, { files }, NOW);
    expect({ ...made, expires: second.expires }).toEqual(second);
    const timestamp = parseTimestamp(newest('repo-ecdsa', 'timestamp')).signed;
    const next = nextTimestamp({ ...timestamp, version: timestamp.version - 1 }, newest('repo-ecdsa', 'snapshot'), NOW);
    expect({ ...next, expires: timestamp.expires }).toEqual(timestamp);
    expect(next.expires.text).toBe('2026-12-04T12:00:00.25Z');
  });

  it('forget roles that are no more', () => {
    const snapshot = parseSnapshot(newest('repo-ecdsa', 'snapshot')).signed;
    const next = nextSnapshot(snapshot, { files: new Map(), removed: ['targets/releases'] }, NOW);
    expect([...next.meta.keys()]).toEqual(['root', 'targets']);
  });

  it('warn half a year before the end', () => {
    const at = (text: string) => ({ expires: { text, milliseconds: Date.parse(text) } });
    expect(expiresSoon(at('2027-05-20T12:00:00Z'), NOW)).toBe(true);
    expect(expiresSoon(at('2027-05-21T12:00:00Z'), NOW)).toBe(false);
    expect(expiresSoon(at('2020-01-01T00:00:00Z'), NOW)).toBe(true);
  });
});

describe('signMetadata', () => {
  const targets = { ...newTargets(NOW), version: 1 };
  const role = (required: readonly TufKey[], threshold = 1) => ({ name: 'targets', keys: required, threshold });

  it('asks for the key by its own ID, and names the certificate in the signature', async () => {
    const asked: string[] = [];
    const { signatures } = await signMetadata(targets, { required: [role([root])] }, async (keyId, message) => {
      asked.push(keyId);
      return await keys.sign(keyId, message);
    });
    expect(asked).toEqual([canonicalKeyId(root)]);
    expect(signatures).toMatchObject([{ keyId: tufKeyId(root), method: 'ecdsa' }]);
  });

  it.each([
    ['ed25519', 'eddsa'],
    ['rsa', 'rsapss'],
    ['ecdsa', 'ecdsa'],
  ] as const)('a key of type %s signs by method %s', async (algorithm, method) => {
    const key = await keys.generate(algorithm);
    const { signatures } = await signMetadata(targets, { required: [role([key])] }, keys.sign);
    expect(signatures.map((signature) => signature.method)).toEqual([method]);
  });

  it('leaves out keys that are not there, as long as every threshold is met', async () => {
    const absent = await new TestKeys().generate();
    const signers = { required: [role([absent, other]), role([root])], optional: [absent] };
    const { signatures } = await signMetadata(targets, signers, keys.sign);
    expect(signatures.map(({ keyId }) => keyId)).toEqual([tufKeyId(other), tufKeyId(root)]);
  });

  it('names the keys that are missing, in the words of notary', async () => {
    const absent = await new TestKeys().generate();
    const signing = signMetadata(targets, { required: [role([absent, other], 2)] }, keys.sign);
    await expect(signing).rejects.toMatchObject({
      code: 'KEY_NOT_FOUND',
      message: `could not find necessary signing keys, at least one of these keys must be available: ${tufKeyId(absent)}`,
      hint: 'the targets role needs 2 of its 2 keys',
    });
    await expect(signMetadata(targets, { required: [role([other], 2)] }, keys.sign)).rejects.toMatchObject({
      code: 'KEY_NOT_FOUND',
      message: 'the targets role has fewer keys than its threshold of 2',
    });
  });

  it('lets no signature out that does not verify', async () => {
    const wrong = async () => Buffer.alloc(64, 1);
    await expect(signMetadata(targets, { required: [role([other])] }, wrong)).rejects.toMatchObject({
      code: 'INTEGRITY',
      message: `the signature by key ${tufKeyId(other)} does not verify`,
    });
  });

  it('hands on every other error of the signer', async () => {
    const touch = new SignetError('TOUCH_TIMEOUT', 'nobody touched the token');
    await expect(signMetadata(targets, { required: [role([other])] }, () => Promise.reject(touch))).rejects.toBe(touch);
  });
});

it('a file is named by length, SHA-256 and SHA-512, as notary names it', () => {
  const meta = parseTargets(newest('repo-ecdsa', 'targets'), 'targets').signed.targets.get('v2');
  expect(fileMetaOf(Buffer.from('hello\n'))).toEqual(meta);
});
