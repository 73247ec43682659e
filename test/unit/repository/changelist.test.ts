import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Changelist } from '../../../src/repository/changelist.ts';
import type { Change } from '../../../src/tuf/change.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/temp.ts';

let directory: TemporaryDirectory;
let changelist: Changelist;
beforeEach(async () => {
  directory = await temporaryDirectory();
  changelist = new Changelist(directory.path);
});
afterEach(() => directory[Symbol.asyncDispose]());

const removal = (name: string): Change => ({ type: 'remove-target', role: 'targets', name });
const names = async () =>
  (await changelist.read()).map(({ change }) => (change.type === 'remove-target' ? change.name : change.type));

describe('a changelist', () => {
  it('without a folder is empty', async () => {
    expect(await changelist.read()).toEqual([]);
  });

  it('keeps the order in which changes were staged', async () => {
    const all = Array.from({ length: 50 }, (_, index) => `v${index}`);
    await changelist.add(all.slice(0, 25).map(removal));
    await changelist.add(all.slice(25).map(removal));
    expect(await names()).toEqual(all);
  });

  it('has files for nobody else, named as notary names them', async () => {
    await changelist.add([removal('v1')]);
    const folder = join(directory.path, 'changelist');
    const [file = ''] = await readdir(folder);
    expect(file).toMatch(/^0\d{19}_[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.change$/);
    expect((await stat(join(folder, file))).mode & 0o777).toBe(0o600);
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
  });

  it('loses nothing that came while others were published', async () => {
    await changelist.add([removal('first')]);
    const published = await changelist.read();
    await changelist.add([removal('second')]);
    await changelist.remove(published.map(({ file }) => file));
    expect(await names()).toEqual(['second']);
  });

  it('with a file that is no change says which, and clears it when asked', async () => {
    await mkdir(join(directory.path, 'changelist'));
    await writeFile(join(directory.path, 'changelist', '0_bad.change'), '{"action":"explode"}');
    await expect(changelist.read()).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('0_bad.change: '),
    });
    await changelist.clear();
    expect(await changelist.read()).toEqual([]);
  });
});
