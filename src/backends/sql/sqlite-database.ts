/** The port on a file of SQLite. The seam of better-sqlite3, which is optional and loaded here only. */
import { closeSync, constants, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
// biome-ignore lint/style/noRestrictedImports: the seam
import type { Database, Statement } from 'better-sqlite3';
import { fromNodeError, SignetError } from '../../errors.ts';
import type { SqliteDataSource } from './data-source-name.ts';
import type { SqlDatabase, SqlQueries, SqlValue } from './database.ts';
import { NamedQueue } from './named-queue.ts';
import { DEFAULT_STATEMENT_TIMEOUT_MS } from './server-options.ts';
import { fromSqliteError, isSqliteBusy } from './sqlite-errors.ts';
import { completeTransaction, type Session } from './transaction.ts';

export interface SqliteOptions {
  /** Bound of waiting for the lock of another process, and for one's turn in this one. */
  readonly statementTimeoutMs?: number;
}

type Row = Readonly<Record<string, SqlValue>>;
type OpenFile = (path: string) => Database;

/** Prepared statements kept per connection. */
const MAX_STATEMENTS = 64;
/** Longest pause before a look whether another process has let go of its lock. */
const MAX_PAUSE_MS = 10;

/**
 * Two connections: one that only reads, and one that writes and runs one transaction at a time. SQLite's own busy
 * time-out would block the event loop, so waiting for other processes is done here.
 */
export class SqliteDatabase implements SqlDatabase {
  readonly dialect = 'sqlite';
  readonly location: string;
  readonly #reader: SqliteSession;
  readonly #writer: SqliteSession;
  readonly #timeoutMs: number;
  readonly #queue = new NamedQueue();
  #closed = false;

  private constructor(location: string, reader: SqliteSession, writer: SqliteSession, timeoutMs: number) {
    this.location = location;
    this.#reader = reader;
    this.#writer = writer;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Opens the file, or creates it with mode 0600.
   *
   * @param load For tests; loads better-sqlite3.
   * @throws {SignetError} CONFIGURATION if better-sqlite3 is missing, the directory does not exist, others may access
   *   the file, or it is no database; UNAVAILABLE
   */
  static async open(
    source: SqliteDataSource,
    options: SqliteOptions = {},
    load: () => Promise<OpenFile> = loadSqlite,
  ): Promise<SqliteDatabase> {
    const { location, path } = source;
    const timeoutMs = options.statementTimeoutMs ?? DEFAULT_STATEMENT_TIMEOUT_MS;
    const openFile = await load().catch((error: unknown) => {
      throw unusableModule(error);
    });
    preparePath(path);
    const sessions: SqliteSession[] = [];
    const connect = () => {
      const session = new SqliteSession(openDatabase(openFile, path, location), location, timeoutMs);
      sessions.push(session);
      return session;
    };
    try {
      const writer = connect();
      const [mode] = await writer.query('PRAGMA journal_mode = WAL');
      if (mode?.['journal_mode'] !== 'wal') {
        throw new SignetError('CONFIGURATION', `${location}: the file system does not support SQLite's WAL`, {
          hint: 'put the file on a local file system',
        });
      }
      // A key that was given out must be there after a power cut.
      await writer.control('PRAGMA synchronous = FULL');
      const reader = connect();
      await reader.control('PRAGMA query_only = ON');
      return new SqliteDatabase(location, reader, writer, timeoutMs);
    } catch (error) {
      for (const session of sessions) session.destroy();
      throw error;
    }
  }

  async query(sql: string, values?: readonly SqlValue[]): Promise<Row[]> {
    if (this.#reader.isReadOnly(sql)) return await this.#reader.query(sql, values);
    return await this.#write(() => this.#writer.query(sql, values));
  }

  execute(sql: string, values?: readonly SqlValue[]): Promise<number> {
    return this.#write(() => this.#writer.execute(sql, values));
  }

  transaction<Result>(work: (queries: SqlQueries) => Promise<Result>): Promise<Result> {
    return this.#write(async () => {
      // Not deferred: a transaction that reads first and writes later can find that it may not.
      await this.#writer.control('BEGIN IMMEDIATE');
      return await completeTransaction(this.#writer, work);
    });
  }

  /** A write transaction excludes every other, whatever its name. */
  exclusively<Result>(_name: string, work: (queries: SqlQueries) => Promise<Result>): Promise<Result> {
    return this.transaction(work);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    await this.#write(async () => {
      this.#closed = true;
      this.#reader.destroy();
      this.#writer.destroy();
    });
  }

  #write<Result>(job: () => Promise<Result>): Promise<Result> {
    const timeoutMs = this.#timeoutMs;
    const onTimeout = () => new SignetError('UNAVAILABLE', `${this.location}: no turn within ${timeoutMs} ms`);
    return this.#queue.run('writer', { timeoutMs, onTimeout }, job);
  }
}

/** One connection. */
class SqliteSession implements Session {
  readonly #database: Database;
  readonly #location: string;
  readonly #timeoutMs: number;
  /** The least recently used first. */
  readonly #statements = new Map<string, Statement<SqlValue[], Row>>();

  constructor(database: Database, location: string, timeoutMs: number) {
    this.#database = database;
    this.#location = location;
    this.#timeoutMs = timeoutMs;
  }

  get isUsable(): boolean {
    return this.#database.open;
  }

  /** @throws {SignetError} as `query` */
  isReadOnly(sql: string): boolean {
    try {
      return this.#prepare(sql).readonly;
    } catch (error) {
      throw fromSqliteError(error, this.#location);
    }
  }

  query(sql: string, values: readonly SqlValue[] = []): Promise<Row[]> {
    return this.#run(() => {
      const statement = this.#prepare(sql);
      if (statement.reader) return statement.all(...values);
      statement.run(...values);
      return [];
    });
  }

  execute(sql: string, values: readonly SqlValue[] = []): Promise<number> {
    return this.#run(() => {
      const statement = this.#prepare(sql);
      return statement.reader ? statement.all(...values).length : statement.run(...values).changes;
    });
  }

  async control(sql: string): Promise<void> {
    await this.#run(() => this.#database.exec(sql));
  }

  destroy(): void {
    this.#database.close();
  }

  #prepare(sql: string): Statement<SqlValue[], Row> {
    if (!this.#database.open) throw new SignetError('UNAVAILABLE', `${this.#location}: the database is closed`);
    const statement = this.#statements.get(sql) ?? this.#database.prepare<SqlValue[], Row>(sql);
    this.#statements.delete(sql);
    this.#statements.set(sql, statement);
    const [oldest] = this.#statements.keys();
    if (this.#statements.size > MAX_STATEMENTS && oldest !== undefined) this.#statements.delete(oldest);
    return statement;
  }

  /** Waits, without blocking, for a lock of another process; a statement that found it taken has done nothing. */
  async #run<Result>(statement: () => Result): Promise<Result> {
    const giveUpAt = performance.now() + this.#timeoutMs;
    for (;;) {
      try {
        return statement();
      } catch (error) {
        if (!isSqliteBusy(error) || performance.now() >= giveUpAt) throw fromSqliteError(error, this.#location);
      }
      await delay(Math.random() * MAX_PAUSE_MS);
    }
  }
}

async function loadSqlite(): Promise<OpenFile> {
  // biome-ignore lint/style/noRestrictedImports: the seam
  const { default: Sqlite } = await import('better-sqlite3');
  return (path) => new Sqlite(path, { timeout: 0, fileMustExist: true });
}

function openDatabase(openFile: OpenFile, path: string, location: string): Database {
  try {
    return openFile(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (code.startsWith('SQLITE_')) throw fromSqliteError(error, location);
    throw unusableModule(error);
  }
}

/** The part in C++ is loaded with the first database only; npm does not compile it where scripts are switched off. */
function unusableModule(cause: unknown): SignetError {
  return new SignetError('CONFIGURATION', 'the module better-sqlite3 cannot be loaded', {
    hint: 'run: npm rebuild better-sqlite3 --ignore-scripts=false',
    cause,
  });
}

/**
 * Makes sure of a file that only its owner can access. A file that is there is not opened: closing it again would
 * drop the locks that this process may have on it (POSIX).
 */
function preparePath(path: string): void {
  const directory = dirname(path);
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory()) {
    throw new SignetError('CONFIGURATION', `the directory ${directory} does not exist`, {
      hint: 'create it, or change storage.db_url',
    });
  }
  try {
    closeSync(openSync(path, constants.O_CREAT | constants.O_EXCL | constants.O_RDWR, 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw fromNodeError(error, `cannot create ${path}`);
  }
  const file = statSync(path, { throwIfNoEntry: false });
  if (!file?.isFile()) throw new SignetError('CONFIGURATION', `${path} is not a file`);
  if ((file.mode & 0o077) !== 0) {
    throw new SignetError('CONFIGURATION', `${path} can be accessed by others`, { hint: `run: chmod 600 ${path}` });
  }
}
