/** Servers that restart, hang, vanish, refuse: what the drivers make of it. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../support/conditions.ts';
import {
  failure,
  insert,
  names,
  openMysql,
  openPostgres,
  SqlTestbed,
  startProxy,
  startSilentServer,
} from '../support/sql-testbed.ts';

let bed: SqlTestbed;
beforeAll(async () => {
  bed = await SqlTestbed.start();
});
afterAll(() => bed?.[Symbol.asyncDispose]());

describe.each(['mysql', 'postgres'] as const)('%s server', (kind) => {
  const server = () => (kind === 'mysql' ? bed.mariadb : bed.postgres);
  const viaPort = (text: string, port: number) => text.replace(String(server().port), String(port));

  it('is reached by several connections at a time, and no more than allowed', async () => {
    const { database } = await bed.withTable(kind, { maxConnections: 3 });
    await using _ = database;
    const connectionId =
      kind === 'mysql' ? 'SELECT CONNECTION_ID() AS id, SLEEP(0.05)' : 'SELECT pg_backend_pid() AS id, pg_sleep(0.05)';
    const rows = await Promise.all(Array.from({ length: 30 }, () => database.query(connectionId)));
    expect(new Set(rows.map(([row]) => row?.['id'])).size).toBe(3);
  });

  it('may restart while we are idle, unnoticed', async () => {
    const { database } = await bed.withTable(kind);
    await using _ = database;
    await Promise.all(Array.from({ length: 8 }, () => database.query('SELECT 1')));
    await server().restart();
    await Promise.all(Array.from({ length: 20 }, (_value, index) => database.execute(insert, [`name ${index}`])));
    expect(await names(database)).toHaveLength(20);
  });

  it('may restart while we are busy: failures say so, nothing is written twice, and work goes on', async () => {
    const { database } = await bed.withTable(kind);
    await using _ = database;
    await database.execute(
      kind === 'mysql' ? 'ALTER TABLE items DROP INDEX name' : 'ALTER TABLE items DROP CONSTRAINT items_name_key',
    );
    let isOver = false;
    const outcomes: { readonly name: string; readonly code: string }[] = [];
    const writers = Array.from({ length: 4 }, async (_value, writer) => {
      for (let count = 0; !isOver; count++) {
        const name = `w${writer}-${count}`;
        const code = await database.execute(insert, [name]).then(
          () => 'OK',
          (error: { code: string }) => error.code,
        );
        outcomes.push({ name, code });
        await delay(code === 'OK' ? 1 : 20);
      }
    });
    await delay(200);
    await server().restart();
    await delay(300);
    isOver = true;
    await Promise.all(writers);
    expect(new Set(outcomes.map(({ code }) => code))).toEqual(new Set(['OK', 'UNAVAILABLE']));
    expect(outcomes.at(-1)?.code).toBe('OK');
    const stored = await names(database);
    expect(new Set(stored).size).toBe(stored.length);
    const held = new Set(stored);
    for (const { name, code } of outcomes) if (code === 'OK') expect(held).toContain(name);
  });

  it('that is down is UNAVAILABLE at once, and used again when it is back', async () => {
    const { database } = await bed.withTable(kind);
    await using _ = database;
    await server().stop();
    try {
      const errors = await Promise.all(Array.from({ length: 20 }, () => failure(database.query('SELECT 1'))));
      for (const error of errors) {
        expect(error).toEqual({ code: 'UNAVAILABLE', message: 'the database cannot be reached (ECONNREFUSED)' });
      }
    } finally {
      await server().start();
    }
    expect(await names(database)).toEqual([]);
  });

  it('that stops answering costs one time-out, and its connections are replaced', async () => {
    await using proxy = await startProxy(server().port);
    const { text, database: direct } = await bed.withTable(kind);
    await using _ = direct;
    await using database = await bed.open(kind, viaPort(text, proxy.port), { statementTimeoutMs: 300 });
    await database.query('SELECT 1');
    proxy.pause();
    const error = await failure(database.query('SELECT 1'));
    expect(error).toEqual({ code: 'UNAVAILABLE', message: 'no answer within 300 ms (ETIMEDOUT)' });
    expect(await names(database)).toEqual([]);
  });

  it('that takes the connection away in a statement is UNAVAILABLE, and the statement is not repeated', async () => {
    await using proxy = await startProxy(server().port);
    const { text, database: direct } = await bed.withTable(kind);
    await using _ = direct;
    await using database = await bed.open(kind, viaPort(text, proxy.port));
    const slow = database.query(kind === 'mysql' ? 'SELECT SLEEP(1)' : 'SELECT pg_sleep(1)');
    setTimeout(() => proxy.cut(), 100);
    const error = await failure(slow);
    expect(error.code).toBe('UNAVAILABLE');
    expect(error.message).toMatch(/^the connection was lost \(/);
    expect(await names(database)).toEqual([]);
  });

  it('gives up on a slow statement itself, and the connection lives on', async () => {
    const { database } = await bed.withTable(kind, { statementTimeoutMs: 300, maxConnections: 1 });
    await using _ = database;
    const id = kind === 'mysql' ? 'SELECT CONNECTION_ID() AS id' : 'SELECT pg_backend_pid() AS id';
    const before = await database.query(id);
    const slow = database.query(
      kind === 'mysql' ? 'SELECT COUNT(*) FROM seq_1_to_10000000000 WHERE seq % 7 = 3' : 'SELECT pg_sleep(3)',
    );
    const error = await failure(slow);
    expect(error.code).toBe('UNAVAILABLE');
    expect(error.message).toMatch(/^the statement took too long \((ER_STATEMENT_TIMEOUT|1969|57014)\)$/);
    expect(await database.query(id)).toEqual(before);
  });

  it('does not wait longer for a row lock than for a statement', async () => {
    const { database, reopen } = await bed.withTable(kind, { statementTimeoutMs: 1000 });
    await using _ = database;
    await using other = await reopen();
    await database.execute(insert, ['a']);
    await other.transaction(async (queries) => {
      await queries.execute("UPDATE items SET at = '2026-01-01 00:00:00' WHERE name = ?", ['a']);
      const { code } = await failure(database.execute("UPDATE items SET at = NULL WHERE name = 'a'"));
      expect(code).toBe('UNAVAILABLE');
    });
  });

  it.each([
    [
      'a wrong password',
      (text: string) => text.replace(/p(@|%40)ss/, 'wrong'),
      'the database refuses the user or the password',
    ],
    [
      'an unknown user',
      (text: string) => text.replace(/db_\d+:/, 'stranger:'),
      'the database refuses the user or the password',
    ],
    [
      'an unknown database',
      (text: string) => text.replace(/\/db_\d+\?/, '/db_0?'),
      kind === 'mysql' ? 'the database refuses' : 'no such database',
    ],
  ])('refuses %s', async (_what, change, text) => {
    const error = await failure(bed.open(kind, change(await bed.newDatabase(kind))));
    expect(error.code).toBe('CONFIGURATION');
    expect(error.message).toContain(text);
  });

  it('that lacks a right says so', async () => {
    const { text, database } = await bed.withTable(kind);
    await using _ = database;
    const name = /db_\d+/.exec(text)?.[0] ?? '';
    await server().run(
      kind === 'mysql'
        ? `REVOKE ALL ON ${name}.* FROM '${name}'@'127.0.0.1'; GRANT SELECT ON ${name}.* TO '${name}'@'127.0.0.1';`
        : `ALTER TABLE items OWNER TO postgres; GRANT SELECT ON items TO ${name};`,
      name,
    );
    await using reader = await bed.open(kind, text);
    expect(await names(reader)).toEqual([]);
    const error = await failure(reader.execute(insert, ['a']));
    expect(error.code).toBe('CONFIGURATION');
    expect(error.message).toMatch(/^the user lacks a right \((ER_TABLEACCESS_DENIED_ERROR|42501)\)$/);
  });

  it('that became read-only is UNAVAILABLE, and asked anew on a new connection', async () => {
    const { text, database } = await bed.withTable(kind, { maxConnections: 1 });
    await using _ = database;
    const name = /db_\d+/.exec(text)?.[0] ?? '';
    const id = kind === 'mysql' ? 'SELECT CONNECTION_ID() AS id' : 'SELECT pg_backend_pid() AS id';
    const before = await database.query(id);
    await server().run(
      kind === 'mysql' ? 'SET GLOBAL read_only = 1;' : `ALTER DATABASE ${name} SET default_transaction_read_only = on;`,
    );
    try {
      if (kind === 'postgres')
        await database.query('SELECT set_config(?, ?, false)', ['default_transaction_read_only', 'on']);
      const error = await failure(database.execute(insert, ['a']));
      expect(error.code).toBe('UNAVAILABLE');
      expect(error.message).toMatch(/^the database is read-only \((ER_OPTION_PREVENTS_STATEMENT|25006)\)$/);
    } finally {
      await server().run(
        kind === 'mysql' ? 'SET GLOBAL read_only = 0;' : `ALTER DATABASE ${name} RESET default_transaction_read_only;`,
      );
    }
    expect(await database.query(id)).not.toEqual(before);
    expect(await database.execute(insert, ['a'])).toBe(1);
  });

  it('refuses what a column cannot hold, rather than cut it', async () => {
    const { database } = await bed.withTable(kind);
    await using _ = database;
    const error = await failure(database.execute(insert, ['x'.repeat(41)]));
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toMatch(/^the table cannot hold this value \((ER_DATA_TOO_LONG|22001)\)$/);
  });

  it('is passed over for the next one when it does not answer', async () => {
    const { text } = await bed.withTable(kind);
    await using proxy = await startProxy(server().port);
    const dead = await (async () => {
      await using closed = await startProxy(1);
      return closed.port;
    })();
    const list = text.replace(`127.0.0.1:${server().port}`, `127.0.0.1:${dead},127.0.0.1:${proxy.port}`);
    await using database = await bed.open(kind, list);
    expect(await names(database)).toEqual([]);
    expect(database.location).toContain(`127.0.0.1:${dead},127.0.0.1:${proxy.port}`);
  });

  it('is passed over at start when it takes connections and says nothing', async () => {
    const { text, database: direct } = await bed.withTable(kind);
    await using _ = direct;
    await using silent = await startSilentServer();
    const list = text.replace(`127.0.0.1:${server().port}`, `127.0.0.1:${silent.port},127.0.0.1:${server().port}`);
    await using database = await bed.open(kind, list, { statementTimeoutMs: 3000, connectTimeoutMs: 3000 });
    expect(await names(database)).toEqual([]);
  });

  it('that leaves while it is used is replaced by the next of the list, and used again when that one leaves', async () => {
    const { text } = await bed.withTable(kind);
    const proxies = [await startProxy(server().port), await startProxy(server().port)];
    const list = text.replace(`127.0.0.1:${server().port}`, proxies.map(({ port }) => `127.0.0.1:${port}`).join(','));
    await using database = await bed.open(kind, list, { maxConnections: 4 });
    const [first, second] = proxies;
    // What is under way when a server leaves fails, and is not repeated.
    const isServed = () =>
      database.query('SELECT 1').then(
        () => true,
        () => false,
      );
    const serves = () => waitFor('a server', isServed, { intervalMs: 1 });
    const insertMany = (prefix: string) =>
      Promise.all(Array.from({ length: 10 }, (_value, index) => database.execute(insert, [`${prefix} ${index}`])));
    await insertMany('first');
    await first?.[Symbol.asyncDispose]();
    await serves();
    await insertMany('second');
    await second?.[Symbol.asyncDispose]();
    await waitFor('no server', async () => !(await isServed()), { intervalMs: 1 });
    expect(await failure(database.query('SELECT 1'))).toMatchObject({ code: 'UNAVAILABLE' });
    await using _back = await startProxy(server().port, { port: first?.port ?? 0 });
    await serves();
    await insertMany('third');
    expect(await names(database)).toHaveLength(30);
  });

  it('is reached through its Unix socket', async () => {
    const { text } = await bed.withTable(kind);
    const name = /db_\d+/.exec(text)?.[0] ?? '';
    await using database =
      kind === 'mysql'
        ? await openMysql(`${name}:p@ss:w/rd@unix(${bed.mariadb.socket})/${name}`)
        : await openPostgres(
            `host=${bed.postgres.socket} port=${bed.postgres.port} user=${name} password='p@ss:w/rd' dbname=${name}`,
          );
    expect(await names(database)).toEqual([]);
  });

  it('works in UTC', async () => {
    const { database } = await bed.withTable(kind);
    await using _ = database;
    const [row] = await database.query(
      kind === 'mysql'
        ? 'SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), NOW()) AS off'
        : "SELECT current_setting('TimeZone') AS off",
    );
    expect(row?.['off']).toBe(kind === 'mysql' ? 0 : 'UTC');
  });
});
