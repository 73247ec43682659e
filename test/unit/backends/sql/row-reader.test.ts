import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { KeyRow } from '../../../../src/backends/sql/key-table.ts';
import { RowReader } from '../../../../src/backends/sql/row-reader.ts';
import type { KeyId } from '../../../../src/crypto/key-id.ts';
import { SignetError } from '../../../../src/errors.ts';

const id = (index: number) => index.toString(16).padStart(64, '0') as KeyId;
const ids = (from: number, count: number) => Array.from({ length: count }, (_, index) => id(from + index));

function rowOf(keyId: KeyId): KeyRow {
  const publicKey = { algorithm: 'ecdsa', bytes: new Uint8Array() } as const;
  return { keyId, publicKey, alias: 'a', token: 't', role: 'r', gun: 'g', isUsed: true };
}

/** A table whose answers wait until they are let go. */
class SlowTable {
  readonly statements: (readonly KeyId[])[] = [];
  readonly absent = new Set<KeyId>();
  readonly damaged = new Set<KeyId>();
  failure: SignetError | undefined;
  #waiting: (() => void)[] = [];

  async find(keyId: KeyId): Promise<KeyRow | undefined> {
    await this.#answer([keyId]);
    if (this.damaged.has(keyId)) throw new SignetError('INTEGRITY', 'damaged row');
    return this.absent.has(keyId) ? undefined : rowOf(keyId);
  }

  async findAll(keyIds: readonly KeyId[]): Promise<ReadonlyMap<KeyId, KeyRow>> {
    await this.#answer(keyIds);
    const good = keyIds.filter((keyId) => !this.absent.has(keyId) && !this.damaged.has(keyId));
    return new Map(good.map((keyId) => [keyId, rowOf(keyId)]));
  }

  /** Answers what is being asked now. */
  async answer(): Promise<void> {
    for (const go of this.#waiting.splice(0)) go();
    await turn();
  }

  async #answer(keyIds: readonly KeyId[]): Promise<void> {
    this.statements.push(keyIds);
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.failure !== undefined) throw this.failure;
  }
}

describe('RowReader', () => {
  it('asks at once for a few, and gathers who comes meanwhile', async () => {
    const table = new SlowTable();
    const reader = new RowReader(table);
    const reads = ids(0, 40).map((keyId) => reader.find(keyId));
    expect(table.statements).toEqual([[id(0)], [id(1)]]);
    await table.answer();
    expect(table.statements.slice(2)).toEqual([ids(2, 38)]);
    await table.answer();
    expect(await Promise.all(reads)).toEqual(ids(0, 40).map(rowOf));
  });

  it('asks for 64 rows at a time, at most', async () => {
    const table = new SlowTable();
    const reader = new RowReader(table);
    const reads = ids(0, 200).map((keyId) => reader.find(keyId));
    for (let round = 0; round < 4; round++) await table.answer();
    expect(await Promise.all(reads)).toHaveLength(200);
    expect(table.statements.map((keyIds) => keyIds.length)).toEqual([1, 1, 64, 64, 64, 6]);
  });

  it('asks a second time who asks while the first question is under way', async () => {
    const table = new SlowTable();
    const reader = new RowReader(table);
    const reads = [reader.find(id(0)), reader.find(id(1)), reader.find(id(0)), reader.find(id(0))];
    await table.answer();
    expect(table.statements).toEqual([[id(0)], [id(1)], [id(0)]]);
    await table.answer();
    expect(await Promise.all(reads)).toEqual([0, 1, 0, 0].map((index) => rowOf(id(index))));
  });

  it('tells absent rows from damaged ones in a batch', async () => {
    const table = new SlowTable();
    table.absent.add(id(2));
    table.damaged.add(id(3));
    const reader = new RowReader(table);
    const reads = ids(0, 5).map((keyId) => reader.find(keyId));
    const outcomes = Promise.allSettled(reads);
    for (let round = 0; round < 3; round++) await table.answer();
    expect(await outcomes).toEqual([
      { status: 'fulfilled', value: rowOf(id(0)) },
      { status: 'fulfilled', value: rowOf(id(1)) },
      { status: 'fulfilled', value: undefined },
      { status: 'rejected', reason: expect.objectContaining({ code: 'INTEGRITY', message: 'damaged row' }) },
      { status: 'fulfilled', value: rowOf(id(4)) },
    ]);
  });

  it('tells everybody who waits for a failed batch, and goes on', async () => {
    const table = new SlowTable();
    const reader = new RowReader(table);
    const outcomes = Promise.allSettled(ids(0, 6).map((keyId) => reader.find(keyId)));
    await table.answer();
    table.failure = new SignetError('UNAVAILABLE', 'gone');
    await table.answer();
    expect((await outcomes).map(({ status }) => status)).toEqual([
      ...['fulfilled', 'fulfilled'],
      ...['rejected', 'rejected', 'rejected', 'rejected'],
    ]);
    table.failure = undefined;
    const again = reader.find(id(9));
    await table.answer();
    expect(await again).toEqual(rowOf(id(9)));
  });

  it('passes a question for several rows on', async () => {
    const table = new SlowTable();
    const rows = new RowReader(table).findAll(ids(0, 3));
    await table.answer();
    expect([...(await rows).keys()]).toEqual(ids(0, 3));
    expect(table.statements).toEqual([ids(0, 3)]);
  });
});
