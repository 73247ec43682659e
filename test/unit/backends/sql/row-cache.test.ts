import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { KeyRow } from '../../../../src/backends/sql/key-table.ts';
import { RowCache } from '../../../../src/backends/sql/row-cache.ts';
import { type KeyId, parseKeyId } from '../../../../src/crypto/key-id.ts';
import { SignetError } from '../../../../src/errors.ts';
import { waitFor } from '../../../support/conditions.ts';

const A = parseKeyId('a'.repeat(64));
const B = parseKeyId('b'.repeat(64));
const MAX_AGE = 1000;

function row(keyId: KeyId, token = 'token'): KeyRow {
  const publicKey = { algorithm: 'ecdsa', bytes: new Uint8Array() } as const;
  return { keyId, publicKey, alias: 'x', token, role: 'timestamp', gun: 'g', isUsed: true };
}

let now: number;
let table: Map<KeyId, KeyRow>;
let asked: (readonly KeyId[])[];
let down: boolean;
let gone: KeyId[];
/** Answers wait for it. */
let gate: Promise<void>;
let cache: RowCache;

beforeEach(() => {
  now = 0;
  table = new Map([A, B].map((keyId) => [keyId, row(keyId)]));
  asked = [];
  down = false;
  gone = [];
  gate = Promise.resolve();
  const ask = async <T>(keyIds: readonly KeyId[], answer: () => T): Promise<T> => {
    asked.push(keyIds);
    const result = answer();
    await gate;
    if (down) throw new SignetError('UNAVAILABLE', 'the database is down');
    return result;
  };
  cache = new RowCache({
    source: {
      find: (keyId) => ask([keyId], () => table.get(keyId)),
      findAll: (keyIds) => ask(keyIds, () => new Map([...table].filter(([keyId]) => keyIds.includes(keyId)))),
    },
    maxAgeMs: MAX_AGE,
    max: 2,
    onGone: (keyId) => gone.push(keyId),
    now: () => now,
  });
});
afterEach(() => cache[Symbol.dispose]());

describe('a row', () => {
  it('is read once while it is fresh, also by many at once', async () => {
    const rows = await Promise.all([cache.get(A), cache.get(A), cache.get(A)]);
    expect(rows.map((found) => found?.keyId)).toEqual([A, A, A]);
    now = MAX_AGE / 2 - 1;
    await cache.get(A);
    expect(asked).toEqual([[A]]);
  });

  it('is refreshed in the background in the second half of its time, together with others', async () => {
    await cache.get(A);
    await cache.get(B);
    now = MAX_AGE / 2;
    table.set(A, row(A, 'another token'));
    expect((await cache.get(A))?.token).toBe('token');
    await cache.get(B);
    await waitFor('the refresh', () => asked.length === 3);
    expect(asked[2]).toEqual([A, B]);
    await waitFor('the new row', async () => (await cache.get(A))?.token === 'another token');
  });

  it('past its time is asked for before it is used', async () => {
    await cache.get(A);
    table.delete(A);
    now = MAX_AGE;
    expect(await cache.get(A)).toBeUndefined();
    expect(gone).toEqual([A]);
  });

  it('that was deleted is found out by the refresh: who holds its key is told', async () => {
    await cache.get(A);
    table.delete(A);
    now = MAX_AGE / 2;
    await cache.get(A);
    await waitFor('the news', () => gone.length === 1);
    expect(await cache.get(A)).toBeUndefined();
  });

  it('stays usable until its time is over while the database is down, and not longer', async () => {
    await cache.get(A);
    down = true;
    now = MAX_AGE - 1;
    expect((await cache.get(A))?.keyId).toBe(A);
    now = MAX_AGE;
    await expect(cache.get(A)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(gone).toEqual([]);
    down = false;
    expect((await cache.get(A))?.keyId).toBe(A);
  });

  it('that is absent is asked for each time', async () => {
    const unknown = parseKeyId('c'.repeat(64));
    await cache.get(unknown);
    await cache.get(unknown);
    expect(asked).toEqual([[unknown], [unknown]]);
  });

  it('is asked for again once it is invalidated, alone or with all', async () => {
    await cache.get(A);
    await cache.get(B);
    cache.invalidate(A);
    await cache.get(A);
    await cache.get(B);
    expect(asked).toEqual([[A], [B], [A]]);
    cache.invalidate();
    await cache.get(B);
    expect(asked).toHaveLength(4);
  });

  it('invalidated while the database answers is not taken from that answer', async () => {
    let open = () => {};
    gate = new Promise((resolve) => {
      open = resolve;
    });
    const before = cache.get(A);
    table.delete(A);
    cache.invalidate(A);
    const after = cache.get(A);
    open();
    expect((await before)?.keyId).toBe(A);
    expect(await after).toBeUndefined();
    expect(await cache.get(A)).toBeUndefined();
  });

  it('invalidated during its refresh is not taken from that refresh', async () => {
    await cache.get(A);
    let open = () => {};
    gate = new Promise((resolve) => {
      open = resolve;
    });
    now = MAX_AGE / 2;
    await cache.get(A);
    await waitFor('the refresh', () => asked.length === 2);
    table.delete(A);
    cache.invalidate();
    open();
    expect(await cache.get(A)).toBeUndefined();
  });

  it('is refreshed by one question at a time', async () => {
    await cache.get(A);
    await cache.get(B);
    gate = new Promise(() => {});
    now = MAX_AGE / 2;
    await cache.get(A);
    await waitFor('the refresh', () => asked.length === 3);
    await cache.get(A);
    await cache.get(B);
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(asked.slice(2)).toEqual([[A]]);
  });

  it('in use for the first time keeps its age, and stays out if it was invalidated', async () => {
    table.set(A, { ...row(A), isUsed: false });
    await cache.get(A);
    now = MAX_AGE - 1;
    cache.markUsed(A);
    expect((await cache.get(A))?.isUsed).toBe(true);
    now = MAX_AGE;
    expect((await cache.get(A))?.isUsed).toBe(false);
    cache.invalidate(A);
    cache.markUsed(A);
    expect((await cache.get(A))?.isUsed).toBe(false);
  });

  it('is pushed out by others when there are too many', async () => {
    cache.put(row(A));
    cache.put(row(B));
    cache.put(row(parseKeyId('c'.repeat(64))));
    await cache.get(B);
    expect(asked).toEqual([]);
    await cache.get(A);
    expect(asked).toEqual([[A]]);
  });
});
