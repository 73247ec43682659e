/** Collections made with signet, read by the real programs; and both programs in turn on one trust directory. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAuthority } from '../support/certificates.ts';
import { type CollectionHome, collectionHome } from '../support/collection-home.ts';
import type { ProgramResult } from '../support/processes.ts';

const GUN = 'registry.example.com/team/app';
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

  it('is read by docker trust inspect', async () => {
    const { ending, stdout } = await home.docker('trust', 'inspect', GUN);
    expect(ending).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject([
      { Name: GUN, SignedTags: [{ SignedTag: 'v1', Digest: HELLO, Signers: ['Repo Admin'] }] },
    ]);
  });
});

/** Runs commands that must succeed. */
async function succeeds(run: (...args: string[]) => Promise<ProgramResult>, ...args: string[]): Promise<string> {
  const { ending, stdout, stderr } = await run(...args);
  expect({ args, ending, output: ending === 0 ? '' : stdout + stderr }).toEqual({ args, ending: 0, output: '' });
  return stdout;
}
const signet = (...args: string[]) => succeeds(home.signet, ...args);
const notary = (...args: string[]) => succeeds(home.notary, ...args);
const names = async () =>
  (JSON.parse(await signet('list', GUN, '--json')) as { name: string; role: string }[]).map(
    ({ name, role }) => `${role} ${name}`,
  );
/** What each role of the published root names. */
const rootOf = async () =>
  (JSON.parse(await home.server.metadata(GUN, 'root.json')) as { signed: PublishedRoot }).signed;
interface PublishedRoot {
  readonly version: number;
  readonly roles: Readonly<Record<string, { readonly keyids: readonly string[] }>>;
}
const privateKeys = async () => (await readdir(join(home.trustDir, 'private'))).map((name) => name.replace('.key', ''));

describe('a cap on expiry', () => {
  it('holds for the first metadata of a collection, and notary ignores it', async () => {
    const gun = 'example.com/capped';
    const config = JSON.parse(await readFile(join(home.path, '.notary', 'config.json'), 'utf8')) as object;
    const caps = { max_expiry: { root: '300d', targets: '200d', snapshot: '100d' } };
    await writeFile(join(home.path, 'capped.json'), JSON.stringify({ ...config, signet: caps }));
    await signet('init', '-c', 'capped.json', '-p', gun);
    for (const [role, days] of Object.entries({ root: 300, targets: 200, snapshot: 100 })) {
      const { signed } = JSON.parse(await home.server.metadata(gun, `${role}.json`)) as { signed: { expires: string } };
      const left = (Date.parse(signed.expires) - Date.now()) / 86_400_000;
      expect(Math.ceil(left)).toBe(days);
    }
    await notary('-c', 'capped.json', 'add', '-p', gun, 'v1', 'hello.txt');
    expect(await signet('lookup', '-c', 'capped.json', gun, 'v1')).toContain(HELLO);
  });
});

describe('both programs in turn', () => {
  it('publish on top of one another', async () => {
    await notary('add', '-p', GUN, 'by-notary', 'hello.txt');
    await signet('add', '-p', GUN, 'by-signet', 'hello.txt');
    await signet('add', GUN, 'staged-by-signet', 'hello.txt');
    await notary('publish', GUN);
    await notary('addhash', GUN, 'staged-by-notary', '6', '--sha256', HELLO);
    await signet('publish', GUN);
    expect(await names()).toEqual(
      ['by-notary', 'by-signet', 'staged-by-notary', 'staged-by-signet', 'v1'].map((name) => `targets ${name}`),
    );
    expect(await signet('list', GUN)).toBe(await notary('list', GUN));
  });

  it('take over collections that the other initialised', async () => {
    await notary('init', 'example.com/by-notary');
    await signet('publish', 'example.com/by-notary');
    await signet('init', 'example.com/by-signet');
    await notary('publish', 'example.com/by-signet');
    for (const gun of ['example.com/by-notary', 'example.com/by-signet']) {
      await signet('add', '-p', gun, 'one', 'hello.txt');
      await notary('add', '-p', gun, 'two', 'hello.txt');
      expect(await signet('list', gun)).toBe(await notary('list', gun));
    }
  });

  it('say the same', async () => {
    const gun = 'example.com/staged';
    const staging = [
      ['add', gun, 'v1', 'hello.txt'],
      ['addhash', gun, 'v2', '0x2a', '--sha256', HELLO],
      ['remove', gun, 'v3'],
      ['witness', gun, 'targets'],
      ['delegation', 'add', gun, 'targets/qa', 'qa.crt', '--paths', 'foo,bar'],
      ['delegation', 'add', gun, 'targets/all', '--all-paths'],
      ['delegation', 'remove', gun, 'targets/qa', '--paths', 'foo'],
      ['delegation', 'remove', gun, 'targets/qa', '--all-paths'],
      ['delegation', 'remove', gun, 'targets/qa', 'aaaa'],
      ['delegation', 'purge', gun, '--key', 'aaaa,bbbb'],
      ['status', gun],
      ['reset', gun, '-n', '0,1'],
      ['status', gun],
      ['reset', gun, '--all'],
      ['status', gun],
    ];
    const authority = await createAuthority(home.path, 'delegates');
    const { certFile } = await authority.issue('qa', { extendedKeyUsage: [] });
    await writeFile(join(home.path, 'qa.crt'), await readFile(certFile));
    const outputs = async (run: typeof signet) => {
      const all: string[] = [];
      for (const args of staging) all.push(await run(...args));
      return all;
    };
    expect(await outputs(signet)).toEqual(await outputs(notary));
  });
});

describe('delegations', () => {
  it('are signed by their own keys, and read by all', async () => {
    const generated = await signet('key', 'generate', '--role', 'targets/releases');
    const keyId = /[0-9a-f]{64}/.exec(generated)?.[0] ?? '';
    await signet('key', 'public', keyId, '-o', 'releases.pub');
    await signet('delegation', 'add', '-p', GUN, 'targets/releases', 'releases.pub', '--all-paths');
    await signet('add', '-p', GUN, 'r1', 'hello.txt', '--roles', 'targets/releases');
    await notary('add', '-p', GUN, 'r2', 'hello.txt', '--roles', 'targets/releases');
    expect(await names()).toEqual(expect.arrayContaining(['targets/releases r1', 'targets/releases r2']));
    expect(await signet('delegation', 'list', GUN)).toBe(await notary('delegation', 'list', GUN));
    const reader = await home.reader('delegations');
    expect(await reader.succeeds('list', GUN, '-r', 'targets/releases')).toBe(
      await signet('list', GUN, '-r', 'targets/releases'),
    );
  });

  it('that come back go on counting versions', async () => {
    await signet('delegation', 'remove', '-p', GUN, 'targets/releases', '--yes');
    expect(await names()).not.toContain('targets/releases r1');
    await signet('delegation', 'add', '-p', GUN, 'targets/releases', 'releases.pub', '--all-paths');
    await signet('add', '-p', GUN, 'r3', 'hello.txt', '--roles', 'targets/releases');
    expect(await names()).toContain('targets/releases r3');
    const reader = await home.reader('delegations');
    expect(await reader.succeeds('list', GUN)).toBe(await signet('list', GUN));
  });

  it('whose keys changed are left out until they are witnessed', async () => {
    const generated = await signet('key', 'generate', '--role', 'targets/releases');
    const keyId = /[0-9a-f]{64}/.exec(generated)?.[0] ?? '';
    await signet('key', 'public', keyId, '-o', 'second.pub');
    const list = JSON.parse(await signet('delegation', 'list', GUN, '--json')) as { keyIds: string[] }[];
    await signet('delegation', 'add', GUN, 'targets/releases', 'second.pub');
    await signet('delegation', 'remove', '-p', GUN, 'targets/releases', ...(list[0]?.keyIds ?? []));
    const { stdout, stderr } = await home.signet('list', GUN);
    expect(stdout).not.toContain('r3');
    expect(stderr).toContain(
      'targets/releases is left out: valid signatures did not meet threshold for targets/releases',
    );
    const refused = await home.signet('add', '-p', GUN, 'r4', 'hello.txt', '--roles', 'targets/releases');
    expect(refused).toMatchObject({ ending: 6 });
    expect(refused.stderr).toContain('targets/releases cannot be changed: valid signatures did not meet threshold');
    await signet('witness', '-p', GUN, 'targets/releases');
    expect(await names()).toEqual(expect.arrayContaining(['targets/releases r3', 'targets/releases r4']));
    expect(await notary('list', GUN)).toBe(await signet('list', GUN));
  });
});

describe('rotation', () => {
  it.each([
    ['targets', []],
    ['snapshot', []],
    ['timestamp', ['-r']],
    ['snapshot', ['-r']],
    ['snapshot', []],
    ['root', ['--yes']],
    ['root', ['--yes', '--legacy', '-1']],
  ])('of %s with %j is followed by who knew the collection before', async (role, options) => {
    const reader = await home.reader('follower');
    await reader.succeeds('list', GUN);
    const before = await rootOf();
    expect(await signet('key', 'rotate', GUN, role, ...options)).toBe(
      `Successfully rotated ${role} key for repository ${GUN}\n`,
    );
    const after = await rootOf();
    expect(after.version).toBe(before.version + 1);
    expect(after.roles[role]?.keyids).not.toEqual(before.roles[role]?.keyids);
    expect(await reader.succeeds('list', GUN)).toBe(await signet('list', GUN));
    await notary('add', '-p', GUN, `after-${role}`, 'hello.txt');
    await signet('remove', '-p', GUN, `after-${role}`);
    expect(await names()).not.toContain(`targets after-${role}`);
  });

  it('removes the former targets key, and keeps the former root key', async () => {
    const { roles } = await rootOf();
    const [former = ''] = roles['targets']?.keyids ?? [];
    expect(await privateKeys()).toContain(former);
    await signet('key', 'rotate', GUN, 'targets');
    expect(await privateKeys()).not.toContain(former);
    const count = (await privateKeys()).length;
    await signet('key', 'rotate', GUN, 'root', '--yes');
    expect(await privateKeys()).toHaveLength(count + 1);
  });

  it.each([
    ['timestamp', [], 'notary does not permit the client managing the timestamp key'],
    ['targets', ['-r'], 'notary does not permit the server managing the targets key'],
    ['targets/releases', [], 'notary does not currently permit rotating the targets/releases key'],
  ])('of %s with %j is refused', async (role, options, message) => {
    const { ending, stdout, stderr } = await home.signet('key', 'rotate', GUN, role, ...options);
    expect({ ending, stdout }).toEqual({ ending: 2, stdout: '' });
    expect(stderr).toContain(message);
  });
});
