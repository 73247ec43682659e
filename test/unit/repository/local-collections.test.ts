import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { localCollections } from '../../../src/repository/local-collections.ts';
import { temporaryDirectory } from '../../support/temp.ts';

async function gunsIn(...directories: readonly string[]): Promise<readonly string[]> {
  const trust = await temporaryDirectory();
  onTestFinished(() => trust[Symbol.asyncDispose]());
  for (const directory of directories) await mkdir(join(trust.path, 'tuf', directory), { recursive: true });
  const guns: string[] = [];
  for await (const { gun } of localCollections(trust.path)) guns.push(gun);
  return guns.sort();
}

test('collections are found at any depth, also below one another', async () => {
  expect(await gunsIn('one/metadata', 'r.example.com/team/app/metadata', 'r.example.com/team/metadata')).toEqual([
    'one',
    'r.example.com/team',
    'r.example.com/team/app',
  ]);
});

test('a name may begin with the name of the folder that a collection has', async () => {
  expect(await gunsIn('metadata/metadata', 'metadata/app/metadata')).toEqual(['metadata', 'metadata/app']);
});

test('a directory without collections, and one that is not there, have none', async () => {
  expect(await gunsIn('r.example.com/team/changelist')).toEqual([]);
  expect(await gunsIn()).toEqual([]);
});
