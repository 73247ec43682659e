/** The three drivers of the SQL backend on real databases: one set of rules, then what is particular to the servers. */
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SqlDatabase } from '../../src/backends/sql/database.ts';
import { parsePostgresDataSource } from '../../src/backends/sql/postgres-data-source-name.ts';
import { PostgresDatabase } from '../../src/backends/sql/postgres-database.ts';
import { waitFor } from '../support/conditions.ts';
import { failure, insert, names, openMysql, openPostgres, SqlTestbed } from '../support/sql-testbed.ts';

const TEXT = 'docker.io/größe/\'quote"?';

let bed: SqlTestbed;
beforeAll(async () => {
  bed = await SqlTestbed.start();
});
afterAll(() => bed?.[Symbol.asyncDispose]());

describe.each(['mysql', 'postgres', 'sqlite'] as const)('%s', (kind) => {
  it('gives back what was stored, column by column', async () => {
    const { database } = await bed.withTable(kind);
    await using _ = database;
    const bytes = Buffer.from(Array.from({ length: 256 }, (_value, index) => index));
    const stored = await database.execute('INSERT INTO items (name, bytes, at) VALUES (?, ?, ?)', [
      TEXT,
      bytes,
      '2026-11-20 06:19:01',
    ]);
    expect(stored).toBe(1);
    await database.execute('INSERT INTO items (name, bytes) VALUES (?, ?)', ['', Buffer.alloc(0)]);
    await database.execute(insert, ['null']);
    const rows = await database.query('SELECT id, name, bytes, at FROM items WHERE id > ? ORDER BY id LIMIT 10', [0]);
    expect(rows.map((row) => ({ ...row }))).toEqual([
      { id: 1, name: TEXT, bytes, at: expect.stringMatching(/^2026-11-20 06:19:01/) },
      { id: 2, name: '', bytes: Buffer.alloc(0), at: null },
      { id: 3, name: 'null', bytes: null, at: null },
    ]);
    const [count] = await database.query('SELECT COUNT(*) AS held FROM items WHERE bytes = ? AND name = ?', [
      bytes,
      TEXT,
    ]);
    expect(count?.['held']).toBe(1);
  });

  it('takes a question mark in quotes for what it is', async () => {
    const { database } = await bed.withTable(kind);
    await using _ = database;
    const [row] = await database.query("SELECT '?' AS mark, ? AS value_given -- ?", ['x']);
    expect({ ...row }).toEqual({ mark: '?', value_given: 'x' });
  });

  it('counts the rows that matched, changed or not', async () => {
    const { database } = await bed.withTable(kind);
    await using _ = database;
    for (const name of ['a', 'b', 'c']) await database.execute(insert, [name]);
    expect(await database.execute("UPDATE items SET at = NULL WHERE name IN ('a', 'b')")).toBe(2);
    expect(await database.execute('DELETE FROM items WHERE name = ?', ['x'])).toBe(0);
  });

  it('keeps a transaction that resolves, and nothing of one that rejects', async () => {
    const { database } = await bed.withTable(kind);
    await using _ = database;
    const result = await database.transaction(async (queries) => {
      await queries.execute(insert, ['kept']);
      return (await queries.query('SELECT name FROM items')).length;
    });
    expect(result).toBe(1);
    const broken = database.transaction(async (queries) => {
      await queries.execute(insert, ['lost']);
      throw new Error('changed my mind');
    });
    await expect(broken).rejects.toThrow('changed my mind');
    expect(await names(database)).toEqual(['kept']);
  });

  it('rolls back after a failed statement even if the work goes on', async () => {
    const { database } = await bed.withTable(kind);
    await using _ = database;
    const work = database.transaction(async (queries) => {
      await queries.execute(insert, ['a']);
      await queries.execute(insert, ['a']).catch(() => undefined);
      await queries.execute(insert, ['b']).catch(() => undefined);
    });
    expect((await failure(work)).code).toBe('KEY_EXISTS');
    expect(await names(database)).toEqual([]);
  });

  it('refuses statements of a transaction that is over', async () => {
    const { database } = await bed.withTable(kind);
    await using _ = database;
    const leaked = await database.transaction(async (queries) => () => queries.execute(insert, ['late']));
    await expect(leaked()).rejects.toMatchObject({
      code: 'INTERNAL',
      message: 'statement after the end of its transaction',
    });
    expect(await names(database)).toEqual([]);
  });

  it('hides a transaction from others until it is committed', async () => {
    const { database, reopen } = await bed.withTable(kind);
    await using _ = database;
    await using other = await reopen();
    await database.transaction(async (queries) => {
      await queries.execute(insert, ['a']);
      expect(await names(other)).toEqual([]);
    });
    expect(await names(other)).toEqual(['a']);
  });

  it('lets one at a time in, across connections and daemons', async () => {
    const { database, reopen } = await bed.withTable(kind);
    await using _ = database;
    await using other = await reopen();
    let inside = 0;
    const enter = (from: SqlDatabase) =>
      from.exclusively('create/gun', async (queries) => {
        expect(++inside).toBe(1);
        // What the one before wrote must be seen: check, then insert.
        const found = await queries.query('SELECT id FROM items WHERE name = ?', ['only']);
        await delay(5);
        if (found.length === 0) await queries.execute(insert, ['only']);
        inside--;
        return found.length;
      });
    const found = await Promise.all(Array.from({ length: 20 }, (_value, index) => enter(index % 2 ? database : other)));
    expect(found.filter((count) => count === 0)).toHaveLength(1);
    expect(await names(database)).toEqual(['only']);
  });

  it('answers other statements while many wait for a lock', async () => {
    const { database, reopen } = await bed.withTable(kind, { maxConnections: 2 });
    await using _ = database;
    await using other = await reopen();
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const holder = other.exclusively('name', () => held);
    await delay(50);
    const waiting = Array.from({ length: 10 }, () => database.exclusively('name', async () => 'in'));
    expect(await names(database)).toEqual([]);
    release();
    await holder;
    expect(await Promise.all(waiting)).toEqual(Array.from({ length: 10 }, () => 'in'));
  });

  it('gives up on a lock after the statement time-out', async () => {
    const { database, reopen } = await bed.withTable(kind, { statementTimeoutMs: 1000 });
    await using _ = database;
    await using other = await reopen();
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const holder = other.exclusively('name', () => held);
    await delay(50);
    const { code } = await failure(database.exclusively('name', async () => 'in'));
    expect(code).toBe('UNAVAILABLE');
    release();
    await holder;
    expect(await database.exclusively('name', async () => 'in')).toBe('in');
  });

  it('names a taken unique key, without its value', async () => {
    const { database } = await bed.withTable(kind);
    await using _ = database;
    await database.execute(insert, ['twice-as-nice']);
    const error = await failure(database.execute(insert, ['twice-as-nice']));
    expect(error.code).toBe('KEY_EXISTS');
    expect(error.message).toMatch(
      /^a row with the same unique key is there already \((ER_DUP_ENTRY|23505|SQLITE_CONSTRAINT_UNIQUE)\)$/,
    );
  });

  it('names a missing table or column', async () => {
    const { database } = await bed.withTable(kind);
    await using _ = database;
    for (const [sql, text] of [
      ['SELECT * FROM absent', /^a table is missing \((ER_NO_SUCH_TABLE|42P01|SQLITE_ERROR)\)$/],
      ['SELECT absent FROM items', /^a column is missing \((ER_BAD_FIELD_ERROR|42703|SQLITE_ERROR)\)$/],
    ] as const) {
      const error = await failure(database.query(sql));
      expect(error.code).toBe('CONFIGURATION');
      expect(error.message).toMatch(text);
    }
  });

  it('calls a statement that the database does not understand a mistake of ours', async () => {
    const { database } = await bed.withTable(kind);
    await using _ = database;
    expect((await failure(database.query('SELEC 1'))).code).toBe('INTERNAL');
    expect(await names(database)).toEqual([]);
  });

  it('is closed after it was disposed of, twice if need be', async () => {
    const { database } = await bed.withTable(kind);
    await database[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
    const error = await failure(database.query('SELECT 1'));
    expect(error).toEqual({ code: 'UNAVAILABLE', message: 'the database is closed' });
  });

  it('lets work under way end before it closes', async () => {
    const { database, reopen } = await bed.withTable(kind);
    const work = database.transaction(async (queries) => {
      await queries.execute(insert, ['a']);
      await delay(100);
      await queries.execute(insert, ['b']);
    });
    await delay(20);
    await database[Symbol.asyncDispose]();
    await work;
    await using again = await reopen();
    expect(await names(again)).toEqual(['a', 'b']);
  });
});

describe('mysql in particular', () => {
  it('refuses an emoji for a table of three-byte characters, to store and to find', async () => {
    const { database } = await bed.withTable('mysql');
    await using _ = database;
    const error = await failure(database.execute(insert, ['🐳']));
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toMatch(/^the table cannot hold this value \(ER_TRUNCATED_WRONG_VALUE_FOR_FIELD\)$/);
    const looked = await failure(database.query('SELECT id FROM items WHERE name = ?', ['🐳']));
    expect(looked).toEqual({
      code: 'INVALID_ARGUMENT',
      message: 'the table cannot hold this value (ER_CANT_AGGREGATE_2COLLATIONS)',
    });
    await database.execute(insert, ['größe 鯨']);
    expect(await names(database)).toEqual(['größe 鯨']);
  });

  it('is strict whatever the server says, and sets what the data source asks for', async () => {
    await bed.mariadb.run("SET GLOBAL sql_mode = '';");
    const text = await bed.mariadb.createDatabase();
    await using database = await openMysql(
      `${text}&div_precision_increment=7&transaction_isolation=%27READ-COMMITTED%27`,
    ).catch(
      () => openMysql(`${text}&div_precision_increment=7`), // older than MariaDB 11.1
    );
    const [row] = await database.query('SELECT @@sql_mode AS mode, @@div_precision_increment AS digits');
    expect({ ...row }).toEqual({ mode: 'STRICT_ALL_TABLES', digits: 7 });
  });

  it('names a system variable that the server does not know', async () => {
    const error = await failure(openMysql(`${await bed.mariadb.createDatabase()}&no_such_variable=1`));
    expect(error).toEqual({
      code: 'CONFIGURATION',
      message: 'the server does not accept a system variable (ER_UNKNOWN_SYSTEM_VARIABLE)',
    });
  });

  it('frees its lock with its transaction, also after a failure', async () => {
    const { database, reopen } = await bed.withTable('mysql');
    await using _ = database;
    await using other = await reopen();
    await expect(database.exclusively('name', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await other.exclusively('name', async () => 'in')).toBe('in');
  });
});

describe('postgres in particular', () => {
  it('takes the password from a file, anew for each connection', async () => {
    const text = await bed.postgres.createDatabase();
    const name = /db_\d+/.exec(text)?.[0] ?? '';
    const env = { PGPASSFILE: join(bed.directory, `${name}.pgpass`) };
    const source = parsePostgresDataSource(text.replace(/:p%40ss[^@]*@/, '@'), { env, userName: 'nobody' });
    const line = (password: string) =>
      writeFile(env.PGPASSFILE, `127.0.0.1:*:${name}:*:${password}\n`, { mode: 0o600 });
    const refused = { code: 'CONFIGURATION', message: expect.stringContaining('refuses the user or the password') };
    await expect(PostgresDatabase.open(source)).rejects.toMatchObject(refused);
    await line('wrong');
    await expect(PostgresDatabase.open(source)).rejects.toMatchObject(refused);
    await line('p@ss\\:w/rd');
    await using database = await PostgresDatabase.open(source);
    expect(await database.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await chmod(env.PGPASSFILE, 0o644);
    await expect(PostgresDatabase.open(source)).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `the password file ${env.PGPASSFILE} is open to others`,
    });
  });

  it('tells every listener, in order, of what was committed only', async () => {
    const { database, reopen } = await bed.withTable('postgres');
    await using _ = database;
    await using other = await reopen();
    const heard: string[] = [];
    const alsoHeard: string[] = [];
    await using _first = await database.notifications?.listen(
      'keys "changed"',
      (payload) => heard.push(payload),
      () => {},
    );
    const second = await other.notifications?.listen(
      'keys "changed"',
      (payload) => alsoHeard.push(payload),
      () => {},
    );
    await other.notifications?.notify(other, 'keys "changed"', '1');
    await other
      .transaction(async (queries) => {
        await other.notifications?.notify(queries, 'keys "changed"', 'never');
        throw new Error('no');
      })
      .catch(() => undefined);
    await other.notifications?.notify(other, 'another channel', 'elsewhere');
    await database.notifications?.notify(database, 'keys "changed"', '2');
    await waitFor('two notifications', () => heard.length === 2 && alsoHeard.length === 2);
    await second?.[Symbol.asyncDispose]();
    await database.notifications?.notify(database, 'keys "changed"', '3');
    await waitFor('the third', () => heard.length === 3);
    expect(heard).toEqual(['1', '2', '3']);
    expect(alsoHeard).toEqual(['1', '2']);
  });

  it('tells of a gap when the server restarts, and listens again', async () => {
    const { database } = await bed.withTable('postgres');
    await using _ = database;
    const heard: string[] = [];
    let gaps = 0;
    await using _listening = await database.notifications?.listen(
      'channel',
      (payload) => heard.push(payload),
      () => gaps++,
    );
    await bed.postgres.restart();
    await waitFor('both ends of the gap', () => gaps === 2);
    await database.notifications?.notify(database, 'channel', 'after');
    await waitFor('the notification', () => heard.length === 1);
    expect(heard).toEqual(['after']);
  });

  it('cannot listen to a server that is not there', async () => {
    const { database } = await bed.withTable('postgres');
    await using _ = database;
    await bed.postgres.stop();
    try {
      const listening = database.notifications?.listen(
        'channel',
        () => {},
        () => {},
      );
      expect((await failure(Promise.resolve(listening))).code).toBe('UNAVAILABLE');
    } finally {
      await bed.postgres.start();
    }
    await using _listening = await database.notifications?.listen(
      'channel',
      () => {},
      () => {},
    );
  });

  it('survives a table that changes under its prepared statements', async () => {
    const { database } = await bed.withTable('postgres', { maxConnections: 2 });
    await using _ = database;
    await database.execute(insert, ['a']);
    const all = () => Promise.all([1, 2].map(() => database.query('SELECT * FROM items WHERE name = ?', ['a'])));
    await all();
    await database.execute('ALTER TABLE items ADD COLUMN more integer');
    for (const [row] of await all()) expect(row).toMatchObject({ name: 'a', more: null });
    for (const [row] of await all()) expect(row).toMatchObject({ name: 'a', more: null });
  });

  it('refuses a server that only reads, if target_session_attrs says so', async () => {
    const { text } = await bed.withTable('postgres');
    const name = /db_\d+/.exec(text)?.[0] ?? '';
    await bed.postgres.run(`ALTER DATABASE ${name} SET default_transaction_read_only = on;`);
    const error = await failure(openPostgres(`${text}&target_session_attrs=read-write`));
    expect(error).toEqual({ code: 'UNAVAILABLE', message: 'the database is read-only (transaction_read_only)' });
    await using database = await openPostgres(text);
    expect(await names(database)).toEqual([]);
  });

  it('refuses a text with a NUL', async () => {
    const { database } = await bed.withTable('postgres');
    await using _ = database;
    expect((await failure(database.execute(insert, ['a\0b']))).code).toBe('INVALID_ARGUMENT');
  });
});
