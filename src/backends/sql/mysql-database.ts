/** The port on MySQL and MariaDB. */
import { hash } from 'node:crypto';
import type { MysqlDataSource } from './data-source-name.ts';
import type { SqlQueries } from './database.ts';
import { connectToFirst } from './failover.ts';
import { MysqlSession } from './mysql-session.ts';
import { connected, ServerDatabase } from './server-database.ts';
import { DEFAULT_CONNECT_TIMEOUT_MS, DEFAULT_STATEMENT_TIMEOUT_MS, type ServerOptions } from './server-options.ts';

export class MysqlDatabase extends ServerDatabase<MysqlSession> {
  readonly dialect = 'mysql';
  readonly #databaseName: string;

  private constructor(source: MysqlDataSource, options: ServerOptions) {
    const statementTimeoutMs = options.statementTimeoutMs ?? source.statementTimeoutMs ?? DEFAULT_STATEMENT_TIMEOUT_MS;
    const connectTimeoutMs = options.connectTimeoutMs ?? source.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS;
    super({
      location: source.location,
      connect: () =>
        connectToFirst(source.endpoints, (endpoint) =>
          MysqlSession.open(source, endpoint, { statementTimeoutMs, connectTimeoutMs }),
        ),
      maxConnections: options.maxConnections,
      statementTimeoutMs,
      begin: 'START TRANSACTION',
    });
    this.#databaseName = source.database;
  }

  /** @throws {SignetError} CONFIGURATION, UNAVAILABLE */
  static open(source: MysqlDataSource, options: ServerOptions = {}): Promise<MysqlDatabase> {
    return connected(new MysqlDatabase(source, options));
  }

  /** The lock comes first: the snapshot that REPEATABLE READ keeps must not be older than it. */
  protected async lockAndTransact<Result>(
    session: MysqlSession,
    name: string,
    work: (queries: SqlQueries) => Promise<Result>,
  ): Promise<Result> {
    // Locks belong to the server, not to a database, and have at most 64 characters.
    const lock = `signet:${hash('sha256', `${this.#databaseName}\0${name}`, 'hex').slice(0, 40)}`;
    await session.takeLock(lock);
    try {
      return await this.transact(session, work);
    } finally {
      if (session.isUsable) await session.releaseLock(lock).catch(() => session.destroy());
    }
  }
}
