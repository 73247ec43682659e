import { execFile } from 'node:child_process';
import { chmod, chown, mkdir, readdir, readFile, rename, rm, stat, symlink, unlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { KeyDirectory, type KeyFile } from '../../../../src/backends/file/key-directory.ts';
import { parseKeyId } from '../../../../src/crypto/key-id.ts';
import type { SignetError } from '../../../../src/errors.ts';
import { writeKeyFile } from '../../../support/key-files.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../../support/temp.ts';

const run = promisify(execFile);
const UNKNOWN = parseKeyId('0'.repeat(64));
const GUN = 'registry.example.com/team/app';

let temporary: TemporaryDirectory;
let path: string;
let directory: KeyDirectory;

beforeEach(async () => {
  temporary = await temporaryDirectory();
  path = join(temporary.path, 'private');
  directory = new KeyDirectory(path);
  await directory.create();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await temporary[Symbol.asyncDispose]();
});

async function subdirectory(...names: string[]): Promise<string> {
  const made = join(path, ...names);
  await mkdir(made, { recursive: true, mode: 0o700 });
  return made;
}

/** Everything that a listing gives, and what it reports. */
async function listed(): Promise<{ readonly files: KeyFile[]; readonly reports: [string, SignetError][] }> {
  const files: KeyFile[] = [];
  const reports: [string, SignetError][] = [];
  for await (const file of directory.list((place, error) => reports.push([place, error]))) files.push(file);
  return { files, reports };
}

/** Name, content and times of everything below the directory. */
async function snapshot(): Promise<unknown> {
  const names = (await readdir(path, { recursive: true })).sort();
  return Promise.all(
    names.map(async (name) => {
      const { mode, ino, mtimeMs, ctimeMs } = await stat(join(path, name));
      const content = await readFile(join(path, name)).catch(() => undefined);
      return { name, mode, ino, mtimeMs, ctimeMs, content };
    }),
  );
}

describe('preparing', () => {
  it('makes the directory and its parents for the owner alone', async () => {
    const deep = new KeyDirectory(join(temporary.path, 'a', 'b', 'private'));
    await deep.create();
    for (const made of [deep.path, dirname(deep.path), dirname(dirname(deep.path))]) {
      expect((await stat(made)).mode & 0o7777).toBe(0o700);
    }
  });

  it.each([0o770, 0o702, 0o777])('refuses a directory of mode %o: others can write to it', async (mode) => {
    await chmod(path, mode);
    await expect(directory.create()).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `the key directory ${path} can be written to by others`,
      hint: `run: chmod go-w ${path}`,
    });
  });

  it('accepts a directory that others can read', async () => {
    await chmod(path, 0o755);
    await expect(directory.create()).resolves.toBeUndefined();
  });

  it("refuses another user's directory", async () => {
    if (process.getuid?.() === 0) await chown(path, 12_345, 12_345);
    else vi.spyOn(process, 'getuid').mockReturnValue(12_345);
    const { uid } = await stat(path);
    await expect(directory.create()).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `the key directory ${path} belongs to another user (uid ${uid})`,
      hint: 'name a directory of its own in storage.path',
    });
  });

  it.each(['sticky, as /tmp', "another user's"])('never advises to close a directory that is %s', async (kind) => {
    await chmod(path, kind.startsWith('sticky') ? 0o1777 : 0o777);
    if (!kind.startsWith('sticky')) vi.spyOn(process, 'getuid').mockReturnValue((await stat(path)).uid + 1);
    await expect(directory.create()).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `the key directory ${path} can be written to by others`,
      hint: 'name a directory of its own in storage.path',
    });
  });

  it('refuses a file in its place', async () => {
    await rm(path, { recursive: true });
    await writeFile(path, '');
    await expect(directory.create()).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `storage.path ${path} is not a directory`,
      hint: 'name a directory of its own in storage.path',
    });
  });
});

describe('the current layout', () => {
  it('is <key ID>.key, with role and GUN in the headers', async () => {
    const { key, path: file } = await writeKeyFile(path, { role: 'targets', gun: GUN, passphrase: 'secret' });
    const found = await directory.find(key.keyId);
    expect(found).toMatchObject({ keyId: key.keyId, path: file, role: 'targets', gun: GUN });
    expect(found?.pem.sealed).toBe(true);
    expect((await listed()).files).toMatchObject([{ keyId: key.keyId, role: 'targets', gun: GUN }]);
    expect(await directory.count()).toBe(1);
    expect(await directory.locate(key.keyId)).toEqual([file]);
  });

  it('ignores other names, <key ID>_role.key among them, so that nothing is listed that is not found', async () => {
    const { key } = await writeKeyFile(path);
    const { keyId } = key;
    for (const name of [`${keyId}_root.key`, `${keyId.toUpperCase()}.key`, `${keyId}.pem`, `x${keyId}.key`, 'a.key']) {
      await writeKeyFile(path, { key, name });
    }
    await unlink(join(path, `${keyId}.key`));
    expect(await listed()).toEqual({ files: [], reports: [] });
    expect(await directory.count()).toBe(0);
    expect(await directory.find(keyId)).toBeUndefined();
  });

  it('ignores links, also in a look-up and when removing', async () => {
    const elsewhere = join(temporary.path, 'elsewhere');
    await mkdir(elsewhere);
    const { key, path: file } = await writeKeyFile(elsewhere);
    await symlink(file, join(path, basename(file)));
    await symlink(join(temporary.path, 'nowhere'), join(path, `${UNKNOWN}.key`));
    expect(await listed()).toEqual({ files: [], reports: [] });
    expect(await directory.find(key.keyId)).toBeUndefined();
    expect(await directory.find(UNKNOWN)).toBeUndefined();
    expect(await directory.locate(key.keyId)).toEqual([]);
  });

  it('ignores a directory or FIFO that is named like a key, without hanging', async () => {
    await mkdir(join(path, `${UNKNOWN}.key`));
    const fifo = parseKeyId('1'.repeat(64));
    await run('mkfifo', [join(path, `${fifo}.key`)]);
    expect(await listed()).toEqual({ files: [], reports: [] });
    expect([await directory.find(UNKNOWN), await directory.find(fifo)]).toEqual([undefined, undefined]);
  });

  it.each([
    ['text', 'not a key', 'no PEM block'],
    ['no content', '', 'no PEM block'],
    [
      'another type',
      '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
      'unknown PEM type "CERTIFICATE"',
    ],
  ])(
    'reports a key file with %s, lists the others, and says INTEGRITY to who asks for it',
    async (_, text, message) => {
      const { key } = await writeKeyFile(path);
      await writeFile(join(path, `${UNKNOWN}.key`), text);
      const { files, reports } = await listed();
      expect(files.map(({ keyId }) => keyId)).toEqual([key.keyId]);
      expect(reports).toMatchObject([[join(path, `${UNKNOWN}.key`), { code: 'INTEGRITY', message }]]);
      await expect(directory.find(UNKNOWN)).rejects.toMatchObject({ code: 'INTEGRITY', message });
      expect(await directory.locate(UNKNOWN)).toEqual([join(path, `${UNKNOWN}.key`)]);
    },
  );

  it('reports a file that is too large', async () => {
    const file = join(path, `${UNKNOWN}.key`);
    await writeFile(file, Buffer.alloc(64 * 1024 + 1, 0x20));
    const failure = { code: 'INTEGRITY', message: `${file} is larger than 65536 bytes` };
    expect((await listed()).reports).toMatchObject([[file, failure]]);
    await expect(directory.find(UNKNOWN)).rejects.toMatchObject(failure);
  });
});

describe('the legacy layouts', () => {
  it('are read in place: nothing on disk is changed', async () => {
    const root = await writeKeyFile(await subdirectory('root_keys'), { name: 'root.tmp', passphrase: 'secret' });
    await rename(root.path, join(path, 'root_keys', `${root.key.keyId}_root.key`));
    const gunDirectory = await subdirectory('tuf_keys', ...GUN.split('/'));
    const targets = await writeKeyFile(gunDirectory, { name: 'targets.tmp', passphrase: 'secret' });
    await rename(targets.path, join(gunDirectory, `${targets.key.keyId}_targets.key`));
    const delegation = await writeKeyFile(await subdirectory('tuf_keys'), { role: 'user', passphrase: 'secret' });
    const before = await snapshot();

    const facts = ({ keyId, role, gun }: KeyFile) => ({ keyId, role, gun });
    const expected = [
      { keyId: root.key.keyId, role: 'root', gun: '' },
      { keyId: targets.key.keyId, role: 'targets', gun: GUN },
      { keyId: delegation.key.keyId, role: 'user', gun: '' },
    ];
    expect((await listed()).files.map(facts)).toEqual(expect.arrayContaining(expected));
    for (const key of expected) {
      const file = await directory.find(key.keyId);
      expect(file && facts(file)).toEqual(key);
      expect(await directory.locate(key.keyId)).toEqual([file?.path]);
    }
    expect(await directory.count()).toBe(3);
    expect(await snapshot()).toEqual(before);
  });

  it('give headers precedence over what the path says', async () => {
    const made = await writeKeyFile(await subdirectory('tuf_keys', 'path', 'gun'), { role: 'snapshot', gun: GUN });
    await rename(made.path, join(dirname(made.path), `${made.key.keyId}_targets.key`));
    expect(await directory.find(made.key.keyId)).toMatchObject({ role: 'snapshot', gun: GUN });
  });

  it('give way to the current layout, and a key in both is listed once and located twice', async () => {
    const { key, path: current } = await writeKeyFile(path, { role: 'root' });
    const legacy = await writeKeyFile(await subdirectory('root_keys'), { key, role: 'former' });
    expect((await listed()).files).toMatchObject([{ path: current, role: 'root' }]);
    expect(await directory.find(key.keyId)).toMatchObject({ path: current, role: 'root' });
    expect(await directory.locate(key.keyId)).toEqual([current, legacy.path]);
  });

  it('ignore links and names that are no key IDs', async () => {
    const elsewhere = join(temporary.path, 'elsewhere');
    await mkdir(elsewhere);
    const { key, path: file } = await writeKeyFile(elsewhere);
    await symlink(file, join(await subdirectory('root_keys'), basename(file)));
    await symlink(elsewhere, join(await subdirectory('tuf_keys'), 'gun'));
    await writeFile(join(path, 'tuf_keys', 'notes.key'), 'x');
    expect(await listed()).toEqual({ files: [], reports: [] });
    expect(await directory.find(key.keyId)).toBeUndefined();
  });

  it('are followed through a migration by notary: the key is never absent meanwhile', async () => {
    const { key, path: legacy } = await writeKeyFile(await subdirectory('root_keys'), { role: 'root' });
    const current = directory.pathOf(key.keyId);
    for (let round = 0; round < 100; round++) {
      const [found] = await Promise.all([new KeyDirectory(path).find(key.keyId), rename(legacy, current)]);
      expect(found).toMatchObject({ keyId: key.keyId });
      await rename(current, legacy);
    }
  });

  it('show a new key within half a second', async () => {
    expect(await directory.find(UNKNOWN)).toBeUndefined();
    const { key } = await writeKeyFile(await subdirectory('root_keys'));
    await vi.waitFor(async () => expect(await directory.find(key.keyId)).toBeDefined(), {
      timeout: 1500,
      interval: 50,
    });
  });

  it('that cannot be read are UNAVAILABLE, not empty', async () => {
    await writeFile(join(path, 'tuf_keys'), 'a file');
    const failure = {
      code: 'UNAVAILABLE',
      message: `cannot read the key directory ${join(path, 'tuf_keys')} (ENOTDIR)`,
    };
    await expect(directory.find(UNKNOWN)).rejects.toMatchObject(failure);
    await expect(listed()).rejects.toMatchObject(failure);
  });
});

describe('a directory that went away', () => {
  const isUnavailable = (errno: string) => ({
    code: 'UNAVAILABLE',
    message: expect.stringMatching(new RegExp(`^cannot read .*/private.* \\(${errno}\\)$`)),
  });

  it('is UNAVAILABLE for every question: no key looks absent', async () => {
    const { key, path: file } = await writeKeyFile(path);
    const found = await directory.find(key.keyId);
    if (found === undefined) throw new Error('the key is not found');
    await rename(path, `${path}-unmounted`);
    const gone = isUnavailable('ENOENT');
    await expect(directory.check()).rejects.toMatchObject(gone);
    await expect(directory.find(key.keyId)).rejects.toMatchObject(gone);
    await expect(directory.find(UNKNOWN)).rejects.toMatchObject(gone);
    await expect(directory.locate(key.keyId)).rejects.toMatchObject(gone);
    await expect(directory.count()).rejects.toMatchObject(gone);
    await expect(listed()).rejects.toMatchObject(gone);
    expect(await directory.isCurrent(found)).toBe(false);
    await rename(`${path}-unmounted`, path);
    expect(await directory.find(key.keyId)).toMatchObject({ path: file });
  });

  it('and left a file or a loop of links in its place is UNAVAILABLE', async () => {
    const { key } = await writeKeyFile(path);
    await rm(path, { recursive: true });
    await writeFile(path, '');
    await expect(directory.find(key.keyId)).rejects.toMatchObject(isUnavailable('ENOTDIR'));
    await expect(directory.check()).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: `${path} is not a directory`,
    });
    await unlink(path);
    await symlink(path, path);
    await expect(directory.find(key.keyId)).rejects.toMatchObject(isUnavailable('ELOOP'));
    await expect(listed()).rejects.toMatchObject(isUnavailable('ELOOP'));
  });
});

describe('the identity of a file', () => {
  it('stays while nothing changes, and changes with content, replacement and permissions', async () => {
    const { key, path: file } = await writeKeyFile(path);
    const read = async () => {
      const found = await directory.find(key.keyId);
      if (found === undefined) throw new Error('the key is not found');
      return found;
    };
    const first = await read();
    expect(await directory.isCurrent(first)).toBe(true);
    await writeFile(file, await readFile(file));
    expect(await directory.isCurrent(first)).toBe(false);
    const second = await read();
    await chmod(file, 0o400);
    expect(await directory.isCurrent(second)).toBe(false);
    const third = await read();
    await unlink(file);
    expect(await directory.isCurrent(third)).toBe(false);
  });
});
