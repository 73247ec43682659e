import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SignetError } from '../../../src/errors.ts';
import { MetadataCache } from '../../../src/repository/cache.ts';
import { collectionDirectory } from '../../../src/repository/gun.ts';
import { type Publication, publish } from '../../../src/repository/publish.ts';
import { rotate } from '../../../src/repository/rotate.ts';
import { type KeyAgent, SigningKeys } from '../../../src/repository/signing-keys.ts';
import type { Change } from '../../../src/tuf/change.ts';
import { fileMetaOf } from '../../../src/tuf/file-meta.ts';
import { authorityFor } from '../../../src/tuf/lookup.ts';
import { DEFAULT_MAX_EXPIRY_DAYS } from '../../../src/tuf/max-expiry.ts';
import { parseRoot, parseSnapshot, parseTargets } from '../../../src/tuf/metadata.ts';
import { newTargets, nextSnapshot, nextTimestamp, nextVersion } from '../../../src/tuf/next-version.ts';
import { baseAuthority } from '../../../src/tuf/root.ts';
import type { Targets } from '../../../src/tuf/targets.ts';
import { type TufKey, tufKeyId } from '../../../src/tuf/tuf-key.ts';
import { Resources } from '../../support/resources.ts';
import { temporaryDirectory } from '../../support/temp.ts';
import { TestTrustServer, testClient } from '../../support/trust-server.ts';
import { fileOf, type TestCollection, testCollection } from '../../support/tuf-collection.ts';
import { Uploads } from '../../support/uploads.ts';

const GUN = 'example.com/app';
const DAY_MS = 24 * 60 * 60 * 1000;
const now = new Date();
const at = (days: number) => new Date(now.getTime() + days * DAY_MS);
const goTime = (instant: Date) => ({ text: instant.toISOString(), milliseconds: instant.getTime() });

let resources: Resources;
let server: TestTrustServer;
let directory: string;
let published: TestCollection;
let uploads: Uploads;

beforeEach(async () => {
  resources = new Resources();
  directory = resources.use(await temporaryDirectory()).path;
  server = resources.use(await TestTrustServer.start());
  published = await testCollection(directory, GUN, now);
  server.publish(await published.publish());
  uploads = new Uploads(server, published, now);
});
afterEach(() => resources[Symbol.asyncDispose]());

const addition = (name: string): Change => ({
  type: 'add-target',
  role: 'targets',
  name,
  meta: fileMetaOf(Buffer.from(name)),
});

/** The daemon, as far as signing goes. @param missing Keys that it does not have. */
function keysOf(missing: readonly string[] = []): SigningKeys {
  const absent = (): never => {
    throw new SignetError('KEY_NOT_FOUND', 'no such key');
  };
  const agent: KeyAgent = {
    listKeys: async function* () {},
    findKey: async () => absent(),
    getPublicKey: async () => absent(),
    generateKey: async () => absent(),
    removeKey: async () => absent(),
    sign: async ({ key_id: keyId, message = Buffer.alloc(0) }) => {
      if (missing.includes(keyId)) absent();
      return { signature: await published.keys.sign(keyId as never, message) };
    },
  };
  return new SigningKeys(agent, {});
}

const warnings: string[] = [];
async function publishNow(
  changes: readonly Change[],
  instant = now,
  keys = keysOf(),
  maxExpiryDays = DEFAULT_MAX_EXPIRY_DAYS,
): Promise<Publication> {
  uploads.clock = instant;
  const trustDir = join(directory, 'trust');
  using client = testClient(server.url, { gun: GUN, trustDir, now: instant, maxExpiryDays });
  const { changelist } = client.collection.local;
  await changelist.add(changes);
  try {
    return await publish(client.collection, keys);
  } finally {
    warnings.splice(0, warnings.length, ...client.warnings);
    stagedAfter = (await changelist.read()).length;
  }
}
let stagedAfter = 0;
const targetsNow = () => parseTargets(server.files.get('targets.json') ?? Buffer.alloc(0), 'targets').signed;

describe('a publication', () => {
  it('uploads what changed, and a snapshot of it', async () => {
    expect(await publishNow([addition('v1'), addition('v2')])).toEqual({ roles: ['targets', 'snapshot'], changes: 2 });
    expect(uploads.taken).toEqual([['targets', 'snapshot']]);
    expect([...targetsNow().targets.keys()]).toEqual(['v1', 'v2']);
    expect(stagedAfter).toBe(0);
  });

  it('of nothing uploads nothing', async () => {
    expect(await publishNow([])).toEqual({ roles: [], changes: 0 });
    expect(uploads.taken).toEqual([]);
  });

  it('leaves the snapshot to the server where its key is not here', async () => {
    server.answer = () => false;
    const missing = published.root.roles.snapshot.keyIds ?? [];
    await expect(publishNow([addition('v1')], now, keysOf(missing))).rejects.toMatchObject({
      code: 'METADATA_REJECTED',
    });
    expect(stagedAfter).toBe(1);
  });

  it('begins anew while others are faster, and gives up in the end', async () => {
    uploads.answers = [409, 409];
    expect(await publishNow([addition('v1')])).toMatchObject({ changes: 1 });
    uploads.answers = [409, 409, 409, 409, 409];
    await expect(publishNow([addition('v2')])).rejects.toMatchObject({
      code: 'METADATA_REJECTED',
      message: 'a newer version of metadata is already available',
    });
    expect(stagedAfter).toBe(1);
  });

  it('that the server took and does not serve is announced', async () => {
    uploads.answers = ['forget'];
    await publishNow([addition('v1')]);
    expect(warnings).toEqual([
      'the server shows another version of targets than was published: it is behind, or others were faster',
    ]);
  });

  it('that readers would refuse is an error', async () => {
    const { answer } = server;
    server.answer = (request, response, name) => {
      if (name !== 'timestamp.json' || uploads.taken.length === 0) return answer(request, response, name);
      response.writeHead(200).end('{}');
      return true;
    };
    await expect(publishNow([addition('v1')])).rejects.toMatchObject({
      code: 'METADATA_REJECTED',
      message: expect.stringMatching(/^malformed timestamp metadata/),
    });
    expect(uploads.taken).toHaveLength(1);
  });

  it.each([
    [
      {
        errors: [{ code: 'INVALID_UPDATE', message: 'x', detail: { Name: 'ErrBadRoot', Error: { Msg: 'Current 1' } } }],
      },
      'the root metadata is invalid: Current 1 (status 400)',
    ],
    [{ errors: [{ code: 'MALFORMED_UPLOAD', message: 'malformed' }] }, 'malformed [MALFORMED_UPLOAD] (status 400)'],
    ['<html>', 'trust server rejected operation (status 400)'],
  ])('that is refused with %j says why', async (body, message) => {
    server.answer = (request, response) => {
      if (request.method !== 'POST') return false;
      request.resume().on('end', () => response.writeHead(400).end(JSON.stringify(body)));
      return true;
    };
    await expect(publishNow([addition('v1')])).rejects.toMatchObject({ code: 'METADATA_REJECTED', message });
    expect(stagedAfter).toBe(1);
  });
});

describe('a delegation that is made', () => {
  const delegate = async (): Promise<Change[]> => [
    {
      type: 'edit-delegation',
      role: 'targets/back',
      create: true,
      addKeys: [await published.keys.generate()],
      addPaths: [''],
      threshold: 1,
    },
    { ...addition('v1'), role: 'targets/back' } as Change,
  ];

  it('goes on from the version that the server knows', async () => {
    await publishNow([addition('one')]);
    await publishNow([addition('two')]);
    const file = `{"signed":{"_type":"Targets","delegations":{"keys":{},"roles":[]},"expires":"2030-01-01T00:00:00Z","targets":{},"version":2},"signatures":[]}`;
    server.files.set('targets/back.json', Buffer.from(file));
    await publishNow(await delegate());
    expect(parseTargets(server.files.get('targets/back.json') ?? Buffer.alloc(0), 'targets/back').signed.version).toBe(
      3,
    );
  });

  it('does not take a version from the server that leaves no successors', async () => {
    const file = `{"signed":{"_type":"Targets","delegations":{"keys":{},"roles":[]},"expires":"2030-01-01T00:00:00Z","targets":{},"version":2147483645},"signatures":[]}`;
    server.files.set('targets/back.json', Buffer.from(file));
    await expect(publishNow(await delegate())).rejects.toMatchObject({
      code: 'METADATA_REJECTED',
      message: 'the server has version 2147483645 of targets/back, which cannot be',
    });
    expect(uploads.taken).toEqual([]);
  });
});

describe('a delegation that is not believed', () => {
  const role = 'targets/back';
  const fileName = () =>
    [...server.files.keys()].find((name) => /^targets\/back\.[0-9a-f]{64}\.json$/.test(name)) ?? '';
  const namesOf = (bytes: Uint8Array | undefined) => [
    ...parseTargets(bytes ?? Buffer.alloc(0), role).signed.targets.keys(),
  ];
  const withKeys = (targets: Targets, keys: readonly TufKey[]): Targets => ({
    ...nextVersion(targets, now),
    delegations: {
      keys: new Map(keys.map((key) => [tufKeyId(key), key])),
      roles: [{ name: role, paths: [''], keyIds: keys.map(tufKeyId), threshold: 1 }],
    },
  });
  const withTarget = (name: string, version: number): Targets => ({
    ...newTargets(now),
    version,
    targets: new Map([[name, fileMetaOf(Buffer.from(name))]]),
  });

  /** Publishes the delegation, and then another key for it, which has not signed it. @param latest What the former key signed last. */
  async function rekey(latest: Targets): Promise<void> {
    const base = published.targets.get('targets') ?? newTargets(now);
    const [former, next] = [await published.keys.generate(), await published.keys.generate()];
    const first = withKeys(base, [former]);
    published.targets.set('targets', first).set(role, withTarget('v1', 5));
    server.publish(await published.publish());
    await publishNow([]); // a reader's look
    for (const name of server.files.keys()) if (name.startsWith('targets/back')) server.files.delete(name);
    // As its owner would: signed by the former key, listed beside the new one.
    const file = await published.file(latest, [authorityFor(role, published.root, published.targets)]);
    const second = withKeys(first, [next]);
    const targets = await published.file(second, [baseAuthority(published.root, 'targets')]);
    const listed = new Map([
      ['root', fileOf(published.files, 'root')],
      ['targets', targets],
      [role, file],
    ]);
    published.snapshot = nextSnapshot(published.snapshot, { files: listed }, now);
    const snapshot = await published.file(published.snapshot, [baseAuthority(published.root, 'snapshot')]);
    await uploads.take(new Map([...listed, ['snapshot', snapshot]]));
  }

  it('is signed anew by a witness, as the snapshot names it', async () => {
    await rekey(withTarget('v2', 6));
    await publishNow([{ type: 'witness', role }]);
    expect(namesOf(server.files.get(`${role}.json`))).toEqual(['v2']);
  });

  it.each([
    [
      'was substituted',
      Buffer.from(`{"signed":{"_type":"Targets"},"signatures":[]}`),
      /^targets\/back cannot be signed anew: sha256 checksum/,
    ],
    [
      'is not there',
      undefined,
      /^targets\/back cannot be signed anew: the server does not have the targets\/back metadata/,
    ],
  ])('and whose file %s is not signed by a witness, nor changed', async (_, bytes, message) => {
    await rekey(withTarget('v2', 6));
    if (bytes === undefined) server.files.delete(fileName());
    else server.files.set(fileName(), bytes);
    await expect(publishNow([{ type: 'witness', role }])).rejects.toMatchObject({
      code: 'METADATA_REJECTED',
      message: expect.stringMatching(message),
    });
    expect(uploads.taken).toEqual([]);
  });

  it('and is older than what was seen is not signed by a witness', async () => {
    await rekey(withTarget('v0', 4));
    await expect(publishNow([{ type: 'witness', role }])).rejects.toMatchObject({
      code: 'METADATA_REJECTED',
      message: 'targets/back cannot be signed anew: version 4 is lower than current version 5',
    });
    expect(uploads.taken).toEqual([]);
  });

  it('is not changed while the server does not have it', async () => {
    await rekey(withTarget('v2', 6));
    server.files.delete(fileName());
    await expect(publishNow([{ ...addition('v3'), role } as Change])).rejects.toMatchObject({
      code: 'METADATA_REJECTED',
      message: expect.stringMatching(/^targets\/back cannot be changed: the server does not have/),
    });
    expect(uploads.taken).toEqual([]);
  });
});

describe('what has expired', () => {
  it.each(['targets', 'snapshot', 'root'] as const)('as %s is signed anew by its publisher', async (role) => {
    const expired = goTime(at(1));
    if (role === 'targets') {
      const targets = published.targets.get('targets') ?? newTargets(now);
      published.targets.set('targets', { ...targets, version: 2, expires: expired });
    }
    if (role === 'root') published.root = { ...published.root, expires: expired };
    await published.publish();
    if (role === 'snapshot' && published.snapshot !== undefined) {
      const snapshot = { ...published.snapshot, expires: expired };
      const file = await published.file(snapshot, [baseAuthority(published.root, 'snapshot')]);
      published.files.set('snapshot', file);
      published.timestamp = nextTimestamp(published.timestamp, file, now);
      const timestamp = await published.file(published.timestamp, [baseAuthority(published.root, 'timestamp')]);
      published.files.set('timestamp', timestamp);
    }
    server.publish(published.files);
    const { roles } = await publishNow([], at(2));
    expect(roles).toContain(role);
    const files = {
      root: parseRoot,
      targets: (bytes: Uint8Array) => parseTargets(bytes, 'targets'),
      snapshot: parseSnapshot,
    };
    const { signed } = files[role](server.files.get(`${role}.json`) ?? Buffer.alloc(0));
    expect(signed.expires.milliseconds).toBeGreaterThan(at(1000).getTime());
    expect(await publishNow([], at(3))).toEqual({ roles: [], changes: 0 });
  });

  it('and whose key is not here is announced, and does not keep others from publishing', async () => {
    const [rootKey] = baseAuthority(published.root, 'root').keys;
    if (rootKey === undefined) throw new Error('no root key');
    published.root = { ...published.root, expires: goTime(at(30)) };
    server.publish(await published.publish());
    const keys = keysOf([published.keys.privateKey(rootKey).keyId]);
    expect(await publishNow([addition('v1')], now, keys)).toMatchObject({ changes: 1 });
    expect(warnings).toContainEqual(
      expect.stringMatching(/^root expires and is not renewed: could not find necessary/),
    );
  });

  it("as timestamp is the server's to renew", async () => {
    await expect(publishNow([addition('v1')], at(15))).rejects.toThrow(/^timestamp expired at /);
  });
});

describe('a cap on expiry', () => {
  const cap = { ...DEFAULT_MAX_EXPIRY_DAYS, Root: 100, Targets: 30, Snapshot: 20 };
  const shown = (role: string) => server.files.get(`${role}.json`) ?? Buffer.alloc(0);
  const expiries = () =>
    [parseRoot(shown('root')), parseTargets(shown('targets'), 'targets'), parseSnapshot(shown('snapshot'))].map(
      ({ signed }) => signed.expires.milliseconds,
    );

  it('shortens what is signed', async () => {
    published.root = { ...published.root, version: 2, expires: goTime(at(1)) };
    server.publish(await published.publish());
    await publishNow([addition('v1')], at(2), keysOf(), cap);
    expect(expiries()).toEqual([at(102), at(32), at(22)].map((instant) => instant.getTime()));
  });

  it("does not lengthen what is signed beyond notary's periods", async () => {
    const longer = { Root: 9999, Targets: 9999, Snapshot: 9999, Timestamp: 9999 };
    await publishNow([addition('v1')], at(2), keysOf(), longer);
    expect(expiries().slice(1)).toEqual([at(1097).getTime(), at(1097).getTime()]);
  });

  it.each([
    ['root', { ...cap, Targets: 1095 }, 100],
    ['targets', { ...cap, Root: 3650 }, 30],
  ] as const)('keeps %s metadata that was signed for longer from being published first', async (role, caps, days) => {
    server.files.clear();
    const local = new MetadataCache(collectionDirectory(join(directory, 'trust'), GUN));
    await local.write(published.files as never);
    const keys = keysOf();
    const sign = vi.spyOn(keys, 'sign');
    await expect(publishNow([addition('v1')], now, keys, caps)).rejects.toMatchObject({
      code: 'METADATA_REJECTED',
      message: expect.stringMatching(
        new RegExp(`^${role} expires at \\S+Z, more than ${days} days from now, which is the longest allowed$`),
      ),
      hint: `raise signet.max_expiry, or begin anew with signet delete ${GUN} and signet init ${GUN}`,
    });
    expect([sign.mock.calls, uploads.taken, stagedAfter]).toEqual([[], [], 1]);
    expect(await publishNow([], now, keys)).toMatchObject({ changes: 1 });
  });
});

describe('a rotation', () => {
  it('whose upload another publisher was faster than is not tried again by itself', async () => {
    uploads.answers = [409];
    using client = testClient(server.url, { gun: GUN, trustDir: join(directory, 'trust'), now });
    const key = await published.keys.generate();
    server.files.set('timestamp.key', Buffer.alloc(0));
    const { answer } = server;
    server.answer = (request, response, name) => {
      if (name !== 'timestamp.key') return answer(request, response, name);
      const publicKey = Buffer.from(key.bytes).toString('base64');
      response.writeHead(200).end(`{"keytype":"ecdsa","keyval":{"public":"${publicKey}","private":null}}`);
      return true;
    };
    const options = { role: 'timestamp', serverManaged: true, keyIds: [], legacy: 0, requireHardware: false } as const;
    await expect(
      rotate(client.collection, keysOf(), { ...options, generate: { algorithm: 'ecdsa' } }),
    ).rejects.toMatchObject({ message: 'a newer version of metadata is already available' });
    expect(parseRoot(fileOf(published.files, 'root')).signed.version).toBe(1);
  });
});
