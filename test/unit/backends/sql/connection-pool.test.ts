import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { ConnectionPool, type PooledConnection } from '../../../../src/backends/sql/connection-pool.ts';
import { SignetError } from '../../../../src/errors.ts';

class FakeConnection implements PooledConnection {
  readonly name: number;
  isUsable = true;
  ending: 'open' | 'closed' | 'destroyed' = 'open';

  constructor(name: number) {
    this.name = name;
  }

  async close(): Promise<void> {
    this.ending = 'closed';
  }

  destroy(): void {
    this.ending = 'destroyed';
  }
}

function makePool({ maxConnections = 2, acquireTimeoutMs = 1000, connect = async () => {} } = {}) {
  const made: FakeConnection[] = [];
  const pool = new ConnectionPool<FakeConnection>(
    async () => {
      await connect();
      const connection = new FakeConnection(made.length);
      made.push(connection);
      return connection;
    },
    { location: 'test://db', maxConnections, acquireTimeoutMs },
  );
  return { pool, made };
}

describe('a connection pool', () => {
  it('makes no connection before one is needed, and uses it again', async () => {
    const { pool, made } = makePool();
    expect(made).toHaveLength(0);
    const names: number[] = [];
    for (let call = 0; call < 3; call++) await pool.use(async ({ name }) => names.push(name));
    expect(names).toEqual([0, 0, 0]);
    await pool[Symbol.asyncDispose]();
    expect(made[0]?.ending).toBe('closed');
  });

  it('never has more than its bound, and serves in the order of asking', async () => {
    const { pool, made } = makePool();
    let inUse = 0;
    let most = 0;
    const order: number[] = [];
    await Promise.all(
      Array.from({ length: 10 }, (_value, index) =>
        pool.use(async () => {
          most = Math.max(most, ++inUse);
          order.push(index);
          await delay(1);
          inUse--;
        }),
      ),
    );
    expect(most).toBe(2);
    expect(made).toHaveLength(2);
    expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('gives the connection back after a failure', async () => {
    const { pool, made } = makePool({ maxConnections: 1 });
    await expect(pool.use(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await pool.use(async ({ name }) => name)).toBe(0);
    expect(made).toHaveLength(1);
  });

  it('replaces a connection that was lost in use, for whoever waits', async () => {
    const { pool, made } = makePool({ maxConnections: 1 });
    const first = pool.use(async (connection) => {
      await delay(5);
      connection.isUsable = false;
    });
    const second = pool.use(async ({ name }) => name);
    await first;
    expect(await second).toBe(1);
    expect(made[0]?.ending).toBe('destroyed');
  });

  it('replaces connections that were lost while idle', async () => {
    const { pool, made } = makePool();
    await Promise.all([pool.use(() => delay(1)), pool.use(() => delay(1))]);
    for (const connection of made) connection.isUsable = false;
    expect(await pool.use(async ({ name }) => name)).toBe(2);
    expect(made.map(({ ending }) => ending)).toEqual(['destroyed', 'destroyed', 'open']);
  });

  it('listens once more before it uses a connection that was idle for long', async () => {
    const { pool, made } = makePool();
    await pool.use(async () => {});
    await delay(120);
    const next = pool.use(async ({ name }) => name);
    // What the event loop learns now, it learns before the statement is sent.
    setImmediate(() => {
      const [first] = made;
      if (first !== undefined) first.isUsable = false;
    });
    expect(await next).toBe(1);
  });

  it('tells one waiter of each failed attempt, and tries again for the others', async () => {
    let attempts = 0;
    const { pool } = makePool({
      maxConnections: 1,
      connect: async () => {
        if (++attempts <= 2) throw new SignetError('UNAVAILABLE', `attempt ${attempts}`);
      },
    });
    const outcomes = await Promise.allSettled([1, 2, 3].map(() => pool.use(async ({ name }) => name)));
    expect(
      outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value : outcome.reason.message)),
    ).toEqual(['attempt 1', 'attempt 2', 0]);
    expect(attempts).toBe(3);
  });

  it('gives up waiting after its time-out', async () => {
    const { pool } = makePool({ maxConnections: 1, acquireTimeoutMs: 20 });
    const long = pool.use(() => delay(60));
    await expect(pool.use(async () => {})).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: 'test://db: no connection free within 20 ms (of 1)',
    });
    await long;
    await pool.use(async () => {});
  });

  it('keeps a connection that came too late', async () => {
    const { pool, made } = makePool({ acquireTimeoutMs: 10, connect: () => delay(40) });
    await expect(pool.use(async () => {})).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await delay(60);
    expect(await pool.use(async ({ name }) => name)).toBe(0);
    expect(made).toHaveLength(1);
  });

  it('closes after the work under way, refuses waiters and newcomers', async () => {
    const { pool, made } = makePool({ maxConnections: 1 });
    let done = false;
    const work = pool.use(async () => {
      await delay(20);
      done = true;
    });
    const waiter = expect(pool.use(async () => {})).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: 'test://db: the database is closed',
    });
    await delay(1);
    await pool[Symbol.asyncDispose]();
    expect(done).toBe(true);
    await work;
    await waiter;
    await expect(pool.use(async () => {})).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(made[0]?.ending).toBe('closed');
  });

  it('cuts work that does not end', async () => {
    const { pool, made } = makePool({ acquireTimeoutMs: 20 });
    void pool.use(() => new Promise<void>(() => {}));
    await delay(1);
    await pool[Symbol.asyncDispose]();
    expect(made[0]?.ending).toBe('destroyed');
  });
});
