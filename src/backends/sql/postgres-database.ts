/** The port on PostgreSQL. */
import { hash } from 'node:crypto';
import { SignetError } from '../../errors.ts';
import { ConnectionPool } from './connection-pool.ts';
import type { PostgresDataSource } from './data-source-name.ts';
import type { SqlDatabase, SqlQueries, SqlValue } from './database.ts';
import { connectToFirst } from './failover.ts';
import { NamedQueue } from './named-queue.ts';
import { PostgresNotifications } from './postgres-notifications.ts';
import { PostgresSession } from './postgres-session.ts';
import { PreparedNames } from './prepared-names.ts';
import {
  DEFAULT_CONNECT_TIMEOUT_MS,
  DEFAULT_MAX_CONNECTIONS,
  DEFAULT_STATEMENT_TIMEOUT_MS,
  type ServerOptions,
} from './server-options.ts';
import { completeTransaction } from './transaction.ts';

export class PostgresDatabase implements SqlDatabase {
  readonly dialect = 'postgres';
  readonly location: string;
  readonly notifications: PostgresNotifications;
  readonly #pool: ConnectionPool<PostgresSession>;
  readonly #statementTimeoutMs: number;
  readonly #queue = new NamedQueue();

  private constructor(source: PostgresDataSource, options: ServerOptions) {
    const statementTimeoutMs = options.statementTimeoutMs ?? DEFAULT_STATEMENT_TIMEOUT_MS;
    const connectTimeoutMs = options.connectTimeoutMs ?? source.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS;
    const names = new PreparedNames();
    const connect = () =>
      connectToFirst(source.endpoints, (endpoint) =>
        PostgresSession.open(source, endpoint, { statementTimeoutMs, connectTimeoutMs, names }),
      );
    this.location = source.location;
    this.#statementTimeoutMs = statementTimeoutMs;
    this.#pool = new ConnectionPool(connect, {
      location: source.location,
      maxConnections: options.maxConnections ?? DEFAULT_MAX_CONNECTIONS,
      acquireTimeoutMs: statementTimeoutMs,
    });
    this.notifications = new PostgresNotifications(connect);
  }

  /** Connects once, so that a wrong data source shows at once. @throws {SignetError} CONFIGURATION, UNAVAILABLE */
  static async open(source: PostgresDataSource, options: ServerOptions = {}): Promise<PostgresDatabase> {
    const database = new PostgresDatabase(source, options);
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

  exclusively<Result>(name: string, work: (queries: SqlQueries) => Promise<Result>): Promise<Result> {
    // Advisory locks are numbers of 64 bits, and belong to one database.
    const lock = Buffer.from(hash('sha256', `signet\0${name}`, 'hex'), 'hex')
      .readBigInt64BE()
      .toString();
    const timeoutMs = this.#statementTimeoutMs;
    const onTimeout = () => new SignetError('UNAVAILABLE', `${this.location}: no turn within ${timeoutMs} ms`);
    return this.#queue.run(name, { timeoutMs, onTimeout }, () =>
      this.#pool.use((session) =>
        transact(session, async (queries) => {
          // Bounded by statement_timeout.
          await queries.query('SELECT pg_advisory_xact_lock(CAST(? AS bigint))', [lock]);
          return await work(queries);
        }),
      ),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.notifications[Symbol.asyncDispose]();
    await this.#pool[Symbol.asyncDispose]();
  }
}

/** Every statement sees what was committed before it, whatever the server's default: a lock taken first must count. */
async function transact<Result>(
  session: PostgresSession,
  work: (queries: SqlQueries) => Promise<Result>,
): Promise<Result> {
  await session.control('BEGIN ISOLATION LEVEL READ COMMITTED');
  return await completeTransaction(session, work);
}
