/** What goes wrong while a collection is published, and that no key, no change and no trust is lost by it. */
import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Authority, createAuthority } from '../support/certificates.ts';
import { SIGNET } from '../support/cli.ts';
import { type CollectionHome, collectionHome } from '../support/collection-home.ts';
import { runProgram } from '../support/processes.ts';
import { Resources } from '../support/resources.ts';
import { type Fate, startTrustProxy, type TrustProxy } from '../support/trust-proxy.ts';

const GUN = 'example.com/team/app';
const resources = new Resources();
let home: CollectionHome;
let proxy: TrustProxy;

beforeAll(async () => {
  home = resources.use(await collectionHome());
  proxy = resources.use(await startTrustProxy(home.server.url, home.caFile));
  await writeFile(join(home.path, 'hello.txt'), 'hello\n');
  expect(await home.signet('init', '-p', GUN)).toMatchObject({ ending: 0 });
});
afterEach(() => {
  proxy.fate = () => 'pass';
});
afterAll(() => resources[Symbol.asyncDispose]());

const through = (...args: string[]) => home.signet('-s', proxy.url, ...args);
const keyFiles = async () =>
  (await readdir(join(home.trustDir, 'private'))).filter((name) => name.endsWith('.key')).sort();
const names = async () =>
  (JSON.parse((await home.signet('list', GUN, '--json')).stdout) as { name: string }[]).map(({ name }) => name);
const staged = async () => (JSON.parse((await home.signet('status', GUN, '--json')).stdout) as unknown[]).length;
const failPosts = (fate: 'lose-answer' | { status: number }) => {
  proxy.fate = ({ method, url }) => (method === 'POST' && url?.endsWith('/tuf/') ? fate : 'pass');
};

describe('a rotation', () => {
  it.each(['targets', 'snapshot', 'root'])(
    'of %s that the server refuses leaves the keys as they were',
    async (role) => {
      const before = await keyFiles();
      failPosts({ status: 400 });
      const { ending, stderr } = await through('key', 'rotate', GUN, role, '--yes');
      expect({ ending, stderr }).toEqual({
        ending: 6,
        stderr: expect.stringContaining('trust server rejected operation (status 400)'),
      });
      expect(await keyFiles()).toEqual(before);
      proxy.fate = () => 'pass';
      expect(await through('add', '-p', GUN, `after-${role}`, 'hello.txt')).toMatchObject({ ending: 0 });
    },
  );

  it('whose answer is lost keeps the new key, with which the collection goes on', async () => {
    const before = await keyFiles();
    failPosts('lose-answer');
    const { ending, stderr } = await through('key', 'rotate', GUN, 'targets');
    expect(ending).toBe(5);
    expect(stderr).toContain('nobody knows whether the server took the new key: both keys are kept');
    expect(await keyFiles()).toHaveLength(before.length + 1);
    expect(await home.signet('add', '-p', GUN, 'after-lost', 'hello.txt')).toMatchObject({ ending: 0 });
  });
});

describe('a publication', () => {
  it('that the server refuses keeps what is staged', async () => {
    failPosts({ status: 503 });
    expect(await through('add', '-p', GUN, 'refused', 'hello.txt')).toMatchObject({ ending: 5 });
    expect(await staged()).toBe(1);
    expect(await home.signet('publish', GUN)).toMatchObject({ ending: 0 });
    expect(await names()).toContain('refused');
    expect(await staged()).toBe(0);
  });

  it('whose answer is lost may be made again', async () => {
    failPosts('lose-answer');
    expect(await through('add', '-p', GUN, 'lost', 'hello.txt')).toMatchObject({ ending: 5 });
    expect(await staged()).toBe(1);
    expect(await names()).toContain('lost');
    expect(await home.signet('publish', GUN)).toMatchObject({ ending: 0 });
    expect(await staged()).toBe(0);
  });

  it('that finds another one done meanwhile begins anew on top of it', async () => {
    const other = join(home.path, 'other');
    await cp(home.trustDir, other, { recursive: true });
    const byTheOther = ['-d', other, 'add', '-p', GUN, 'by-the-other', 'hello.txt'];
    let uploads = 0;
    proxy.fate = async ({ method }): Promise<Fate> => {
      if (method === 'POST' && ++uploads === 1) expect(await home.notary(...byTheOther)).toMatchObject({ ending: 0 });
      return 'pass';
    };
    expect(await through('add', '-p', GUN, 'by-us', 'hello.txt')).toMatchObject({ ending: 0 });
    expect(uploads).toBe(2);
    expect(await names()).toEqual(expect.arrayContaining(['by-the-other', 'by-us']));
    expect(await staged()).toBe(0);
  });

  it('of many programs at once loses nothing', async () => {
    const all = Array.from({ length: 6 }, (_, index) => `parallel-${index}`);
    const results = await Promise.all(all.map((name) => home.signet('add', '-p', GUN, name, 'hello.txt')));
    expect(results.map(({ ending, stderr }) => (ending === 0 ? 0 : stderr))).toEqual(all.map(() => 0));
    expect(await names()).toEqual(expect.arrayContaining(all));
    expect(await staged()).toBe(0);
    const reader = await home.reader('after-many');
    expect(await reader.succeeds('list', GUN)).toBe((await home.signet('list', GUN)).stdout);
  });
});

describe('a first publication', () => {
  it('that is refused leaves nothing behind', async () => {
    const before = await keyFiles();
    failPosts({ status: 400 });
    expect(await through('init', '-p', 'example.com/refused')).toMatchObject({ ending: 6 });
    expect(await keyFiles()).toEqual(before);
    proxy.fate = () => 'pass';
    expect(await through('init', '-p', 'example.com/refused')).toMatchObject({ ending: 0 });
  });

  it('whose answer is lost is found to be done', async () => {
    failPosts('lose-answer');
    const { ending, stderr } = await through('init', '-p', 'example.com/lost');
    expect(ending).toBe(5);
    expect(stderr).toContain('nobody knows whether the server took it: try signet publish example.com/lost');
    expect(await home.signet('publish', 'example.com/lost')).toMatchObject({ ending: 0 });
    expect(await home.signet('add', '-p', 'example.com/lost', 'v1', 'hello.txt')).toMatchObject({ ending: 0 });
  });

  it.each([
    ['of a stranger', 'its certificate is signed by an unknown authority'],
    ['that has expired', 'its certificate has expired'],
  ])('to a server with a certificate %s is none', async (what, message) => {
    const own: Authority = await createAuthority(home.path, 'strangers');
    const known = what === 'of a stranger' ? await createAuthority(home.path, 'known') : own;
    const validDays = what === 'that has expired' ? -1 : 30;
    const { certFile, keyFile } = await own.issue('server', { extendedKeyUsage: ['serverAuth'], validDays });
    const server = createServer({ cert: await readFile(certFile), key: await readFile(keyFile) });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const before = await keyFiles();
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const result = await home.signet('init', '-s', url, '--tlscacert', known.certFile, 'example.com/stranger');
    server.close();
    expect({ ending: result.ending, stderr: result.stderr }).toEqual({
      ending: 5,
      stderr: expect.stringContaining(message),
    });
    expect(await keyFiles()).toEqual(before);
  });
});

describe('a full disk', () => {
  it('leaves what is kept of a collection as it was', async () => {
    const metadata = join(home.trustDir, 'tuf', GUN, 'metadata');
    const files = async () =>
      Object.fromEntries(
        await Promise.all(
          (await readdir(metadata)).map(async (name) => [name, await readFile(join(metadata, name), 'utf8')] as const),
        ),
      );
    expect(await home.notary('add', '-p', GUN, 'unseen', 'hello.txt')).toMatchObject({ ending: 0 });
    const before = await files();
    // A limit on the size of files fails as a full disk does: no file can grow beyond a block.
    const limited = await runProgram('bash', ['-c', `ulimit -f 1; exec "$0" list ${GUN}`, SIGNET], {
      cwd: home.path,
      env: home.commandLine.env,
    });
    expect({ ending: limited.ending, stdout: limited.stdout }).toEqual({ ending: 5, stdout: '' });
    expect(limited.stderr).toMatch(/^signet: cannot write .*\.json \(EFBIG\)\n/);
    expect(await files()).toEqual(before);
    expect(await names()).toContain('unseen');
  });
});
