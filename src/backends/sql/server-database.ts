/** What the port on a database server is whatever its dialect: statements and transactions on a pool of connections. */
import { SignetError } from '../../errors.ts';
import { ConnectionPool, type PooledConnection } from './connection-pool.ts';
import type { SqlDatabase, SqlQueries, SqlValue } from './database.ts';
import { NamedQueue } from './named-queue.ts';
import { DEFAULT_MAX_CONNECTIONS } from './server-options.ts';
import { completeTransaction, type Session } from './transaction.ts';

export interface ServerDatabaseOptions<Connection> {
  /** Host, port and database for people; never credentials. */
  readonly location: string;
  readonly connect: () => Promise<Connection>;
  readonly maxConnections: number | undefined;
  readonly statementTimeoutMs: number;
  /** The statement that begins a transaction. */
  readonly begin: string;
}

export abstract class ServerDatabase<Connection extends PooledConnection & Session> implements SqlDatabase {
  abstract readonly dialect: SqlDatabase['dialect'];
  readonly location: string;
  readonly #pool: ConnectionPool<Connection>;
  readonly #statementTimeoutMs: number;
  readonly #begin: string;
  readonly #queue = new NamedQueue();

  protected constructor(options: ServerDatabaseOptions<Connection>) {
    const { location, connect, maxConnections, statementTimeoutMs, begin } = options;
    this.location = location;
    this.#statementTimeoutMs = statementTimeoutMs;
    this.#begin = begin;
    this.#pool = new ConnectionPool(connect, {
      location,
      maxConnections: maxConnections ?? DEFAULT_MAX_CONNECTIONS,
      acquireTimeoutMs: statementTimeoutMs,
    });
  }

  query(sql: string, values?: readonly SqlValue[]): Promise<Readonly<Record<string, SqlValue>>[]> {
    return this.#pool.use((session) => session.query(sql, values));
  }

  execute(sql: string, values?: readonly SqlValue[]): Promise<number> {
    return this.#pool.use((session) => session.execute(sql, values));
  }

  transaction<Result>(work: (queries: SqlQueries) => Promise<Result>): Promise<Result> {
    return this.#pool.use((session) => this.transact(session, work));
  }

  exclusively<Result>(name: string, work: (queries: SqlQueries) => Promise<Result>): Promise<Result> {
    const timeoutMs = this.#statementTimeoutMs;
    const onTimeout = () => new SignetError('UNAVAILABLE', `${this.location}: no turn within ${timeoutMs} ms`);
    return this.#queue.run(name, { timeoutMs, onTimeout }, () =>
      this.#pool.use((session) => this.lockAndTransact(session, name, work)),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool[Symbol.asyncDispose]();
  }

  /** Runs `work` in one transaction, alone among all processes that use the name. Waits for a statement's time at most. */
  protected abstract lockAndTransact<Result>(
    session: Connection,
    name: string,
    work: (queries: SqlQueries) => Promise<Result>,
  ): Promise<Result>;

  protected async transact<Result>(
    session: Connection,
    work: (queries: SqlQueries) => Promise<Result>,
  ): Promise<Result> {
    await session.control(this.#begin);
    return await completeTransaction(session, work);
  }
}

/** Connects once, so that a wrong data source shows at once. @throws {SignetError} CONFIGURATION, UNAVAILABLE */
export async function connected<Database extends SqlDatabase>(database: Database): Promise<Database> {
  try {
    await database.query('SELECT 1');
    return database;
  } catch (error) {
    await database[Symbol.asyncDispose]();
    throw error;
  }
}
