import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SignetError } from '../../../src/errors.ts';
import type { HttpLimits } from '../../../src/repository/http.ts';
import { requireUpdate, type Update, type UpdateOptions } from '../../../src/repository/update.ts';
import { fileMetaOf } from '../../../src/tuf/file-meta.ts';
import { newTargets, nextVersion } from '../../../src/tuf/next-version.ts';
import { replaceRoleKeys } from '../../../src/tuf/root-edit.ts';
import { TRUST_ON_FIRST_USE, type TrustPinning } from '../../../src/tuf/trust-pinning.ts';
import { tufKeyId } from '../../../src/tuf/tuf-key.ts';
import { Resources } from '../../support/resources.ts';
import { temporaryDirectory } from '../../support/temp.ts';
import { TestTrustServer, testClient } from '../../support/trust-server.ts';
import { fileOf, type TestCollection, testCollection } from '../../support/tuf-collection.ts';

const GUN = 'registry.example.com/Team/App';
const DAY_MS = 24 * 60 * 60 * 1000;
const now = new Date();

let resources: Resources;
let server: TestTrustServer;
let directory: string;
let published: TestCollection;

beforeEach(async () => {
  resources = new Resources();
  directory = resources.use(await temporaryDirectory()).path;
  server = resources.use(await TestTrustServer.start());
  published = await testCollection(directory, GUN, now);
  addTarget('v1');
  server.publish(await published.publish());
});
afterEach(() => resources[Symbol.asyncDispose]());

function addTarget(name: string): void {
  const targets = published.targets.get('targets') ?? newTargets(now);
  const meta = fileMetaOf(Buffer.from(name));
  published.targets.set('targets', {
    ...nextVersion(targets, now),
    targets: new Map([...targets.targets, [name, meta]]),
  });
}

async function publishTarget(name: string): Promise<void> {
  addTarget(name);
  server.publish(await published.publish());
}

interface Reading extends Partial<UpdateOptions> {
  readonly at?: Date;
  readonly pinning?: TrustPinning;
  readonly limits?: HttpLimits;
  readonly url?: URL;
}

const trustDir = () => join(directory, 'trust');
const warnings: string[] = [];

async function update({ at = now, pinning, limits, url = server.url, ...options }: Reading = {}): Promise<Update> {
  using client = testClient(url, {
    gun: GUN,
    trustDir: trustDir(),
    now: at,
    ...(pinning && { pinning }),
    ...(limits && { limits }),
  });
  try {
    return await requireUpdate(client.collection, { mayUseCache: true, ...options });
  } finally {
    warnings.splice(0, warnings.length, ...client.warnings);
  }
}

/** Names of targets that a reader sees. */
async function read(reading?: Reading): Promise<string[]> {
  const { trusted } = await update(reading);
  return [...(trusted.targets.get('targets')?.signed.targets.keys() ?? [])];
}

async function failure(reading?: Reading): Promise<{ code: string; message: string }> {
  try {
    await update(reading);
  } catch (error) {
    if (error instanceof SignetError) return { code: error.code, message: error.message };
    throw error;
  }
  return { code: '', message: 'nothing failed' };
}

/** Every file of the trust directory. */
async function kept(): Promise<ReadonlyMap<string, string>> {
  const all = new Map<string, string>();
  for (const entry of await readdir(trustDir(), { recursive: true, withFileTypes: true }).catch(() => [])) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) all.set(relative(trustDir(), path), (await readFile(path)).toString('base64'));
  }
  return all;
}

const offline = new URL('http://127.0.0.1:1');

describe('an update', () => {
  it('keeps the bytes that the server has, in the files of the notary program', async () => {
    expect(await read()).toEqual(['v1']);
    const expected = [...published.files].map(([role, bytes]) => [
      join('tuf', GUN, 'metadata', `${role}.json`),
      bytes.toString('base64'),
    ]);
    expect(new Map(await kept())).toEqual(new Map(expected as [string, string][]));
  });

  it('downloads nothing but the timestamp when nothing is new', async () => {
    await read();
    server.asked.length = 0;
    await read();
    expect(server.asked).toEqual(['timestamp.json']);
  });

  it('sees what was published since', async () => {
    await read();
    await publishTarget('v2');
    expect(await read()).toEqual(['v1', 'v2']);
  });

  it('uses what is kept when the server cannot be reached, and says so', async () => {
    await read();
    expect(await read({ url: offline })).toEqual(['v1']);
    expect(warnings).toEqual([
      'could not reach http://127.0.0.1:1: nobody listens there (ECONNREFUSED)',
      expect.stringContaining('using cached timestamp'),
    ]);
  });

  it('uses what is kept when the server has nothing any more, and says so', async () => {
    await read();
    server.files.clear();
    expect(await read()).toEqual(['v1']);
    expect(warnings).toEqual([expect.stringContaining('using cached timestamp')]);
  });

  it('does not use what has expired', async () => {
    await read();
    expect(await failure({ url: offline, at: new Date(now.getTime() + 15 * DAY_MS) })).toEqual({
      code: 'METADATA_REJECTED',
      message: expect.stringMatching(/^timestamp expired at /),
    });
  });

  it('does not use what is kept where a publisher needs the newest', async () => {
    await read();
    expect(await failure({ url: offline, mayUseCache: false })).toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('tells that a collection is not known', async () => {
    server.files.clear();
    expect(await failure()).toEqual({
      code: 'METADATA_REJECTED',
      message: `${server.url.host} does not have trust data for ${GUN}`,
    });
  });

  it('announces what expires within six months', async () => {
    await read();
    const soon = new Date(now.getTime() + (3 * 365 - 100) * DAY_MS);
    await expect(update({ at: soon })).rejects.toThrow(/^timestamp expired/);
    const snapshot = published.snapshot;
    if (snapshot === undefined) throw new Error('nothing was published');
    const near = {
      text: new Date(now.getTime() + 100 * DAY_MS).toISOString(),
      milliseconds: now.getTime() + 100 * DAY_MS,
    };
    published.targets.set('targets', { ...nextVersion(newTargets(now), now), version: 9, expires: near });
    server.publish(await published.publish());
    await update();
    expect(warnings).toEqual([expect.stringMatching(`^targets of ${GUN} expires at `)]);
  });
});

describe('a rotated root', () => {
  /** Publishes a root with new keys. @param signer Whose keys sign it too. */
  async function rotate(signer: TestCollection['root'] | undefined): Promise<void> {
    const { keys } = published;
    const made = {
      root: [await keys.certificate(directory, GUN)],
      timestamp: [await keys.generate()],
      snapshot: [await keys.generate()],
      targets: [await keys.generate()],
    };
    published.root = replaceRoleKeys(published.root, made, now);
    server.publish(await published.publish(signer), published.root.version);
  }

  it('is followed from version to version', async () => {
    await read();
    for (const name of ['v2', 'v3']) {
      addTarget(name);
      await rotate(published.root);
    }
    expect(await read()).toEqual(['v1', 'v2', 'v3']);
    expect(server.asked.filter((name) => name.endsWith('.root.json'))).toEqual([
      '2.root.json',
      '3.root.json',
      '4.root.json',
    ]);
  });

  it('is refused if the former one did not sign it, and what is kept stays', async () => {
    await read();
    const before = await kept();
    await rotate(undefined);
    expect(await failure()).toEqual({
      code: 'METADATA_REJECTED',
      message:
        'could not rotate trust to a new trusted root: failed to validate data with current trusted certificates',
    });
    expect(await kept()).toEqual(before);
  });

  it('of another collection under the same name is refused', async () => {
    await read();
    const before = await kept();
    published = await testCollection(directory, GUN, now);
    server.publish(await published.publish());
    expect(await failure()).toEqual({
      code: 'METADATA_REJECTED',
      message:
        'could not rotate trust to a new trusted root: failed to validate data with current trusted certificates',
    });
    expect(await kept()).toEqual(before);
  });
});

describe('pins', () => {
  const pinning = (pins: Partial<TrustPinning>): TrustPinning => ({ ...TRUST_ON_FIRST_USE, ...pins });

  it('of names with capitals are obeyed', async () => {
    const [certificate] = [...published.root.keys.values()].filter(({ algorithm }) => algorithm === 'ecdsa-x509');
    if (certificate === undefined) throw new Error('no root certificate');
    expect(await failure({ pinning: pinning({ certs: new Map([[GUN, ['deadbeef']]]) }) })).toEqual({
      code: 'METADATA_REJECTED',
      message:
        'could not validate the path to a trusted root: unable to match any certificates to trust_pinning config',
    });
    expect(await kept()).toEqual(new Map());
    expect(await read({ pinning: pinning({ certs: new Map([[GUN, [tufKeyId(certificate)]]]) }) })).toEqual(['v1']);
  });

  it('are needed where trust on first use is off', async () => {
    expect(await failure({ pinning: pinning({ disableTofu: true }) })).toEqual({
      code: 'METADATA_REJECTED',
      message: 'could not validate the path to a trusted root: invalid trust pinning specified',
    });
  });
});

describe('a hostile server', () => {
  /** What it can do to one who has read before: a failure, and nothing kept is changed. */
  async function refuses(code: string, message: string | RegExp, reading: Reading = {}): Promise<void> {
    const before = await kept();
    const { code: actual, message: text } = await failure(reading);
    expect({ code: actual, text }).toEqual({
      code,
      text: typeof message === 'string' ? message : expect.stringMatching(message),
    });
    expect(await kept()).toEqual(before);
  }

  beforeEach(async () => {
    await publishTarget('v2');
    await read();
  });

  it('cannot go back to an older timestamp', async () => {
    const old = fileOf(published.files, 'timestamp');
    await publishTarget('v3');
    await read();
    server.files.set('timestamp.json', old);
    await refuses('METADATA_REJECTED', 'version 2 is lower than current version 3');
  });

  it('cannot show an older snapshot under a new timestamp', async () => {
    const { snapshot } = published;
    await publishTarget('v3');
    await read();
    published.snapshot = snapshot && { ...snapshot, version: snapshot.version - 1 };
    await publishTarget('v4');
    await refuses('METADATA_REJECTED', 'version 2 is lower than current version 3');
  });

  it('cannot mix a snapshot of one publication with the targets of another', async () => {
    const old = fileOf(published.files, 'targets');
    await publishTarget('v3');
    for (const name of [...server.files.keys()].filter((name) => name.startsWith('targets.')))
      server.files.set(name, old);
    await refuses('METADATA_REJECTED', /^(size of|sha256 checksum for) targets did not match/);
  });

  it('cannot change a timestamp', async () => {
    const changed = fileOf(published.files, 'timestamp').toString().replace('"version":2', '"version":7');
    server.files.set('timestamp.json', Buffer.from(changed));
    await refuses('METADATA_REJECTED', 'valid signatures did not meet threshold for timestamp');
  });

  it('cannot freeze a collection longer than its timestamp lasts', async () => {
    const at = new Date(now.getTime() + 15 * DAY_MS);
    await refuses('METADATA_REJECTED', /^timestamp expired at /, { at });
  });

  it.each([
    ['a text', 'hello'],
    ['nothing', ''],
    ['a list', '[]'],
    ['wrong types', '{"signed":{"_type":3},"signatures":"x"}'],
    ['another role', '{"signed":{"_type":"Root"},"signatures":[]}'],
    ['two members of one name', '{"signed":{},"signed":{},"signatures":[]}'],
    ['deep nesting', `${'['.repeat(100_000)}${']'.repeat(100_000)}`],
    ['bytes that are no text', '\u0000\ufffd\u0001'],
  ])('cannot pass %s for a timestamp', async (_, text) => {
    server.files.set('timestamp.json', Buffer.from(text));
    await refuses('METADATA_REJECTED', /^malformed timestamp metadata: /);
  });

  it('cannot send a timestamp without end', async () => {
    server.answer = (_request, response, name) => {
      if (name !== 'timestamp.json') return false;
      const block = Buffer.alloc(64 * 1024, 0x20);
      const pump = () => {
        while (!response.destroyed && response.write(block));
      };
      response.writeHead(200).on('drain', pump);
      pump();
      return true;
    };
    await refuses('METADATA_REJECTED', `${server.url.origin} sends more than 1048576 bytes`);
  });

  it('cannot send more than a file is to have', async () => {
    addTarget('v3');
    const files = await published.publish();
    const longer = Buffer.concat([fileOf(files, 'targets'), Buffer.from(' ')]);
    server.publish(files);
    for (const name of [...server.files.keys()].filter((name) => name.startsWith('targets.')))
      server.files.set(name, longer);
    await refuses('METADATA_REJECTED', `${server.url.origin} sends more than ${longer.length - 1} bytes`);
  });

  it.each([
    ['says nothing', 0],
    ['sends a byte now and then', 10],
  ])('that %s is not waited for', async (_, everyMs) => {
    const timers: NodeJS.Timeout[] = [];
    server.answer = (_request, response) => {
      if (everyMs > 0) timers.push(setInterval(() => response.write(' '), everyMs));
      return true;
    };
    const limits = { silenceMs: 200, totalMs: 400 };
    await refuses('UNAVAILABLE', /^could not reach http:.*: no whole answer within \d+ ms$/, {
      limits,
      mayUseCache: false,
    });
    for (const timer of timers) clearInterval(timer);
  });

  it('that breaks off in the middle has said nothing', async () => {
    server.answer = (_request, response) => {
      response.writeHead(200, { 'content-length': '1000' }).write('{"signed":');
      setTimeout(() => response.destroy(), 20);
      return true;
    };
    await refuses('UNAVAILABLE', /the connection broke \(ECONNRESET\)$/, { mayUseCache: false });
  });

  it('cannot send us to another server', async () => {
    server.answer = (_request, response) => {
      response.writeHead(302, { location: 'http://127.0.0.2:1/elsewhere' }).end();
      return true;
    };
    await refuses('METADATA_REJECTED', `${server.url.origin} redirects to another server`);
  });

  it('cannot send us round in circles', async () => {
    server.answer = (request, response) => {
      response.writeHead(302, { location: request.url }).end();
      return true;
    };
    await refuses('UNAVAILABLE', `${server.url.origin} redirects in circles`, { mayUseCache: false });
  });

  it.each([500, 503, 418])('that answers %d is told by its status', async (status) => {
    server.answer = (_request, response) => {
      response.writeHead(status).end('<html>');
      return true;
    };
    await refuses(status < 500 ? 'METADATA_REJECTED' : 'UNAVAILABLE', new RegExp(`${status}`), { mayUseCache: false });
  });
});

describe('what is kept', () => {
  it('and damaged as a root is an error, not a new beginning', async () => {
    await read();
    await writeFile(join(trustDir(), 'tuf', GUN, 'metadata', 'root.json'), 'garbage');
    expect(await failure()).toEqual({
      code: 'METADATA_REJECTED',
      message: expect.stringMatching(/^malformed root metadata/),
    });
  });

  it.each(['timestamp', 'snapshot', 'targets'])('and damaged as %s is downloaded anew', async (role) => {
    await read();
    await writeFile(join(trustDir(), 'tuf', GUN, 'metadata', `${role}.json`), 'garbage');
    expect(await read()).toEqual(['v1']);
    const file = await readFile(join(trustDir(), 'tuf', GUN, 'metadata', `${role}.json`));
    expect(file.equals(fileOf(published.files, role))).toBe(true);
  });

  it.each([true, false])(
    'is not replaced by what is older, while two programs read (seen before: %s)',
    async (isSeen) => {
      if (isSeen) await read();
      await publishTarget('v2');
      server.answer = (_request, response, name) => {
        if (!name.startsWith('targets.')) return false;
        server.answer = () => false;
        void (async () => {
          const old = server.files.get(name);
          await publishTarget('v3');
          await read(); // the other program, from beginning to end
          response.writeHead(200).end(old);
        })();
        return true;
      };
      expect(await read()).toEqual(['v1', 'v2', 'v3']);
      for (const role of ['timestamp', 'snapshot', 'targets']) {
        const file = await readFile(join(trustDir(), 'tuf', GUN, 'metadata', `${role}.json`));
        expect(file.equals(fileOf(published.files, role))).toBe(true);
      }
    },
  );

  it('stays as it was where a file cannot be written', async () => {
    await read();
    const before = await kept();
    await publishTarget('v2');
    const path = join(trustDir(), 'tuf', GUN, 'metadata', 'targets', 'blocked.json');
    await mkdir(dirname(path), { recursive: true });
    await mkdir(path); // a directory where the file of a delegation should be
    const keys = [await published.keys.generate()];
    const targets = published.targets.get('targets') ?? newTargets(now);
    const delegations = {
      keys: new Map(keys.map((key) => [tufKeyId(key), key])),
      roles: [{ name: 'targets/blocked' as const, paths: [''], keyIds: keys.map(tufKeyId), threshold: 1 }],
    };
    published.targets.set('targets', { ...nextVersion(targets, now), delegations });
    published.targets.set('targets/blocked', nextVersion(newTargets(now), now));
    server.publish(await published.publish());
    expect(await failure()).toMatchObject({ code: 'UNAVAILABLE' });
    expect(await kept()).toEqual(before);
  });
});
