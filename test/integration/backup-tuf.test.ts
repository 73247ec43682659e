/** What a backup holds of a trust directory beside its keys. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, symlink, unlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { BackupPiece, RestoreOptions, RestoreReport } from '../../src/backends/archive.ts';
import { FileBackend } from '../../src/backends/file/file-backend.ts';
import { formatManifest, type ManifestFile } from '../../src/backends/file/manifest.ts';
import { TAR_END, tarEntry } from '../../src/backends/file/tar.ts';
import { sealAge } from '../../src/crypto/age.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { listedPassphrases } from '../support/key-files.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';

// Each archive costs its passphrase's derivation, made or opened.
vi.setConfig({ testTimeout: 60_000 });

const CONTEXT = { caller: 'test' };
const ARCHIVE_PASSPHRASE = 'correct horse';
const GUN = 'Registry.example.com:5000/Team/größe';
const FILES = {
  [`${GUN}/metadata/root.json`]: '{"signed":{"_type":"Root"}}',
  [`${GUN}/metadata/targets/releases.json`]: 'kept byte for byte, JSON or not',
  [`${GUN}/changelist/00000000001700000000_a.change`]: '{"action":"create"}',
  'registry.example.com/app/metadata/root.json': '',
  [`${'deep/'.repeat(40)}metadata/snapshot.json`]: 'x'.repeat(70_000),
  'registry.example.com/app/notes.txt': 'of somebody else',
};

let temporary: TemporaryDirectory;
let source: string;
let target: string;
const opened: FileBackend[] = [];
const unreadable: string[] = [];

async function openBackend(path: string): Promise<FileBackend> {
  const backend = await FileBackend.open({
    path,
    passphrases: listedPassphrases([]),
    unlocked: { max: 10, ttlMs: 60_000 },
    onUnreadable: (_path, error) => unreadable.push(error.message),
  });
  opened.push(backend);
  return backend;
}

beforeEach(async () => {
  temporary = await temporaryDirectory();
  source = join(temporary.path, 'from');
  target = join(temporary.path, 'to');
  unreadable.length = 0;
});
afterEach(async () => {
  for (const backend of opened.splice(0)) await backend[Symbol.asyncDispose]();
  await temporary[Symbol.asyncDispose]();
});

async function writeTuf(trustDir: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    const file = join(trustDir, 'tuf', path);
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    await writeFile(file, content, { mode: 0o600 });
  }
}

/** @returns The archive, and what its last piece tells. */
async function backUp(keys = join(source, 'private')): Promise<{ archive: Buffer; last: BackupPiece | undefined }> {
  using passphrase = Secret.fromText(ARCHIVE_PASSPHRASE);
  const from = await openBackend(keys);
  const pieces: BackupPiece[] = [];
  for await (const piece of from.archiver.backup(passphrase, CONTEXT)) pieces.push(piece);
  return { archive: Buffer.concat(pieces.map(({ bytes }) => bytes)), last: pieces.at(-1) };
}

async function* stream(content: Buffer): AsyncIterable<Buffer> {
  for (let at = 0; at < content.length; at += 10_000) yield content.subarray(at, at + 10_000);
}

async function restore(
  archive: Buffer,
  options: Partial<RestoreOptions> = {},
  keys = join(target, 'private'),
): Promise<RestoreReport> {
  using passphrase = Secret.fromText(ARCHIVE_PASSPHRASE);
  const to = await openBackend(keys);
  return await to.archiver.restore(stream(archive), passphrase, { replace: false, dryRun: false, ...options }, CONTEXT);
}

/** Seals a tar file of a test's own making, with the least work. */
async function forged(...entries: readonly Buffer[]): Promise<Buffer> {
  const parts: Buffer[] = [];
  const plaintext = stream(Buffer.concat([...entries, TAR_END]));
  for await (const part of sealAge(Buffer.from(ARCHIVE_PASSPHRASE), plaintext, 1)) parts.push(part);
  return Buffer.concat(parts);
}

function manifestFile(path: string, content: string): ManifestFile {
  const sha256 = createHash('sha256').update(content).digest('hex');
  return { kind: 'metadata', path, sha256, size: Buffer.byteLength(content) };
}

function manifestEntry(...files: readonly ManifestFile[]): Buffer {
  return tarEntry('manifest.json', formatManifest({ keys: [], files }, new Date(0)));
}

/** All files and folders below a directory, files with what is in them. */
async function tree(path: string): Promise<Record<string, string>> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true }).catch(() => []);
  const contents = entries.map(async (entry) => {
    const file = join(entry.parentPath, entry.name);
    return [file.slice(path.length + 1), entry.isFile() ? await readFile(file, 'utf8') : entry.name];
  });
  return Object.fromEntries(await Promise.all(contents));
}

describe('a backup of a trust directory', () => {
  it('brings metadata and staged changes back as they were', async () => {
    await writeTuf(source, FILES);
    const { archive, last } = await backUp();
    expect(last).toMatchObject({ done: 0, total: 0, files: 6, filesLeftOut: 0 });
    const report = await restore(archive);
    expect(report.restored.toSorted()).toEqual(
      Object.keys(FILES)
        .map((path) => `tuf/${path}`)
        .sort(),
    );
    expect(await tree(target)).toEqual(await tree(source));
    expect(await restore(archive)).toMatchObject({ restored: [], replaced: [], unchanged: { length: 6 } });
    expect(await tree(target)).toEqual(await tree(source));
  });

  it('leaves out links, names that no archive can hold and files that are too large, and tells', async () => {
    await writeTuf(source, {
      'gun/metadata/root.json': '{}',
      'gun/metadata/a\nb.json': '{}',
      'gun/changelist/large.change': 'x'.repeat(4 * 1024 * 1024 + 1),
      [`${'d/'.repeat(64)}root.json`]: '{}',
    });
    await symlink('root.json', join(source, 'tuf/gun/metadata/link.json'));
    await symlink(temporary.path, join(source, 'tuf/elsewhere'));
    const { archive, last } = await backUp();
    expect(last).toMatchObject({ files: 1, filesLeftOut: 5 });
    expect(unreadable.toSorted()).toEqual(
      [
        `${source}/tuf/elsewhere is not a regular file`,
        `${source}/tuf/gun/changelist/large.change is larger than 4194304 bytes`,
        `${source}/tuf/gun/metadata/a\nb.json has a name that no backup can hold`,
        `${source}/tuf/gun/metadata/link.json is not a regular file`,
        `${source}/tuf/${'d/'.repeat(64)}root.json has a name that no backup can hold`,
      ].sort(),
    );
    expect((await restore(archive)).restored).toEqual(['tuf/gun/metadata/root.json']);
  });

  it('is without what Signet makes for itself', async () => {
    await writeTuf(source, {
      'gun/.signet.lock': '{}',
      [`gun/.signet.lock.${'0'.repeat(16)}`]: '',
      [`gun/metadata/.signet-1-${'0'.repeat(16)}.tmp`]: 'half',
      '.signet-restore-abcdef/0': 'half',
    });
    expect((await backUp()).last).toMatchObject({ files: 0, filesLeftOut: 0 });
  });

  it('is of keys alone where these are not in the folder private', async () => {
    await writeTuf(source, FILES);
    expect((await backUp(join(source, 'keys'))).last).toMatchObject({ files: 0, filesLeftOut: 0 });
  });
});

describe('restoring a trust directory', () => {
  it('stops at files with another content, and replaces them only when that is asked for', async () => {
    await writeTuf(source, FILES);
    const { archive } = await backUp();
    const path = 'registry.example.com/app/metadata/root.json';
    await writeTuf(target, { [path]: 'newer', 'mine/metadata/root.json': 'stays' });
    const before = await tree(target);
    for (const dryRun of [true, false]) {
      await expect(restore(archive, { dryRun })).rejects.toMatchObject({
        code: 'KEY_EXISTS',
        message: `of the keys and files in the backup, 1 are here with another content: tuf/${path}`,
      });
    }
    expect(await tree(target)).toEqual({ ...before, private: 'private' });
    expect(await restore(archive, { replace: true })).toMatchObject({ replaced: [`tuf/${path}`] });
    await rm(join(target, 'tuf/mine'), { recursive: true });
    expect(await tree(target)).toEqual(await tree(source));
  });

  it('tells in a dry run what it would do, and writes nothing', async () => {
    await writeTuf(source, { 'gun/metadata/root.json': '{}' });
    const report = await restore((await backUp()).archive, { dryRun: true });
    expect(report.restored).toEqual(['tuf/gun/metadata/root.json']);
    expect(await tree(target)).toEqual({ private: 'private' });
  });

  it('undoes everything, folders too, when one file cannot be put in its place', async () => {
    const paths = ['a', 'b', 'c'].map((gun) => `${gun}/metadata/root.json`);
    const entries = paths.map((path) => tarEntry(`tuf/${path}`, Buffer.from('new')));
    const archive = await forged(...entries, manifestEntry(...paths.map((path) => manifestFile(path, 'new'))));
    await writeTuf(target, { 'a/metadata/root.json': 'old' });
    await mkdir(join(target, 'tuf/c/metadata/root.json'), { recursive: true }); // nobody can link over it
    await mkdir(join(target, 'private'), { mode: 0o700 });
    const before = await tree(target);
    await expect(restore(archive, { replace: true })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: 'another program stored tuf/c/metadata/root.json meanwhile',
    });
    expect(await tree(target)).toEqual(before);
  });

  it('completes what a crash left half-done, and clears it away', async () => {
    await writeTuf(source, FILES);
    const { archive } = await backUp();
    await restore(archive);
    await unlink(join(target, 'tuf', GUN, 'metadata/root.json'));
    const stage = join(target, 'tuf/.signet-restore-abcdef');
    await mkdir(stage);
    await writeFile(join(stage, '0'), 'half');
    await utimes(stage, 0, 0);
    expect(await restore(archive)).toMatchObject({
      restored: [`tuf/${GUN}/metadata/root.json`],
      unchanged: { length: 5 },
    });
    expect(await tree(target)).toEqual(await tree(source));
  });

  it('does not follow a link out of the directory', async () => {
    await writeTuf(source, { 'gun/metadata/root.json': '{}' });
    const { archive } = await backUp();
    const elsewhere = join(temporary.path, 'elsewhere');
    await mkdir(elsewhere);
    await mkdir(join(target, 'tuf'), { recursive: true });
    await symlink(elsewhere, join(target, 'tuf/gun'));
    await expect(restore(archive)).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `${target}/tuf/gun/metadata leads out of ${target}/tuf`,
    });
    expect(await tree(elsewhere)).toEqual({});
  });

  it('refuses a directory of keys alone, and restores nothing', async () => {
    await writeTuf(source, { 'gun/metadata/root.json': '{}' });
    const { archive } = await backUp();
    await expect(restore(archive, {}, join(target, 'keys'))).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `the backup holds metadata, and ${target}/keys is not in a trust directory`,
    });
    expect(await tree(target)).toEqual({ keys: 'keys' });
  });
});

describe('an archive of metadata with the right passphrase and the wrong content', () => {
  const notABackup = 'the archive holds something else than a backup of keys';

  afterEach(async () => expect(await tree(target)).toEqual({ private: 'private' }));

  it.each([
    '../x',
    'a/../../private/x',
    '/x',
    'a//x',
    './x',
    'a/',
    '',
    'a\x01b',
    'gun/.signet.lock',
    '.signet-restore-abcdef/0',
    'd/'.repeat(64).concat('x'),
    `${'d'.repeat(1024)}x`,
  ])('is refused for the path %j', async (path) => {
    const good = tarEntry('tuf/good/metadata/root.json', Buffer.from('{}'));
    const archive = await forged(good, tarEntry(`tuf/${path}`, Buffer.from('x')), manifestEntry());
    await expect(restore(archive)).rejects.toMatchObject({ code: 'INTEGRITY', message: notABackup });
  });

  it('is refused when manifest and files differ', async () => {
    const path = 'gun/metadata/root.json';
    const entry = tarEntry(`tuf/${path}`, Buffer.from('{}'));
    const listed = manifestFile(path, '{}');
    const mismatches: readonly (readonly [string, ...Buffer[]])[] = [
      ['the backup does not hold the keys that its manifest lists', entry, manifestEntry()],
      ['the backup does not hold the keys that its manifest lists', manifestEntry(listed)],
      ['the backup does not hold the keys that its manifest lists', entry, manifestEntry(manifestFile(path, '[]'))],
      ["the backup's manifest is damaged", entry, manifestEntry({ ...listed, kind: 'change' })],
      ["the backup's manifest is damaged", entry, manifestEntry({ ...listed, path: '../x' })],
      [notABackup, entry, entry, manifestEntry(listed)],
    ];
    for (const [message, ...entries] of mismatches) {
      await expect(restore(await forged(...entries))).rejects.toMatchObject({ code: 'INTEGRITY', message });
    }
  });

  it('is refused for a change that is larger than any', async () => {
    const entry = tarEntry('tuf/gun/changelist/1.change', Buffer.alloc(4 * 1024 * 1024 + 1));
    await expect(restore(await forged(entry))).rejects.toMatchObject({ code: 'INTEGRITY', message: notABackup });
  });
});
