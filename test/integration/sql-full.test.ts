/** Databases without space: nothing is lost, keys in use sign, and all is well when there is space again. */
import Sqlite from 'better-sqlite3';
import { expect, it } from 'vitest';
import { parseSqliteDataSource } from '../../src/backends/sql/data-source-name.ts';
import { KeyTable } from '../../src/backends/sql/key-table.ts';
import { migrate } from '../../src/backends/sql/schema.ts';
import { SqliteDatabase } from '../../src/backends/sql/sqlite-database.ts';
import { GRPC_STATUS } from '../../src/errors.ts';
import { waitFor } from '../support/conditions.ts';
import { createKey, SqlSigners, signsWith } from '../support/sql-signers.ts';
import { failure } from '../support/sql-testbed.ts';
import { temporaryDirectory } from '../support/temp.ts';

it('MariaDB: a full table space is UNAVAILABLE for new keys only', async () => {
  // One file of the size that mariadb-install-db made, for everything.
  const args = ['--innodb-data-file-path=ibdata1:12M', '--skip-innodb-file-per-table'];
  await using signers = await SqlSigners.create({ mysql: { args } });
  const database = await signers.database('mysql');
  await using daemon = await signers.startSignetd(database, { storage: { revalidate_interval: '300ms' } });
  const used = await createKey(daemon.client, 'example.com/used');
  expect(await signsWith(daemon.client, used.keyId, used.publicKey)).toBe(true);

  await database.sql('CREATE TABLE filler (bytes longblob) ENGINE=InnoDB');
  for (let size = 4_000_000; size > 8000; ) {
    await database.sql(`INSERT INTO filler VALUES (REPEAT('x', ${Math.floor(size)}))`).catch(() => {
      size /= 2;
    });
  }
  // Until the last page is taken, there is room for a few.
  const made: Awaited<ReturnType<typeof createKey>>[] = [];
  const refused = await waitFor('a full table', () =>
    createKey(daemon.client, `example.com/new-${made.length}`).then(
      (key) => {
        made.push(key);
        return undefined;
      },
      (error: unknown) => error,
    ),
  );
  expect(refused).toMatchObject({ code: GRPC_STATUS.UNAVAILABLE, details: 'Key creation failed' });
  const line = await waitFor('the log', () =>
    daemon.signetd.log().find(({ error }) => String(error).includes('space')),
  );
  expect(line['error']).toMatch(/the database is out of space or connections \((ER_RECORD_FILE_FULL|1114)\)$/);
  expect(await signsWith(daemon.client, used.keyId, used.publicKey)).toBe(true);

  args[0] = '--innodb-data-file-path=ibdata1:12M;ibdata2:12M'; // read at each start of the server
  await database.server?.restart();
  made.push(await waitFor('room', () => createKey(daemon.client, 'example.com/again').catch(() => undefined)));
  for (const { keyId, publicKey } of [used, ...made]) {
    expect(await signsWith(daemon.client, keyId, publicKey)).toBe(true);
  }
});

it('SQLite: a full disk is UNAVAILABLE, and reads go on', async () => {
  await using directory = await temporaryDirectory();
  const source = parseSqliteDataSource('keys.db', directory.path);
  let pages = 0;
  const load = async () => (path: string) => {
    const opened = new Sqlite(path, { timeout: 0, fileMustExist: true });
    if (pages > 0) opened.pragma(`max_page_count = ${pages}`);
    return opened;
  };
  {
    await using database = await SqliteDatabase.open(source, {}, load);
    await migrate(database);
  }
  pages = 1; // SQLite makes it what there is
  {
    await using database = await SqliteDatabase.open(source, {}, load);
    expect(await failure(database.execute('CREATE TABLE filler (bytes blob)'))).toEqual({
      code: 'UNAVAILABLE',
      message: 'the database is out of space or connections (SQLITE_FULL)',
    });
    expect(await new KeyTable(database).count()).toBe(0);
  }
  pages = 0;
  await using database = await SqliteDatabase.open(source, {}, load);
  expect(await database.execute('CREATE TABLE filler (bytes blob)')).toBe(0);
});
