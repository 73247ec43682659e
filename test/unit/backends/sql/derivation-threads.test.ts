import { pbkdf2Sync } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DerivationThreads, derivationsAtOnce } from '../../../../src/backends/sql/derivation-threads.ts';

const passphrase = Buffer.from('correct horse');
const salt = Buffer.from('a salt of sixteen');
/** As many as a token may ask for. */
const SLOW = 1_000_000;

let threads: DerivationThreads;
beforeEach(() => {
  threads = new DerivationThreads(2);
});
afterEach(() => threads[Symbol.asyncDispose]());

describe('DerivationThreads', () => {
  it.each([
    [passphrase, 16],
    [Buffer.from('x'), 64],
    [Buffer.alloc(300, 'long'), 16],
    [Buffer.alloc(0), 16],
  ])('derives what PBKDF2-HMAC-SHA-256 derives (%#)', async (bytes, keyBytes) => {
    const key = await threads.derive(bytes, salt, 3, keyBytes);
    expect(Buffer.from(key)).toEqual(pbkdf2Sync(bytes, salt, 3, keyBytes, 'sha256'));
  });

  it('leaves the passphrase as it is', async () => {
    const bytes = Buffer.from(passphrase);
    await threads.derive(bytes, salt, 1, 16);
    expect(bytes).toEqual(passphrase);
  });

  it('keeps derivations at the same time apart', async () => {
    const salts = Array.from({ length: 20 }, (_, index) => Buffer.from(`salt ${index}`));
    const keys = await Promise.all(salts.map((own) => threads.derive(passphrase, own, 100, 16)));
    const expected = salts.map((own) => pbkdf2Sync(passphrase, own, 100, 16, 'sha256'));
    expect(keys.map((key) => Buffer.from(key))).toEqual(expected);
  });

  it('goes on after a thread died', async () => {
    await expect(threads.derive(passphrase, salt, 0, 16)).rejects.toMatchObject({
      code: 'INTERNAL',
      message: 'a key derivation died',
    });
    expect(await threads.derive(passphrase, salt, 1, 16)).toHaveLength(16);
  });

  it('starts no more threads than allowed, and none while one is idle', async () => {
    const started: unknown[] = [];
    const onWorker = (worker: unknown) => started.push(worker);
    process.on('worker', onWorker);
    try {
      await threads.derive(passphrase, salt, 1, 16);
      await threads.derive(passphrase, salt, 1, 16);
      expect(started).toHaveLength(1);
      await Promise.all(Array.from({ length: 8 }, () => threads.derive(passphrase, salt, 1, 16)));
      expect(started).toHaveLength(2);
    } finally {
      process.off('worker', onWorker);
    }
  });

  it('fails what is under way when it is disposed of', async () => {
    const failure = expect(threads.derive(passphrase, salt, SLOW, 16)).rejects.toMatchObject({ code: 'INTERNAL' });
    await threads[Symbol.asyncDispose]();
    await failure;
  });
});

describe('derivationsAtOnce', () => {
  it.each([
    [1, 1, 1],
    [2, 1, 1],
    [4, 1, 3],
    [64, 1, 4],
    [8, 2, 3],
    [8, 8, 1],
    [2, 64, 1],
  ])('leaves one of %i processors, shared by %i processes: %i each', (processors, processes, threads) => {
    expect(derivationsAtOnce(processors, processes)).toBe(threads);
  });
});
