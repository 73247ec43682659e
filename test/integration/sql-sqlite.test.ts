/** What is particular to SQLite among the SQL drivers. Needs no server. */
import { chmod, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseSqliteDataSource } from '../../src/backends/sql/data-source-name.ts';
import { SqliteDatabase } from '../../src/backends/sql/sqlite-database.ts';
import { waitFor } from '../support/conditions.ts';
import { failure, insert, names, openSqlite, sqliteTable } from '../support/sql-testbed.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';

let temporary: TemporaryDirectory;
let directory: string;
beforeAll(async () => {
  temporary = await temporaryDirectory();
  directory = temporary.path;
});
afterAll(() => temporary[Symbol.asyncDispose]());

let tables = 0;
const newTable = () => sqliteTable(join(directory, `keys-${++tables}.db`));

describe('sqlite in particular', () => {
  it('keeps its files to their owner', async () => {
    const { text, database } = await newTable();
    await using _ = database;
    for (const suffix of ['', '-wal', '-shm']) expect((await stat(text + suffix)).mode & 0o777).toBe(0o600);
  });

  it('refuses a file that others can access', async () => {
    const { text, database } = await newTable();
    await database[Symbol.asyncDispose]();
    await chmod(text, 0o640);
    await expect(openSqlite(text)).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `${text} can be accessed by others`,
      hint: `run: chmod 600 ${text}`,
    });
  });

  it('refuses a directory that does not exist, and files that are no database', async () => {
    await expect(openSqlite(`${directory}/none/keys.db`)).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `the directory ${directory}/none does not exist`,
    });
    await expect(openSqlite(directory)).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `${directory} is not a file`,
    });
    const text = join(directory, 'text');
    await writeFile(text, 'not a database\n'.repeat(100), { mode: 0o600 });
    expect(await failure(openSqlite(text))).toEqual({
      code: 'CONFIGURATION',
      message: 'the file is not an SQLite database (SQLITE_NOTADB)',
    });
  });

  it('says how to compile a module that is not', async () => {
    const source = parseSqliteDataSource(join(directory, 'uncompiled.db'), '/');
    const loaders = [
      () => Promise.reject(new Error("Cannot find package 'better-sqlite3'")),
      () =>
        Promise.resolve((): never => {
          throw new Error('Could not locate the bindings file. Tried: …');
        }),
    ];
    for (const load of loaders) {
      await expect(SqliteDatabase.open(source, {}, load)).rejects.toMatchObject({
        code: 'CONFIGURATION',
        message: 'the module better-sqlite3 cannot be loaded',
        hint: 'run: npm rebuild better-sqlite3 --ignore-scripts=false',
      });
    }
  });

  it('reads while another writes, and leaves the event loop free while it waits', async () => {
    const { database, reopen } = await newTable();
    await using _ = database;
    await using other = await reopen();
    let turns = 0;
    await other.transaction(async () => {
      const waiting = database.execute(insert, ['a']);
      for (; turns < 20; turns++) await delay(5);
      expect(await names(database)).toEqual([]);
      void waiting.then(() => turns++);
    });
    await waitFor('the write', () => turns > 20);
  });

  it('takes a statement that writes and answers for a write', async () => {
    const { database } = await newTable();
    await using _ = database;
    const rows = await database.query('INSERT INTO items (name) VALUES (?) RETURNING id', ['a']);
    expect(rows).toEqual([{ id: 1 }]);
    expect(await names(database)).toEqual(['a']);
  });
});
