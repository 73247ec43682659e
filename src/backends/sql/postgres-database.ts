/** The port on PostgreSQL. */
import { hash } from 'node:crypto';
import type { PostgresDataSource } from './data-source-name.ts';
import type { SqlQueries } from './database.ts';
import { connectToFirst } from './failover.ts';
import { PostgresNotifications } from './postgres-notifications.ts';
import { PostgresSession } from './postgres-session.ts';
import { PreparedNames } from './prepared-names.ts';
import { connected, ServerDatabase } from './server-database.ts';
import { DEFAULT_CONNECT_TIMEOUT_MS, DEFAULT_STATEMENT_TIMEOUT_MS, type ServerOptions } from './server-options.ts';

export class PostgresDatabase extends ServerDatabase<PostgresSession> {
  readonly dialect = 'postgres';
  readonly notifications: PostgresNotifications;

  private constructor(source: PostgresDataSource, options: ServerOptions) {
    const statementTimeoutMs = options.statementTimeoutMs ?? DEFAULT_STATEMENT_TIMEOUT_MS;
    const connectTimeoutMs = options.connectTimeoutMs ?? source.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS;
    const names = new PreparedNames();
    const connect = () =>
      connectToFirst(source.endpoints, (endpoint) =>
        PostgresSession.open(source, endpoint, { statementTimeoutMs, connectTimeoutMs, names }),
      );
    super({
      location: source.location,
      connect,
      maxConnections: options.maxConnections,
      statementTimeoutMs,
      // Every statement sees what was committed before it, whatever the server's default: a lock taken first must count.
      begin: 'BEGIN ISOLATION LEVEL READ COMMITTED',
    });
    this.notifications = new PostgresNotifications(connect);
  }

  /** @throws {SignetError} CONFIGURATION, UNAVAILABLE */
  static open(source: PostgresDataSource, options: ServerOptions = {}): Promise<PostgresDatabase> {
    return connected(new PostgresDatabase(source, options));
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.notifications[Symbol.asyncDispose]();
    await super[Symbol.asyncDispose]();
  }

  protected lockAndTransact<Result>(
    session: PostgresSession,
    name: string,
    work: (queries: SqlQueries) => Promise<Result>,
  ): Promise<Result> {
    // Advisory locks are numbers of 64 bits, and belong to one database.
    const lock = Buffer.from(hash('sha256', `signet\0${name}`, 'hex'), 'hex')
      .readBigInt64BE()
      .toString();
    return this.transact(session, async (queries) => {
      // Bounded by statement_timeout.
      await queries.query('SELECT pg_advisory_xact_lock(CAST(? AS bigint))', [lock]);
      return await work(queries);
    });
  }
}
