/** What the SQL backend needs of a database. One implementation per driver, each in a seam file of its own. */

export type SqlValue = string | number | Buffer | null;

export interface SqlQueries {
  /**
   * Runs one statement with `?` placeholders.
   *
   * @returns Its rows by column name: text as string, integers as number, binary columns as Buffer, NULL as null,
   *   times as string or null.
   * @throws {SignetError} UNAVAILABLE: no connection, time-out, lost connection, read-only, full, lock wait;
   *   KEY_EXISTS: a unique key is taken; CONFIGURATION: wrong credentials, no such database or table, missing rights;
   *   INVALID_ARGUMENT: a value that the column cannot hold; INTERNAL: a statement that the database does not understand
   * @remarks Nothing is sent twice: after UNAVAILABLE a change may have been made or not.
   */
  query(sql: string, values?: readonly SqlValue[]): Promise<Readonly<Record<string, SqlValue>>[]>;
  /** Runs one statement that changes rows. @returns How many matched. @throws {SignetError} as `query` */
  execute(sql: string, values?: readonly SqlValue[]): Promise<number>;
}

export interface SqlDatabase extends SqlQueries, AsyncDisposable {
  readonly dialect: 'mysql' | 'postgres' | 'sqlite';
  /** Host, port and database for people; never credentials. */
  readonly location: string;
  /**
   * Runs `work` in one transaction on one connection: committed if it resolves, rolled back if it rejects.
   *
   * @remarks After a statement has failed, the later ones fail with the same error and the transaction is rolled back,
   *   also if `work` resolves: the databases do not agree on what is left of it.
   */
  transaction<Result>(work: (queries: SqlQueries) => Promise<Result>): Promise<Result>;
  /**
   * Runs `work` in one transaction while no other process that uses the same name does. SQLite: a write transaction;
   * PostgreSQL: an advisory lock of the transaction; MySQL: GET_LOCK on the transaction's connection.
   *
   * @throws {SignetError} UNAVAILABLE if the lock is not free within the statement time-out
   */
  exclusively<Result>(name: string, work: (queries: SqlQueries) => Promise<Result>): Promise<Result>;
  /** Told of the payloads that any process sends to a channel; absent where the database has nothing like it. */
  readonly notifications?: {
    /**
     * Survives lost connections. `onGap` tells that some may have been missed: once when the connection is lost and
     * once when it is there again.
     */
    listen(channel: string, onPayload: (payload: string) => void, onGap: () => void): Promise<AsyncDisposable>;
    notify(queries: SqlQueries, channel: string, payload: string): Promise<void>;
  };
}
