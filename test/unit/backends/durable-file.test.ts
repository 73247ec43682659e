import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  createFileDurably,
  readBoundedFile,
  removeAbandonedFiles,
  removeFileDurably,
} from '../../../src/backends/durable-file.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/temp.ts';

const run = promisify(execFile);

let directory: TemporaryDirectory;
let path: string;

beforeEach(async () => {
  directory = await temporaryDirectory();
  path = join(directory.path, 'file');
});
afterEach(() => directory[Symbol.asyncDispose]());

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

  it('of dead processes are removed, those of live ones and all other files stay', async () => {
    const dead = await deadPid();
    const others = [
      nameFor(process.ppid),
      'key.key',
      `.signet-${dead}.tmp`,
      `${nameFor(dead)}.key`,
      `x${nameFor(dead)}`,
    ];
    for (const name of [nameFor(dead), nameFor(dead, 'f'.repeat(16)), ...others]) {
      await writeFile(join(directory.path, name), '');
    }
    expect(await removeAbandonedFiles(directory.path)).toBe(2);
    expect((await readdir(directory.path)).sort()).toEqual([...others].sort());
  });

  it('that bear our own pid are removed: in a container every start has the same one', async () => {
    await writeFile(join(directory.path, nameFor(process.pid)), '');
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
