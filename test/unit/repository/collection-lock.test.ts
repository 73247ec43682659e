import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lockDirectory } from '../../../src/repository/collection-lock.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/temp.ts';

const LOCK = '.signet.lock';
const { signal } = new AbortController();
let directory: TemporaryDirectory;
beforeEach(async () => {
  directory = await temporaryDirectory();
});
afterEach(() => directory[Symbol.asyncDispose]());

const lock = (options: Partial<Parameters<typeof lockDirectory>[1]> = {}) =>
  lockDirectory(directory.path, { signal, onWait: () => undefined, ...options });
/** A lock of a process that died: its number may be another's by now. */
const leaveBehind = (pid: number, started = '1') =>
  writeFile(join(directory.path, LOCK), JSON.stringify({ pid, token: '0123456789abcdef', started }));

describe('the lock of a collection', () => {
  it('is gone when it is given back', async () => {
    {
      await using _ = await lock();
      expect(await readdir(directory.path)).toEqual([LOCK]);
    }
    expect(await readdir(directory.path)).toEqual([]);
  });

  it('makes a missing folder', async () => {
    const path = join(directory.path, 'a', 'b');
    await using _ = await lockDirectory(path, { signal, onWait: () => undefined });
    expect(await readdir(path)).toEqual([LOCK]);
  });

  it('is held by one at a time, and nobody is left out', async () => {
    let holders = 0;
    let most = 0;
    const turns = Array.from({ length: 8 }, async () => {
      await using _ = await lock();
      most = Math.max(most, ++holders);
      await sleep(5);
      holders--;
    });
    await Promise.all(turns);
    expect(most).toBe(1);
  });

  it('says whom it waits for, once, and gives up in the end', async () => {
    await using _ = await lock();
    const waitedFor: number[] = [];
    await expect(lock({ onWait: (pid) => waitedFor.push(pid), patienceMs: 200 })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: `process ${process.pid} is still changing this collection`,
    });
    expect(waitedFor).toEqual([process.pid]);
  });

  it('is not waited for after Ctrl-C', async () => {
    await using _ = await lock();
    const controller = new AbortController();
    const waiting = lock({ signal: controller.signal, onWait: () => controller.abort() });
    await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  it.each([
    ['is no more', 2 ** 22 + 1],
    ['has another start', process.pid],
  ])('of a process that %s is taken away, by one of many', async (_, pid) => {
    await leaveBehind(pid);
    let holders = 0;
    let most = 0;
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        await using _lock = await lock();
        most = Math.max(most, ++holders);
        await sleep(5);
        holders--;
      }),
    );
    expect(most).toBe(1);
    expect(await readdir(directory.path)).toEqual([]);
  });

  it('that is no lock of ours is left alone', async () => {
    await writeFile(join(directory.path, LOCK), 'something else');
    await expect(lock({ patienceMs: 100 })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(await readFile(join(directory.path, LOCK), 'utf8')).toBe('something else');
  });
});
