/** Collections made with signet, read by the real programs; and both programs in turn on one trust directory. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CollectionHome, collectionHome } from '../support/collection-home.ts';

const GUN = 'registry.example.com/Team/app';
const HELLO = '5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03';

let home: CollectionHome;
beforeAll(async () => {
  home = await collectionHome();
  await writeFile(join(home.path, 'hello.txt'), 'hello\n');
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

describe('a collection of signet', () => {
  it('is made and published with one command', async () => {
    const { ending, stdout, stderr } = await home.signet('init', '-p', GUN);
    expect(stderr).toContain('new root key');
    expect({ ending, stdout }).toEqual({
      ending: 0,
      stdout: `Auto-publishing changes to ${GUN}\nSuccessfully published changes for repository ${GUN}\n`,
    });
  });

  it('gets a target, which is staged and then published', async () => {
    expect(await home.signet('add', GUN, 'v1', 'hello.txt')).toMatchObject({
      ending: 0,
      stdout: `Addition of target "v1" to repository "${GUN}" staged for next publish.\n`,
    });
    expect(await home.signet('publish', GUN)).toEqual({
      ending: 0,
      stdout: `Pushing changes to ${GUN}\nSuccessfully published changes for repository ${GUN}\n`,
      stderr: '',
    });
    expect(await home.signet('list', GUN)).toEqual({
      ending: 0,
      stdout: [
        'NAME    DIGEST                                                              SIZE (BYTES)    ROLE',
        '----    ------                                                              ------------    ----',
        `v1      ${HELLO}    6               targets\n`,
      ].join('\n'),
      stderr: '',
    });
  });

  it('is read by notary in another trust directory', async () => {
    const reader = await home.reader('reader');
    expect(await reader.succeeds('list', GUN)).toBe((await home.signet('list', GUN)).stdout);
    expect(await reader.succeeds('lookup', GUN, 'v1')).toBe(`v1 sha256:${HELLO} 6\n`);
    expect((await reader.run(['verify', GUN, 'v1'], 'hello\n')).stdout).toBe('hello\n');
  });
});
