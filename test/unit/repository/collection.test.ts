import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LocalCollection } from '../../../src/repository/collection.ts';
import { localCollections } from '../../../src/repository/local-collections.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/temp.ts';

let trust: TemporaryDirectory;
beforeEach(async () => {
  trust = await temporaryDirectory();
});
afterEach(() => trust[Symbol.asyncDispose]());

const collection = (gun: string) => {
  const { signal } = new AbortController();
  return new LocalCollection({ gun, trustDir: trust.path, signal, warn: () => undefined });
};
const known = async () => {
  const guns: string[] = [];
  for await (const { gun } of localCollections(trust.path)) guns.push(gun);
  return guns.sort();
};

describe('a collection on disk', () => {
  it('is gone when it is removed; those below its name stay, and so do keys', async () => {
    for (const gun of ['example.com/a', 'example.com/a/b', 'example.com/c']) {
      await collection(gun).cache.write(new Map([['root', Buffer.from('{}')]]));
      await collection(gun).changelist.add([{ type: 'witness', role: 'targets' }]);
    }
    await mkdir(join(trust.path, 'private'));
    await writeFile(join(trust.path, 'private', 'some.key'), '');
    await collection('example.com/a').removeAll();
    expect(await known()).toEqual(['example.com/a/b', 'example.com/c']);
    await collection('example.com/a/b').removeAll();
    expect(await readdir(join(trust.path, 'tuf', 'example.com'))).toEqual(['c']);
    expect(await readdir(join(trust.path, 'private'))).toEqual(['some.key']);
  });

  it('of which nothing comes leaves no folder', async () => {
    {
      await using _ = await collection('example.com/typo').lock();
    }
    expect(await readdir(join(trust.path, 'tuf'))).toEqual([]);
  });

  it('may be removed and changed at once', async () => {
    await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const one = collection('example.com/busy');
        if (index % 2 === 0) await one.removeAll();
        else {
          await using _lock = await one.lock();
          await one.cache.write(new Map([['root', Buffer.from(String(index))]]));
        }
      }),
    );
    await collection('example.com/busy').removeAll();
    expect(await known()).toEqual([]);
  });
});
