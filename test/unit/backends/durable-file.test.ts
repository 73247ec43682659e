import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type FileHandle, mkdir, open, readdir, readFile, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  createDirectory,
  createFileDurably,
  readBoundedFile,
  removeAbandonedFiles,
  removeFileDurably,
  replaceFileDurably,
} from '../../../src/backends/durable-file.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/temp.ts';

const run = promisify(execFile);

let directory: TemporaryDirectory;
let path: string;

beforeEach(async () => {
  directory = await temporaryDirectory();
  path = join(directory.path, 'file');
});
afterEach(async () => {
  vi.restoreAllMocks();
  await directory[Symbol.asyncDispose]();
});

/** What is flushed to the disk from now on, in order: the kind, its length for a file, and whether `path` existed then. */
async function flushes(): Promise<readonly string[]> {
  const seen: string[] = [];
  const handle = await open(directory.path);
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  const { sync } = prototype;
  vi.spyOn(prototype, 'sync').mockImplementation(async function (this: FileHandle) {
    const stats = await this.stat();
    const exists = (await readdir(directory.path)).includes('file');
    seen.push(`${stats.isDirectory() ? 'directory' : `file of ${stats.size} bytes`}, ${exists ? 'after' : 'before'}`);
    await sync.call(this);
  });
  return seen;
}

describe('creating a file', () => {
  it('writes text or bytes, for the owner alone, and leaves nothing else', async () => {
    await createFileDurably(path, 'text');
    await createFileDurably(`${path}2`, Buffer.from([0, 255]));
    expect(await readFile(path, 'utf8')).toBe('text');
    expect(await readFile(`${path}2`)).toEqual(Buffer.from([0, 255]));
    expect((await stat(path)).mode & 0o7777).toBe(0o600);
    expect((await stat(path)).nlink).toBe(1);
    expect(await readdir(directory.path)).toEqual(['file', 'file2']);
  });

  it('flushes the content before the name appears, and the directory after it', async () => {
    const seen = await flushes();
    await createFileDurably(path, 'text');
    expect(seen).toEqual(['file of 4 bytes, before', 'directory, after']);
  });

  it('never replaces a file', async () => {
    await writeFile(path, 'first');
    await expect(createFileDurably(path, 'second')).rejects.toMatchObject({
      code: 'KEY_EXISTS',
      message: `${path} exists`,
    });
    expect(await readFile(path, 'utf8')).toBe('first');
    expect(await readdir(directory.path)).toEqual(['file']);
  });

  it('never replaces a link, even one that points nowhere', async () => {
    await symlink(join(directory.path, 'elsewhere'), path);
    await expect(createFileDurably(path, 'x')).rejects.toMatchObject({ code: 'KEY_EXISTS' });
    expect(await readdir(directory.path)).toEqual(['file']);
  });

  it('lets exactly one of many at once win, with its whole content', async () => {
    const contents = Array.from({ length: 20 }, (_, index) => String(index).repeat(10_000));
    const results = await Promise.allSettled(contents.map((content) => createFileDurably(path, content)));
    const winners = results.flatMap(({ status }, index) => (status === 'fulfilled' ? [contents[index]] : []));
    expect(winners).toEqual([await readFile(path, 'utf8')]);
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'KEY_EXISTS' });
    }
    expect(await readdir(directory.path)).toEqual(['file']);
  });

  it('shows no reader a part of the content', async () => {
    const content = 'x'.repeat(200_000);
    const lengths = new Set<number>();
    for (let round = 0; round < 20; round++) {
      const target = `${path}-${round}`;
      let isDone = false;
      const writing = createFileDurably(target, content).finally(() => {
        isDone = true;
      });
      while (!isDone) lengths.add((await readFile(target, 'utf8').catch(() => content)).length);
      await writing;
    }
    expect([...lengths]).toEqual([content.length]);
  });

  it('into a directory that is gone is UNAVAILABLE', async () => {
    const missing = join(directory.path, 'missing', 'file');
    await expect(createFileDurably(missing, 'x')).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: `cannot create ${missing} (ENOENT)`,
    });
  });
});

describe('removing a file', () => {
  it('tells whether there was one', async () => {
    await writeFile(path, '');
    expect([await removeFileDurably(path), await removeFileDurably(path)]).toEqual([true, false]);
  });

  it('flushes the directory after the name is gone', async () => {
    await writeFile(path, '');
    const seen = await flushes();
    await removeFileDurably(path);
    expect(seen).toEqual(['directory, before']);
  });

  it('that is a directory is UNAVAILABLE', async () => {
    await mkdir(path);
    await expect(removeFileDurably(path)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });
});

describe('temporary files', () => {
  const nameFor = (pid: number, digits = '0123456789abcdef') => `.signet-${pid}-${digits}.tmp`;

  /** The pid of a process that has ended and been waited for. */
  async function deadPid(): Promise<number> {
    const child = spawn(process.execPath, ['--version'], { stdio: 'ignore' });
    await once(child, 'exit');
    return child.pid ?? 0;
  }

  /** As a process that ended more than a minute ago left it. */
  async function leave(name: string, ageMs = 61_000): Promise<void> {
    const file = join(directory.path, name);
    await writeFile(file, '');
    const modified = new Date(Date.now() - ageMs);
    await utimes(file, modified, modified);
  }

  it('younger than a minute stay: their process may be in another container', async () => {
    const names = [nameFor(await deadPid()), nameFor(process.pid)];
    for (const name of names) await leave(name, 55_000);
    expect(await removeAbandonedFiles(directory.path)).toBe(0);
    for (const name of names) await leave(name);
    expect(await removeAbandonedFiles(directory.path)).toBe(2);
  });

  it('of dead processes are removed, those of live ones and all other files stay', async () => {
    const dead = await deadPid();
    const others = [
      nameFor(process.ppid),
      'key.key',
      `.signet-${dead}.tmp`,
      `${nameFor(dead)}.key`,
      `x${nameFor(dead)}`,
    ];
    for (const name of [nameFor(dead), nameFor(dead, 'f'.repeat(16)), ...others]) await leave(name);
    expect(await removeAbandonedFiles(directory.path)).toBe(2);
    expect((await readdir(directory.path)).sort()).toEqual([...others].sort());
  });

  it('that bear our own pid are removed: in a container every start has the same one', async () => {
    await leave(nameFor(process.pid));
    expect(await removeAbandonedFiles(directory.path)).toBe(1);
  });

  it('that this process is writing stay', async () => {
    const creations = Array.from({ length: 30 }, (_, index) => createFileDurably(`${path}-${index}`, 'x'));
    const sweeps = Array.from({ length: 30 }, () => removeAbandonedFiles(directory.path));
    expect(await Promise.all(sweeps)).toEqual(sweeps.map(() => 0));
    await Promise.all(creations);
    expect(await readdir(directory.path)).toHaveLength(30);
  });
});

describe('replacing a file', () => {
  it('puts the new content in its place, mode 0600, and leaves nothing else', async () => {
    await writeFile(path, 'old', { mode: 0o644 });
    expect(await replaceFileDurably(path, 'new', async () => true)).toBe(true);
    expect(await readFile(path, 'utf8')).toBe('new');
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(directory.path)).toHaveLength(1);
  });

  it('is not done when the last look says no, or fails', async () => {
    await writeFile(path, 'old');
    expect(await replaceFileDurably(path, 'new', async () => false)).toBe(false);
    const failing = replaceFileDurably(path, 'new', () => Promise.reject(new Error('no look')));
    await expect(failing).rejects.toMatchObject({ code: 'INTERNAL', message: `cannot replace ${path}` });
    expect(await readFile(path, 'utf8')).toBe('old');
    expect(await readdir(directory.path)).toHaveLength(1);
  });
});

describe('making a directory', () => {
  const modeOf = async (made: string) => (await stat(made)).mode & 0o7777;

  it('makes those above it too, and changes none that exists', async () => {
    const outer = join(directory.path, 'outer');
    await mkdir(outer, { mode: 0o755 });
    await createDirectory(join(outer, 'a', 'b'), 0o700);
    await createDirectory(join(outer, 'a', 'b'), 0o755);
    expect(await Promise.all([outer, join(outer, 'a'), join(outer, 'a', 'b')].map(modeOf))).toEqual([
      0o755, 0o700, 0o700,
    ]);
  });

  it('by several at once gives one', async () => {
    const deep = join(directory.path, ...Array.from({ length: 20 }, (_, index) => String(index)));
    await Promise.all(Array.from({ length: 10 }, () => createDirectory(deep, 0o700)));
    expect((await stat(deep)).isDirectory()).toBe(true);
  });

  it('leaves a file in its place', async () => {
    await writeFile(path, 'x');
    await createDirectory(path, 0o700);
    expect(await readFile(path, 'utf8')).toBe('x');
    await expect(createDirectory(join(path, 'below'), 0o700)).rejects.toMatchObject({ code: 'ENOTDIR' });
  });

  it.runIf(process.platform === 'linux')('ends where the system makes none', async () => {
    await expect(createDirectory('/proc/nope/a/b', 0o700)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('reading a file', () => {
  it('of exactly the limit gives its bytes, one byte more is INTEGRITY', async () => {
    await writeFile(path, 'x'.repeat(100));
    expect(await readBoundedFile(path, 100)).toHaveLength(100);
    await expect(readBoundedFile(path, 99)).rejects.toMatchObject({
      code: 'INTEGRITY',
      message: `${path} is larger than 99 bytes`,
    });
  });

  it('that is missing or a link gives nothing', async () => {
    await writeFile(path, 'x');
    await symlink(path, `${path}-link`);
    expect(await readBoundedFile(`${path}-link`, 100)).toBeUndefined();
    expect(await readBoundedFile(`${path}-missing`, 100)).toBeUndefined();
  });

  it('that is a FIFO without a writer does not hang', async () => {
    await run('mkfifo', [path]);
    expect(await readBoundedFile(path, 100)).toEqual(Buffer.alloc(0));
  });

  it('that is a directory or a socket is UNAVAILABLE', async () => {
    await expect(readBoundedFile(directory.path, 1_000_000)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: `cannot read ${directory.path} (EISDIR)`,
    });
    const server = createServer().listen(path);
    await once(server, 'listening');
    await expect(readBoundedFile(path, 100)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: `cannot read ${path} (ENXIO)`,
    });
    server.close();
  });

  it('below something that is no directory is UNAVAILABLE, not absent', async () => {
    await writeFile(path, 'x');
    await expect(readBoundedFile(join(path, 'below'), 100)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: `cannot read ${join(path, 'below')} (ENOTDIR)`,
    });
  });
});
