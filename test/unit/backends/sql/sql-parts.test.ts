/** The small parts that the drivers share. */
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { within } from '../../../../src/backends/deadline.ts';
import type { SqlValue } from '../../../../src/backends/sql/database.ts';
import { connectToFirst } from '../../../../src/backends/sql/failover.ts';
import { fromMysqlError, isLastMysqlError } from '../../../../src/backends/sql/mysql-errors.ts';
import { NamedQueue } from '../../../../src/backends/sql/named-queue.ts';
import {
  fromPostgresError,
  isLastPostgresError,
  isStaleStatement,
} from '../../../../src/backends/sql/postgres-errors.ts';
import { PreparedNames } from '../../../../src/backends/sql/prepared-names.ts';
import { fromSqliteError, isSqliteBusy } from '../../../../src/backends/sql/sqlite-errors.ts';
import { numberPlaceholders } from '../../../../src/backends/sql/statement-text.ts';
import { completeTransaction, type Session } from '../../../../src/backends/sql/transaction.ts';
import { SignetError } from '../../../../src/errors.ts';

const timedOut = () => new SignetError('UNAVAILABLE', 'too late');

describe('placeholders', () => {
  it.each([
    ['SELECT 1', 'SELECT 1'],
    ['a = ? AND b IN (?, ?)', 'a = $1 AND b IN ($2, $3)'],
    ["a = '?' AND b = ?", "a = '?' AND b = $1"],
    ["a = 'it''s ?' AND b = ?", "a = 'it''s ?' AND b = $1"],
    ['"?" = ? -- ?\n AND ? /* ? */', '"?" = $1 -- ?\n AND $2 /* ? */'],
  ])('of %j are numbered', (sql, expected) => {
    expect(numberPlaceholders(sql)).toBe(expected);
  });
});

describe('prepared names', () => {
  it('are the same for the same text, and for no other', () => {
    const names = new PreparedNames();
    const first = names.of('SELECT ?');
    expect(first).toEqual({ text: 'SELECT $1', name: 'signet_1' });
    expect(names.of('SELECT ? + 1').name).toBe('signet_2');
    expect(names.of('SELECT ?')).toBe(first);
  });

  it('are not given to long lists of values', () => {
    const list = (length: number) => `IN (${Array.from({ length }, () => '?').join(', ')})`;
    const names = new PreparedNames();
    expect(names.of(list(17)).name).toBeUndefined();
    expect(names.of(list(16)).name).toBe('signet_1');
  });

  it('stay bounded', () => {
    const names = new PreparedNames();
    const given = new Set(Array.from({ length: 2000 }, (_value, index) => names.of(`SELECT ${index}`).name));
    expect(given.size).toBe(65); // 64 names and none
    expect(names.of('SELECT 0').name).toBe('signet_1');
  });
});

describe('a deadline', () => {
  it('passes on what comes in time', async () => {
    await expect(within(Promise.resolve(1), 1000, timedOut)).resolves.toBe(1);
    await expect(within(Promise.reject(new Error('no')), 1000, timedOut)).rejects.toThrow('no');
  });

  it('ignores what comes late', async () => {
    await expect(within(delay(50), 5, timedOut)).rejects.toMatchObject({ message: 'too late' });
  });
});

describe('fail-over', () => {
  const endpoints = [
    { host: 'a', port: 1 },
    { host: 'b', port: 2 },
  ] as const;

  it('takes the first that answers', async () => {
    const asked: unknown[] = [];
    const connection = await connectToFirst(endpoints, 1000, async (endpoint) => {
      asked.push(endpoint);
      if (asked.length === 1) throw timedOut();
      return endpoint;
    });
    expect(connection).toBe(endpoints[1]);
    expect(asked).toEqual(endpoints);
  });

  it('leaves each server its share of the time, and the share of one that fails at once to the next', async () => {
    const given: number[] = [];
    const ask = (silentForMs: number) =>
      connectToFirst(endpoints, 1000, async (endpoint, timeoutMs) => {
        given.push(timeoutMs);
        if (endpoint === endpoints[1]) return endpoint;
        if (silentForMs > 0) await delay(silentForMs);
        throw timedOut();
      });
    await ask(500);
    expect(given[0]).toBe(500);
    expect(given[1]).toBeLessThanOrEqual(501);
    await ask(0);
    expect(given[2]).toBe(500);
    expect(given[3]).toBeGreaterThan(500);
  });

  it('tells what the first said when none answers', async () => {
    const connect = (endpoint: object) => Promise.reject(new SignetError('UNAVAILABLE', JSON.stringify(endpoint)));
    await expect(connectToFirst(endpoints, 1000, connect)).rejects.toMatchObject({ message: '{"host":"a","port":1}' });
  });
});

describe('a named queue', () => {
  const options = { timeoutMs: 1000, onTimeout: timedOut };

  it('runs one job per name at a time, in order, whatever becomes of the one before', async () => {
    const queue = new NamedQueue();
    const log: string[] = [];
    const job = (name: string, fails = false) =>
      queue
        .run(name[0] ?? '', options, async () => {
          log.push(`+${name}`);
          await delay(2);
          log.push(`-${name}`);
          if (fails) throw new Error('no');
        })
        .catch(() => undefined);
    await Promise.all([job('a1', true), job('a2'), job('b1'), job('a3')]);
    expect(log.filter((entry) => entry.includes('a'))).toEqual(['+a1', '-a1', '+a2', '-a2', '+a3', '-a3']);
    expect(log.indexOf('+b1')).toBeLessThan(log.indexOf('-a1'));
  });

  it('goes on without those who gave up waiting', async () => {
    const queue = new NamedQueue();
    const first = queue.run('a', options, () => delay(40));
    await expect(queue.run('a', { ...options, timeoutMs: 5 }, async () => 'in')).rejects.toMatchObject({
      message: 'too late',
    });
    let isFirstOver = false;
    void first.then(() => {
      isFirstOver = true;
    });
    expect(await queue.run('a', options, async () => isFirstOver)).toBe(true);
  });
});

describe('a transaction', () => {
  class FakeSession implements Session {
    isUsable = true;
    readonly log: string[] = [];
    readonly #failing: ReadonlySet<string>;

    constructor(...failing: string[]) {
      this.#failing = new Set(failing);
    }

    async query(sql: string): Promise<Record<string, SqlValue>[]> {
      await this.control(sql);
      return [];
    }

    async execute(sql: string): Promise<number> {
      await this.control(sql);
      return 1;
    }

    async control(sql: string): Promise<void> {
      this.log.push(sql);
      await delay(1);
      if (this.#failing.has(sql)) throw new SignetError('UNAVAILABLE', `${sql} failed`);
    }

    destroy(): void {
      this.isUsable = false;
      this.log.push('destroyed');
    }
  }

  it('commits what resolves', async () => {
    const session = new FakeSession();
    expect(await completeTransaction(session, async (queries) => queries.execute('a'))).toBe(1);
    expect(session.log).toEqual(['a', 'COMMIT']);
  });

  it('waits for statements that the work did not wait for, one after the other', async () => {
    const session = new FakeSession();
    await completeTransaction(session, async (queries) => {
      void queries.execute('a');
      void queries.execute('b');
    });
    expect(session.log).toEqual(['a', 'b', 'COMMIT']);
  });

  it('fails if the commit fails', async () => {
    const session = new FakeSession('COMMIT');
    const work = completeTransaction(session, async (queries) => queries.execute('a'));
    await expect(work).rejects.toMatchObject({ message: 'COMMIT failed' });
    expect(session.log).toEqual(['a', 'COMMIT', 'ROLLBACK']);
  });

  it('sends nothing more after a failed statement', async () => {
    const session = new FakeSession('a');
    const work = completeTransaction(session, async (queries) => {
      await queries.execute('a').catch(() => undefined);
      await queries.execute('b').catch(() => undefined);
    });
    await expect(work).rejects.toMatchObject({ message: 'a failed' });
    expect(session.log).toEqual(['a', 'ROLLBACK']);
  });

  it('leaves the rollback to the server when the connection cannot do it', async () => {
    const session = new FakeSession('ROLLBACK');
    await expect(completeTransaction(session, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(session.log).toEqual(['ROLLBACK', 'destroyed']);
  });
});

describe('native errors', () => {
  const mysql = (errno: number, code = 'ER_X') => ({
    errno,
    code,
    sqlState: 'HY000',
    sqlMessage: 'value S3CR3T',
    sql: 'S3CR3T',
  });
  const postgres = (code: string, more: object = {}) => ({
    code,
    severity: 'ERROR',
    detail: 'S3CR3T',
    message: 'S3CR3T',
    ...more,
  });

  it.each([
    [1045, 'CONFIGURATION'],
    [1049, 'CONFIGURATION'],
    [1146, 'CONFIGURATION'],
    [1142, 'CONFIGURATION'],
    [1062, 'KEY_EXISTS'],
    [1366, 'INVALID_ARGUMENT'],
    [1406, 'INVALID_ARGUMENT'],
    [1205, 'UNAVAILABLE'],
    [1213, 'UNAVAILABLE'],
    [1969, 'UNAVAILABLE'],
    [3024, 'UNAVAILABLE'],
    [1290, 'UNAVAILABLE'],
    [1040, 'UNAVAILABLE'],
    [1114, 'UNAVAILABLE'],
    [1927, 'UNAVAILABLE'],
    [1064, 'INTERNAL'],
    [9999, 'INTERNAL'],
  ])('of MySQL: %i is %s', (errno, code) => {
    const error = fromMysqlError(mysql(errno), 'mysql://h/d');
    expect(error.code).toBe(code);
    expect(error.message).toMatch(/^mysql:\/\/h\/d: .* \(ER_X\)$/);
    expect(error.cause).toBeUndefined();
  });

  it.each([
    ['28P01', 'CONFIGURATION'],
    ['28000', 'CONFIGURATION'],
    ['3D000', 'CONFIGURATION'],
    ['42P01', 'CONFIGURATION'],
    ['42501', 'CONFIGURATION'],
    ['23505', 'KEY_EXISTS'],
    ['22001', 'INVALID_ARGUMENT'],
    ['22021', 'INVALID_ARGUMENT'],
    ['40001', 'UNAVAILABLE'],
    ['40P01', 'UNAVAILABLE'],
    ['55P03', 'UNAVAILABLE'],
    ['57014', 'UNAVAILABLE'],
    ['57P01', 'UNAVAILABLE'],
    ['57P03', 'UNAVAILABLE'],
    ['53300', 'UNAVAILABLE'],
    ['53100', 'UNAVAILABLE'],
    ['25006', 'UNAVAILABLE'],
    ['08006', 'UNAVAILABLE'],
    ['XX001', 'UNAVAILABLE'],
    ['42601', 'INTERNAL'],
    ['23502', 'INTERNAL'],
  ])('of PostgreSQL: %s is %s', (state, code) => {
    const error = fromPostgresError(postgres(state), 'postgres://h/d');
    expect(error.code).toBe(code);
    expect(error.message).toMatch(new RegExp(`^postgres://h/d: .* \\(${state}\\)$`));
    expect(error.cause).toBeUndefined();
  });

  it.each([
    ['SQLITE_CONSTRAINT_UNIQUE', 'KEY_EXISTS'],
    ['SQLITE_CONSTRAINT_PRIMARYKEY', 'KEY_EXISTS'],
    ['SQLITE_CONSTRAINT_NOTNULL', 'INTERNAL'],
    ['SQLITE_BUSY', 'UNAVAILABLE'],
    ['SQLITE_BUSY_SNAPSHOT', 'UNAVAILABLE'],
    ['SQLITE_READONLY_DBMOVED', 'UNAVAILABLE'],
    ['SQLITE_FULL', 'UNAVAILABLE'],
    ['SQLITE_IOERR_FSYNC', 'UNAVAILABLE'],
    ['SQLITE_CANTOPEN', 'UNAVAILABLE'],
    ['SQLITE_NOTADB', 'CONFIGURATION'],
    ['SQLITE_TOOBIG', 'INVALID_ARGUMENT'],
    ['SQLITE_ERROR', 'INTERNAL'],
  ])('of SQLite: %s is %s', (native, code) => {
    const error = fromSqliteError(Object.assign(new Error('S3CR3T'), { code: native }), 'sqlite:/k');
    expect(error.code).toBe(code);
    expect(error.message).toMatch(new RegExp(`^sqlite:/k: .* \\(${native}\\)$`));
  });

  it('of the network are "cannot be reached" before, and "lost" after the connection was made', () => {
    const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED', errno: -111 });
    for (const normalise of [fromMysqlError, fromPostgresError]) {
      expect(normalise(refused, 'l', true)).toMatchObject({
        code: 'UNAVAILABLE',
        message: 'l: the database cannot be reached (ECONNREFUSED)',
      });
      expect(normalise(refused, 'l')).toMatchObject({ message: 'l: the connection was lost (ECONNREFUSED)' });
    }
  });

  it('of TLS are a matter of configuration', () => {
    const untrusted = Object.assign(new Error('self-signed'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
    expect(fromMysqlError(untrusted, 'l').code).toBe('CONFIGURATION');
    expect(fromPostgresError(untrusted, 'l').code).toBe('CONFIGURATION');
    expect(fromPostgresError(new Error('The server does not support SSL connections'), 'l').code).toBe('CONFIGURATION');
    expect(fromMysqlError({ code: 'HANDSHAKE_NO_SSL_SUPPORT' }, 'l').code).toBe('CONFIGURATION');
  });

  it('that are ours already stay as they are', () => {
    const ours = timedOut();
    for (const normalise of [fromMysqlError, fromPostgresError, fromSqliteError])
      expect(normalise(ours, 'l')).toBe(ours);
  });

  it('never let a value through, whatever was thrown', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.anything(),
          fc.record({
            code: fc.option(fc.constantFrom('ER_X', '23505', 'SQLITE_BUSY', 'ECONNRESET')),
            errno: fc.option(fc.integer()),
            sqlState: fc.option(fc.constant('HY000')),
            severity: fc.option(fc.constant('ERROR')),
            sqlMessage: fc.constant('S3CR3T'),
            detail: fc.constant('S3CR3T'),
          }),
        ),
        (thrown) => {
          for (const normalise of [fromMysqlError, fromPostgresError, fromSqliteError]) {
            const error = normalise(thrown, 'l');
            expect(error).toBeInstanceOf(SignetError);
            expect(error.message).not.toContain('S3CR3T');
          }
        },
      ),
    );
  });

  it('tell whether the connection can go on', () => {
    expect([1062, 1205, 1146].map((errno) => isLastMysqlError(mysql(errno)))).toEqual([false, false, false]);
    expect([1290, 1053, 1927].map((errno) => isLastMysqlError(mysql(errno)))).toEqual([true, true, true]);
    expect(isLastMysqlError({ code: 'ECONNRESET' })).toBe(true);
    expect(['23505', '57014', '42P01'].map((state) => isLastPostgresError(postgres(state)))).toEqual([
      false,
      false,
      false,
    ]);
    expect(['25006', '57P01', '08006'].map((state) => isLastPostgresError(postgres(state)))).toEqual([
      true,
      true,
      true,
    ]);
    expect(isLastPostgresError(postgres('42P01', { severity: 'FATAL' }))).toBe(true);
    expect(isLastPostgresError(new Error('Connection terminated'))).toBe(true);
  });

  it('tell a statement that only has to be prepared anew', () => {
    expect(isStaleStatement(postgres('0A000', { routine: 'RevalidateCachedQuery' }))).toBe(true);
    expect(isStaleStatement(postgres('26000'))).toBe(true);
    expect(isStaleStatement(postgres('0A000'))).toBe(false);
    expect(isSqliteBusy({ code: 'SQLITE_BUSY_RECOVERY' })).toBe(true);
    expect(isSqliteBusy({ code: 'SQLITE_LOCKED' })).toBe(false);
  });
});
