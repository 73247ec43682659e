/** The databases under the SQL drivers: how a test gets a table in a real one, and a network that can fail. */
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect } from 'vitest';
import { type PostgresDataSource, parseSqliteDataSource } from '../../src/backends/sql/data-source-name.ts';
import type { SqlDatabase } from '../../src/backends/sql/database.ts';
import { parseMysqlDataSource } from '../../src/backends/sql/mysql-data-source-name.ts';
import { MysqlDatabase } from '../../src/backends/sql/mysql-database.ts';
import { parsePostgresDataSource } from '../../src/backends/sql/postgres-data-source-name.ts';
import { PostgresDatabase } from '../../src/backends/sql/postgres-database.ts';
import type { ServerOptions } from '../../src/backends/sql/server-options.ts';
import { SqliteDatabase } from '../../src/backends/sql/sqlite-database.ts';
import { type Authority, createAuthority } from './certificates.ts';
import { type DatabaseServer, startMariadb, startPostgres } from './databases.ts';
import { Resources } from './resources.ts';
import { temporaryDirectory } from './temp.ts';

export type SqlKind = 'mysql' | 'postgres' | 'sqlite';

/** The same table everywhere; MariaDB's has the character set of notary-signer's. */
const TABLE: Readonly<Record<SqlKind, string>> = {
  mysql: `CREATE TABLE items (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, name varchar(40) NOT NULL UNIQUE,
    bytes blob, at datetime NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8`,
  postgres:
    'CREATE TABLE items (id serial PRIMARY KEY, name varchar(40) NOT NULL UNIQUE, bytes bytea, at timestamp NULL)',
  sqlite: 'CREATE TABLE items (id integer PRIMARY KEY, name varchar(40) NOT NULL UNIQUE, bytes blob, at datetime)',
};

/** Adds a row. */
export const insert = 'INSERT INTO items (name) VALUES (?)';

/** Of every row, in the order of their making. */
export async function names(database: SqlDatabase): Promise<unknown[]> {
  return (await database.query('SELECT name FROM items ORDER BY id')).map((row) => row['name']);
}

export const postgresSource = (text: string): PostgresDataSource =>
  parsePostgresDataSource(text, { env: {}, userName: 'nobody' });
export const openMysql = (text: string, options?: ServerOptions): Promise<MysqlDatabase> =>
  MysqlDatabase.open(parseMysqlDataSource(text), options);
export const openPostgres = (text: string, options?: ServerOptions): Promise<PostgresDatabase> =>
  PostgresDatabase.open(postgresSource(text), options);
export const openSqlite = (text: string, options?: ServerOptions): Promise<SqliteDatabase> =>
  SqliteDatabase.open(parseSqliteDataSource(text, '/'), options);

export interface TestTable {
  /** `storage.db_url`. */
  readonly text: string;
  readonly database: SqlDatabase;
  /** Opens the same database again, as another daemon would. */
  readonly reopen: (options?: ServerOptions) => Promise<SqlDatabase>;
}

async function makeTable(
  kind: SqlKind,
  text: string,
  open: (text: string, options?: ServerOptions) => Promise<SqlDatabase>,
  options?: ServerOptions,
): Promise<TestTable> {
  const database = await open(text, options);
  await database.execute(TABLE[kind]);
  return { text, database, reopen: (again) => open(text, again) };
}

/** The table in a new file. The caller disposes of the database. */
export function sqliteTable(path: string): Promise<TestTable> {
  return makeTable('sqlite', path, openSqlite);
}

export class SqlTestbed implements AsyncDisposable {
  readonly directory: string;
  /** Issued the servers' certificates. */
  readonly authority: Authority;
  readonly mariadb: DatabaseServer;
  readonly postgres: DatabaseServer;
  readonly #resources: Resources;

  private constructor(bed: Pick<SqlTestbed, 'directory' | 'authority' | 'mariadb' | 'postgres'>, resources: Resources) {
    this.directory = bed.directory;
    this.authority = bed.authority;
    this.mariadb = bed.mariadb;
    this.postgres = bed.postgres;
    this.#resources = resources;
  }

  /** Starts both servers, with TLS. */
  static async start(): Promise<SqlTestbed> {
    const resources = new Resources();
    try {
      const directory = resources.use(await temporaryDirectory()).path;
      const authority = await createAuthority(directory, 'ca');
      const tls = await authority.issue('database', { extendedKeyUsage: ['serverAuth'] });
      const mariadb = resources.use(await startMariadb({ tls }));
      const postgres = resources.use(await startPostgres({ tls }));
      return new SqlTestbed({ directory, authority, mariadb, postgres }, resources);
    } catch (error) {
      await resources[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** @returns `storage.db_url` of a new, empty database */
  async newDatabase(kind: SqlKind): Promise<string> {
    switch (kind) {
      case 'mysql':
        return this.mariadb.createDatabase();
      case 'postgres':
        return this.postgres.createDatabase();
      case 'sqlite':
        return join(this.#resources.use(await temporaryDirectory()).path, 'keys.db');
    }
  }

  open(kind: SqlKind, text: string, options?: ServerOptions): Promise<SqlDatabase> {
    switch (kind) {
      case 'mysql':
        return openMysql(text, options);
      case 'postgres':
        return openPostgres(text, options);
      case 'sqlite':
        return openSqlite(text, options);
    }
  }

  /** A new database with the table `items` (id, name, bytes, at). The caller disposes of it. */
  async withTable(kind: SqlKind, options?: ServerOptions): Promise<TestTable> {
    return makeTable(kind, await this.newDatabase(kind), (text, again) => this.open(kind, text, again), options);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#resources[Symbol.asyncDispose]();
  }
}

/** What a call rejects with, without the place in front, which differs from run to run. */
export async function failure(call: Promise<unknown>): Promise<{ code: string; message: string }> {
  const error = (await call.then(
    () => undefined,
    (reason: unknown) => reason,
  )) as { code: string; message: string };
  expect(error).toMatchObject({ name: 'SignetError' });
  expect(error.message).not.toMatch(/p@ss|secret/);
  return { code: error.code, message: error.message.replace(/^.*?: /, '') };
}

export interface Proxy extends AsyncDisposable {
  readonly port: number;
  /** Carries no more bytes of the connections there are; they stay open. */
  pause(): void;
  /** Cuts the connections there are. */
  cut(): void;
}

/** A proxy to a port of 127.0.0.1. @param own Where it listens; by default on any free port of 127.0.0.1. */
export async function startProxy(
  port: number,
  own: { readonly host?: string; readonly port?: number } = {},
): Promise<Proxy> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    client.pipe(upstream).pipe(client);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        client.destroy();
        upstream.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(own.port ?? 0, own.host ?? '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: address.port,
    pause: () => {
      for (const socket of sockets) socket.unpipe();
    },
    cut,
    [Symbol.asyncDispose]: async () => {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
