/** The port on MySQL and MariaDB. */
import { hash } from 'node:crypto';
import { SignetError } from '../../errors.ts';
import { ConnectionPool } from './connection-pool.ts';
import type { MysqlDataSource } from './data-source-name.ts';
import type { SqlDatabase, SqlQueries, SqlValue } from './database.ts';
import { connectToFirst } from './failover.ts';
import { MysqlSession } from './mysql-session.ts';
import { NamedQueue } from './named-queue.ts';
import {
  DEFAULT_CONNECT_TIMEOUT_MS,
  DEFAULT_MAX_CONNECTIONS,
  DEFAULT_STATEMENT_TIMEOUT_MS,
  type ServerOptions,
} from './server-options.ts';
import { completeTransaction } from './transaction.ts';

export class MysqlDatabase implements SqlDatabase {
  readonly dialect = 'mysql';
  readonly location: string;
  readonly #pool: ConnectionPool<MysqlSession>;
  readonly #databaseName: string;
  readonly #statementTimeoutMs: number;
  readonly #queue = new NamedQueue();

  private constructor(source: MysqlDataSource, options: ServerOptions) {
    const statementTimeoutMs = options.statementTimeoutMs ?? source.statementTimeoutMs ?? DEFAULT_STATEMENT_TIMEOUT_MS;
    const connectTimeoutMs = options.connectTimeoutMs ?? source.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS;
    this.location = source.location;
    this.#databaseName = source.database;
    this.#statementTimeoutMs = statementTimeoutMs;
    this.#pool = new ConnectionPool(
      () =>
        connectToFirst(source.endpoints, (endpoint) =>
          MysqlSession.open(source, endpoint, { statementTimeoutMs, connectTimeoutMs }),
        ),
      {
        location: source.location,
        maxConnections: options.maxConnections ?? DEFAULT_MAX_CONNECTIONS,
        acquireTimeoutMs: statementTimeoutMs,
      },
    );
  }

  /** Connects once, so that a wrong data source shows at once. @throws {SignetError} CONFIGURATION, UNAVAILABLE */
  static async open(source: MysqlDataSource, options: ServerOptions = {}): Promise<MysqlDatabase> {
    const database = new MysqlDatabase(source, options);
    try {
      await database.query('SELECT 1');
      return database;
    } catch (error) {
      await database[Symbol.asyncDispose]();
      throw error;
    }
  }

  query(sql: string, values?: readonly SqlValue[]): Promise<Readonly<Record<string, SqlValue>>[]> {
    return this.#pool.use((session) => session.query(sql, values));
  }

  execute(sql: string, values?: readonly SqlValue[]): Promise<number> {
    return this.#pool.use((session) => session.execute(sql, values));
  }

  transaction<Result>(work: (queries: SqlQueries) => Promise<Result>): Promise<Result> {
    return this.#pool.use((session) => transact(session, work));
  }

  /** The lock comes first: the snapshot that REPEATABLE READ keeps must not be older than it. */
  exclusively<Result>(name: string, work: (queries: SqlQueries) => Promise<Result>): Promise<Result> {
    // Locks belong to the server, not to a database, and have at most 64 characters.
    const lock = `signet:${hash('sha256', `${this.#databaseName}\0${name}`, 'hex').slice(0, 40)}`;
    const timeoutMs = this.#statementTimeoutMs;
    const onTimeout = () => new SignetError('UNAVAILABLE', `${this.location}: no turn within ${timeoutMs} ms`);
    return this.#queue.run(name, { timeoutMs, onTimeout }, () =>
      this.#pool.use(async (session) => {
        await session.takeLock(lock);
        try {
          return await transact(session, work);
        } finally {
          if (session.isUsable) await session.releaseLock(lock).catch(() => session.destroy());
        }
      }),
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#pool[Symbol.asyncDispose]();
  }
}

async function transact<Result>(
  session: MysqlSession,
  work: (queries: SqlQueries) => Promise<Result>,
): Promise<Result> {
  await session.control('START TRANSACTION');
  return await completeTransaction(session, work);
}
