import { createHash } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { RestoreOptions, RestoreReport } from '../../src/backends/archive.ts';
import { FileBackend } from '../../src/backends/file/file-backend.ts';
import { formatManifest, type ManifestKey } from '../../src/backends/file/manifest.ts';
import { TAR_END, tarEntry } from '../../src/backends/file/tar.ts';
import { openAge, sealAge } from '../../src/crypto/age.ts';
import { parseKeyId } from '../../src/crypto/key-id.ts';
import { PrivateKey } from '../../src/crypto/private-key.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { keyFileText, listedPassphrases, writeKeyFile } from '../support/key-files.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';

// Each archive costs its passphrase's derivation, made or opened.
vi.setConfig({ testTimeout: 60_000 });

const CONTEXT = { caller: 'test' };
const OWNER = { role: 'targets', gun: 'registry.example.com/team/app' };
const ARCHIVE_PASSPHRASE = 'correct horse';
const bytes = Buffer.from(ARCHIVE_PASSPHRASE);

let temporary: TemporaryDirectory;
let from: FileBackend;
let to: FileBackend;
let source: string;
let target: string;
const opened: FileBackend[] = [];

async function openBackend(path: string): Promise<FileBackend> {
  const backend = await FileBackend.open({
    path,
    passphrases: listedPassphrases(['pass of the keys']),
    unlocked: { max: 10, ttlMs: 60_000 },
  });
  opened.push(backend);
  return backend;
}

beforeEach(async () => {
  temporary = await temporaryDirectory();
  source = join(temporary.path, 'from');
  target = join(temporary.path, 'to');
  from = await openBackend(source);
  to = await openBackend(target);
});
afterEach(async () => {
  for (const backend of opened.splice(0)) await backend[Symbol.asyncDispose]();
  await temporary[Symbol.asyncDispose]();
});

async function backUp(): Promise<Buffer> {
  using passphrase = Secret.fromText(ARCHIVE_PASSPHRASE);
  const parts: Uint8Array[] = [];
  for await (const piece of from.archiver.backup(passphrase, CONTEXT)) parts.push(piece.bytes);
  return Buffer.concat(parts);
}

async function* stream(content: Buffer): AsyncIterable<Buffer> {
  for (let at = 0; at < content.length; at += 10_000) yield content.subarray(at, at + 10_000);
}

async function restore(archive: Buffer, options: Partial<RestoreOptions> = {}): Promise<RestoreReport> {
  using passphrase = Secret.fromText(ARCHIVE_PASSPHRASE);
  return await to.archiver.restore(stream(archive), passphrase, { replace: false, dryRun: false, ...options }, CONTEXT);
}

/** Seals a tar file of a test's own making, with the least work. */
async function forged(...entries: readonly Buffer[]): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of sealAge(bytes, stream(Buffer.concat([...entries, TAR_END])), 1)) parts.push(part);
  return Buffer.concat(parts);
}

function manifestKey(path: string, id: string, content: string): ManifestKey {
  const sha256 = createHash('sha256').update(content).digest('hex');
  return { id: parseKeyId(id), ...OWNER, path, sha256, size: Buffer.byteLength(content) };
}

/** The manifest of keys alone. */
function manifestEntry(...keys: readonly ManifestKey[]): Buffer {
  return tarEntry('manifest.json', formatManifest({ keys, files: [] }, new Date(0)));
}

/** All files of a directory, with what is in them. */
async function contents(path: string): Promise<Record<string, string>> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return Object.fromEntries(
    await Promise.all(files.map(async (file) => [file.slice(path.length + 1), await readFile(file, 'utf8')])),
  );
}

describe('a backup', () => {
  it('brings every file back as it was, also of the old layouts and unsealed ones', async () => {
    await from.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    await writeKeyFile(source, { ...OWNER });
    const old = join(source, 'tuf_keys', 'registry.example.com', 'größe');
    await mkdir(old, { recursive: true, mode: 0o700 });
    const legacy = await PrivateKey.generate('ed25519');
    await writeKeyFile(old, { key: legacy, passphrase: 'x', name: `${legacy.keyId}_targets.key` });
    const report = await restore(await backUp());
    expect([report.restored.length, report.unchanged, report.replaced]).toEqual([3, [], []]);
    expect(await contents(target)).toEqual(await contents(source));
    expect(await to.find(legacy.keyId)).toMatchObject({ role: 'targets', gun: 'registry.example.com/größe' });
  });

  it('leaves out what is no key', async () => {
    await writeFile(join(source, `${'0'.repeat(64)}.key`), 'not a key');
    await writeFile(join(source, 'notes.txt'), 'mine');
    expect(await restore(await backUp())).toEqual({ restored: [], unchanged: [], replaced: [] });
    expect(await contents(target)).toEqual({});
  });

  it('shows nothing of an unsealed key', async () => {
    const { key } = await writeKeyFile(source);
    const archive = await backUp();
    expect(archive.includes('PRIVATE KEY')).toBe(false);
    expect(archive.includes(key.keyId)).toBe(false);
  });

  it('opens with the passphrase alone, as a tar file with a manifest', async () => {
    const { keyId } = await from.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    const parts: Buffer[] = [];
    for await (const part of openAge(bytes, stream(await backUp()))) parts.push(part);
    const tar = Buffer.concat(parts).toString('latin1');
    expect(tar).toContain(`keys/${keyId}.key`);
    expect(tar).toContain('"format":"signet-backup","version":1');
  });

  it('wants a passphrase', async () => {
    using empty = Secret.fromText('');
    const pieces = from.archiver.backup(empty, CONTEXT)[Symbol.asyncIterator]();
    await expect(pieces.next()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});

describe('restoring', () => {
  it('again changes nothing', async () => {
    const { keyId } = await from.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    const archive = await backUp();
    await restore(archive);
    expect(await restore(archive)).toEqual({ restored: [], unchanged: [keyId], replaced: [] });
    expect(await readdir(target)).toEqual([`${keyId}.key`]);
  });

  it('stops at keys with another content, and names them', async () => {
    const { keyId } = await from.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    const other = await from.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    const archive = await backUp();
    await restore(archive);
    await to.relabeller.relabel(keyId, { role: 'alice', gun: '' }, CONTEXT);
    await rm(join(target, `${other.keyId}.key`));
    const before = await contents(target);
    for (const dryRun of [true, false]) {
      await expect(restore(archive, { dryRun })).rejects.toMatchObject({
        code: 'KEY_EXISTS',
        message: `of the keys in the backup, 1 are here with another content: ${keyId}`,
      });
    }
    expect(await contents(target)).toEqual(before);
    const report = await restore(archive, { replace: true });
    expect(report).toEqual({ restored: [other.keyId], unchanged: [], replaced: [keyId] });
    expect(await contents(target)).toEqual(await contents(source));
  });

  it('replaces a copy in another layout', async () => {
    const { keyId } = await from.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    const archive = await backUp();
    const old = join(target, 'tuf_keys', 'gun');
    await mkdir(old, { recursive: true, mode: 0o700 });
    await writeFile(
      join(old, `${keyId}.key`),
      await keyFileText(await PrivateKey.generate('ed25519'), { passphrase: 'x' }),
    );
    expect((await restore(archive, { replace: true })).replaced).toEqual([keyId]);
    expect(await contents(target)).toEqual(await contents(source));
  });

  it('tells in a dry run what it would do, and writes nothing', async () => {
    const { keyId } = await from.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    expect(await restore(await backUp(), { dryRun: true })).toEqual({ restored: [keyId], unchanged: [], replaced: [] });
    expect(await readdir(target)).toEqual([]);
  });

  it('undoes everything when one key cannot be put in its place', async () => {
    const keys = await Promise.all(
      Array.from({ length: 4 }, () => from.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT)),
    );
    const [replaced, blocked] = [...keys].sort((a, b) => (a.keyId < b.keyId ? -1 : 1));
    const archive = await backUp();
    await restore(archive);
    for (const { keyId } of keys) if (keyId !== replaced?.keyId) await rm(join(target, `${keyId}.key`));
    await to.relabeller.relabel(parseKeyId(replaced?.keyId ?? ''), { role: 'alice', gun: '' }, CONTEXT);
    await mkdir(join(target, `${blocked?.keyId}.key`)); // not a file: nobody can link over it
    const before = await contents(target);
    await expect(restore(archive, { replace: true })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: `another program stored key ${blocked?.keyId} meanwhile`,
    });
    expect(await contents(target)).toEqual(before);
  });

  it('completes what a crash left half-done, and clears it away', async () => {
    await from.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    const second = await from.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    const archive = await backUp();
    await restore(archive);
    await rm(join(target, `${second.keyId}.key`));
    const stage = join(target, '.signet-restore-abcdef');
    await mkdir(stage);
    await writeFile(join(stage, '0'), 'half');
    await utimes(stage, 0, 0);
    const report = await restore(archive);
    expect([report.restored, report.unchanged.length]).toEqual([[second.keyId], 1]);
    expect(await contents(target)).toEqual(await contents(source));
  });

  it('refuses a directory that others can write to', async () => {
    const archive = await backUp();
    await chmod(target, 0o770);
    await expect(restore(archive)).rejects.toMatchObject({ code: 'CONFIGURATION' });
  });

  it('does not follow a link out of the directory', async () => {
    const elsewhere = join(temporary.path, 'elsewhere');
    await mkdir(elsewhere);
    await symlink(elsewhere, join(target, 'tuf_keys'));
    const key = await PrivateKey.generate('ed25519');
    const text = await keyFileText(key, { passphrase: 'x' });
    const path = `tuf_keys/gun/${key.keyId}.key`;
    const manifest = manifestEntry(manifestKey(path, key.keyId, text));
    const archive = await forged(tarEntry(`keys/${path}`, Buffer.from(text)), manifest);
    await expect(restore(archive)).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: expect.stringContaining(`leads out of ${target}`),
    });
    expect(await contents(elsewhere)).toEqual({});
  });
});

describe('an archive with the right passphrase and the wrong content', () => {
  const ID = 'a'.repeat(64);
  const notABackup = 'the archive holds something else than a backup of keys';
  const notListed = 'the backup does not hold the keys that its manifest lists';

  async function key() {
    const made = await PrivateKey.generate('ed25519');
    return { id: made.keyId, text: await keyFileText(made, { passphrase: 'x' }) };
  }

  afterEach(async () => expect(await contents(target)).toEqual({}));

  it.each([
    `../${ID}.key`,
    `/${ID}.key`,
    `tuf_keys/../../${ID}.key`,
    `tuf_keys/./${ID}.key`,
    `tuf_keys//${ID}.key`,
    `elsewhere/${ID}.key`,
    `${ID}_root.key`,
    `tuf_keys/${'d/'.repeat(40)}${ID}.key`,
    `tuf_keys/a\x01b/${ID}.key`,
    'notes.txt',
    '',
  ])('is refused for the path %j', async (path) => {
    const { text } = await key();
    const entries = [tarEntry(`keys/${path}`, Buffer.from(text)), manifestEntry()];
    await expect(restore(await forged(...entries))).rejects.toMatchObject({ code: 'INTEGRITY', message: notABackup });
  });

  it('is refused when manifest and keys differ', async () => {
    const { id, text } = await key();
    const path = `${id}.key`;
    const entry = tarEntry(`keys/${path}`, Buffer.from(text));
    const listed = manifestKey(path, id, text);
    const mismatches = [
      [entry, manifestEntry()],
      [manifestEntry(listed)],
      [entry, manifestEntry({ ...listed, sha256: '0'.repeat(64) })],
      [entry, manifestEntry({ ...listed, size: 1 })],
      [entry],
    ];
    for (const entries of mismatches) {
      await expect(restore(await forged(...entries))).rejects.toMatchObject({ code: 'INTEGRITY', message: notListed });
    }
    const twice = restore(await forged(entry, entry, manifestEntry(listed, listed)));
    await expect(twice).rejects.toMatchObject({ code: 'INTEGRITY', message: notABackup });
    const other = await key();
    const unlisted = tarEntry(`keys/${other.id}.key`, Buffer.from(other.text));
    await expect(restore(await forged(entry, unlisted, manifestEntry(listed, listed)))).rejects.toMatchObject({
      code: 'INTEGRITY',
      message: notListed,
    });
    const late = restore(await forged(manifestEntry(listed), entry));
    await expect(late).rejects.toMatchObject({ code: 'INTEGRITY', message: notABackup });
  });

  it.each([
    ['no JSON', 'x', 'INTEGRITY'],
    ['of another format', '{"format":"other","version":1,"keys":[]}', 'INTEGRITY'],
    ['of a later version', '{"format":"signet-backup","version":3,"keys":[]}', 'UNSUPPORTED'],
    ['without keys', '{"format":"signet-backup","version":1}', 'INTEGRITY'],
    ['without files', '{"format":"signet-backup","version":2,"keys":[]}', 'INTEGRITY'],
    ['with other things as keys', '{"format":"signet-backup","version":1,"keys":[1]}', 'INTEGRITY'],
    [
      'with a path of another key',
      `{"format":"signet-backup","version":1,"keys":[{"id":"${ID}","role":"","gun":"","path":"${'b'.repeat(64)}.key","sha256":"","size":0}]}`,
      'INTEGRITY',
    ],
  ])('is refused for a manifest %s', async (_what, text, code) => {
    await expect(restore(await forged(tarEntry('manifest.json', Buffer.from(text))))).rejects.toMatchObject({ code });
  });

  it('is refused for a file that is no key', async () => {
    const path = `${ID}.key`;
    const manifest = manifestEntry(manifestKey(path, ID, 'x'));
    const archive = await forged(tarEntry(`keys/${path}`, Buffer.from('x')), manifest);
    await expect(restore(archive)).rejects.toMatchObject({ code: 'INTEGRITY', message: 'no PEM block' });
  });
});
