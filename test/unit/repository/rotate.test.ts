import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseKeyId } from '../../../src/crypto/key-id.ts';
import { SignetError } from '../../../src/errors.ts';
import { initialise } from '../../../src/repository/initialise.ts';
import { type RotateOptions, type Rotation, rotate } from '../../../src/repository/rotate.ts';
import { type KeyAgent, SigningKeys } from '../../../src/repository/signing-keys.ts';
import type { AgentKey } from '../../../src/rpc/messages.ts';
import { parseRoot } from '../../../src/tuf/metadata.ts';
import { newTargets, nextVersion } from '../../../src/tuf/next-version.ts';
import { baseAuthority } from '../../../src/tuf/root.ts';
import { newRoot, rootAuthorities } from '../../../src/tuf/root-edit.ts';
import { canonicalKeyId, type TufKey, tufKeyId } from '../../../src/tuf/tuf-key.ts';
import { Resources } from '../../support/resources.ts';
import { temporaryDirectory } from '../../support/temp.ts';
import { TestTrustServer, testClient } from '../../support/trust-server.ts';
import { type TestCollection, testCollection } from '../../support/tuf-collection.ts';
import { Uploads } from '../../support/uploads.ts';

const GUN = 'example.com/app';
const now = new Date();

let resources: Resources;
let server: TestTrustServer;
let directory: string;
let published: TestCollection;
let uploads: Uploads;
/** Keys that the daemon lists, by ID. */
let held: Map<string, AgentKey>;
let warnings: readonly string[];

beforeEach(async () => {
  resources = new Resources();
  directory = resources.use(await temporaryDirectory()).path;
  server = resources.use(await TestTrustServer.start());
  published = await testCollection(directory, GUN, now);
  uploads = new Uploads(server, published, now);
  held = new Map();
  for (const role of ['root', 'targets', 'snapshot'] as const) {
    for (const key of baseAuthority(published.root, role).keys) hold(key, role, role === 'root' ? '' : GUN);
  }
  server.publish(await published.publish());
});
afterEach(() => resources[Symbol.asyncDispose]());

function hold(key: TufKey, role: string, gun: string): AgentKey {
  const { publicKey, keyId } = published.keys.privateKey(key);
  const info: AgentKey = {
    ...{ key_id: keyId, role, gun, location: 'a file', backend: 'file', public_key: publicKey },
    ...{
      needs_pin: false,
      needs_touch: false,
      needs_passphrase: false,
      last_used_ms: 0,
      device: null,
      passed_over: [],
    },
  };
  held.set(keyId, info);
  return info;
}

/** The daemon, with keys in memory. */
function keysOf(): SigningKeys {
  const agent: KeyAgent = {
    listKeys: async function* () {
      yield* held.values();
    },
    findKey: async (keyId) => {
      const found = held.get(keyId);
      if (found !== undefined) return found;
      throw new SignetError('KEY_NOT_FOUND', 'no such key');
    },
    getPublicKey: () => Promise.reject(new Error('every public key is known')),
    generateKey: async ({ role, gun }) => hold(await published.keys.generate(), role, gun),
    removeKey: async (keyId) => ({ removed: held.delete(keyId) }) as never,
    sign: async ({ key_id: keyId, message = Buffer.alloc(0) }) => {
      return { signature: await published.keys.sign(parseKeyId(keyId), message) };
    },
  };
  return new SigningKeys(agent, {});
}

const client = () => testClient(server.url, { gun: GUN, trustDir: join(directory, 'trust'), now });

async function rotateNow(options: Partial<RotateOptions>): Promise<Rotation> {
  using opened = client();
  warnings = opened.warnings;
  return await rotate(opened.collection, keysOf(), {
    ...{ role: 'targets', serverManaged: false, keyIds: [], legacy: 0, requireHardware: false },
    generate: { algorithm: 'ecdsa' },
    ...options,
  });
}

const idsOf = (role: 'root' | 'targets') => baseAuthority(published.root, role).keys.map(canonicalKeyId);
const heldIds = (role: string) => [...held.values()].filter((key) => key.role === role).map(({ key_id }) => key_id);
const signers = () => parseRoot(server.files.get('root.json') ?? Buffer.alloc(0)).signatures.map(({ keyId }) => keyId);

describe('a rotation', () => {
  it('to a key in a file is refused where it must be on a token', async () => {
    const { key_id: keyId } = hold(await published.keys.generate(), 'root', '');
    await expect(rotateNow({ role: 'root', keyIds: [parseKeyId(keyId)], requireHardware: true })).rejects.toMatchObject(
      { code: 'TOKEN_NOT_PRESENT', message: `root key ${keyId} is in a file, which is no token` },
    );
    expect(uploads.taken).toEqual([]);
  });

  it('of root is signed by former keys that the trusted root lists, whatever the server says', async () => {
    const [first] = baseAuthority(published.root, 'root').keys;
    if (first === undefined) throw new Error('no root key');
    await rotateNow({ role: 'root' });
    await rotateNow({ role: 'root', legacy: -1 });
    expect(signers()).toContain(tufKeyId(first));
    const stranger = await published.keys.certificate(directory, GUN);
    const key = [await published.keys.generate()];
    const forged = newRoot({ root: [stranger], targets: key, snapshot: key, timestamp: key }, now);
    server.files.set('1.root.json', await published.file(forged, rootAuthorities(forged, undefined)));
    await rotateNow({ role: 'root', legacy: -1 });
    expect(signers()).toHaveLength(3); // the new one, its predecessor, and the second
    expect(signers()).not.toContain(tufKeyId(stranger));
  });

  it('removes the private key that nothing needs any more', async () => {
    const former = idsOf('targets');
    const { keys, removed } = await rotateNow({});
    expect(removed.map(({ key_id }) => key_id)).toEqual(former);
    expect(heldIds('targets')).toEqual(keys.map(({ info }) => info.key_id));
  });

  it('keeps the private key that a delegation has too', async () => {
    const keys = baseAuthority(published.root, 'targets').keys;
    const former = idsOf('targets');
    published.targets.set('targets', {
      ...nextVersion(newTargets(now), now),
      delegations: {
        keys: new Map(keys.map((key) => [tufKeyId(key), key])),
        roles: [{ name: 'targets/back', paths: [''], keyIds: keys.map(tufKeyId), threshold: 1 }],
      },
    });
    server.publish(await published.publish());
    expect(await rotateNow({})).toMatchObject({ removed: [] });
    expect(heldIds('targets')).toEqual(expect.arrayContaining(former));
  });

  it('keeps the private key that another role has too', async () => {
    const [targets] = idsOf('targets');
    published.root = {
      ...published.root,
      roles: { ...published.root.roles, snapshot: published.root.roles.targets },
    };
    server.publish(await published.publish());
    expect(await rotateNow({})).toMatchObject({ removed: [] });
    expect(heldIds('targets')).toContain(targets);
  });

  it.each([400, 403, 409])('that the server refuses with %d leaves the keys as they were', async (answer) => {
    const before = [...held.keys()];
    uploads.answers = [answer];
    await expect(rotateNow({})).rejects.toBeInstanceOf(SignetError);
    expect([...held.keys()]).toEqual(before);
    expect(warnings).toEqual([]);
  });

  it.each([500, 504, 'take-and-fail'] as const)(
    'that is answered with %s keeps both keys, and names them',
    async (answer) => {
      const before = [...held.keys()];
      const former = idsOf('targets').join();
      uploads.answers = [answer];
      await expect(rotateNow({})).rejects.toMatchObject({ code: 'UNAVAILABLE' });
      const [made = ''] = [...held.keys()].filter((keyId) => !before.includes(keyId));
      expect([...held.keys()]).toEqual([...before, made]);
      expect(warnings).toEqual([
        `nobody knows whether the server took the new key: both keys are kept, the new ${made} and the former ${former}`,
      ]);
    },
  );
});

describe('a new collection', () => {
  const make = async () => {
    using opened = client();
    warnings = opened.warnings;
    const root = { requireHardware: false, generate: { algorithm: 'ecdsa' } };
    const options = { root, serverSnapshot: false, publish: true };
    return await initialise(opened.collection, keysOf(), options, () => undefined);
  };

  beforeEach(async () => {
    const { bytes } = await published.keys.generate();
    const key = `{"keytype":"ecdsa","keyval":{"public":"${Buffer.from(bytes).toString('base64')}","private":null}}`;
    server.files.clear();
    server.files.set('timestamp.key', Buffer.from(key));
    held.clear();
  });

  it('that the server refuses leaves nothing behind', async () => {
    uploads.answers = [400];
    await expect(make()).rejects.toMatchObject({ code: 'METADATA_REJECTED' });
    expect([...held.keys()]).toEqual([]);
  });

  it('that the server may yet take keeps its keys, and names them', async () => {
    uploads.answers = [504];
    await expect(make()).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      hint: `nobody knows whether the server took it: try signet publish ${GUN}`,
    });
    expect(heldIds('root')).toHaveLength(1);
    const made = [...held.values()].map(({ role, key_id }) => `${role} ${key_id}`).join(', ');
    expect(warnings).toEqual([
      `nobody knows whether the server took it: what was made is kept, keys included: ${made}`,
    ]);
  });
});
