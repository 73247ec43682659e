/** One connection to a MySQL or MariaDB server. The seam of mysql2. */
import { connect, type Socket } from 'node:net';
// biome-ignore lint/style/noRestrictedImports: the seam
import mysql from 'mysql2';
import { SignetError } from '../../errors.ts';
import { within } from '../deadline.ts';
import type { PooledConnection } from './connection-pool.ts';
import { describeEndpoint, type Endpoint, type MysqlDataSource, type TlsRequirement } from './data-source-name.ts';
import type { SqlValue } from './database.ts';
import { fromMysqlError, isLastMysqlError } from './mysql-errors.ts';
import { PROBLEM, sqlError } from './native-error.ts';
import { ANSWER_GRACE_MS, IDLE_TRANSACTION_TIMEOUT_MS, KEEP_ALIVE_DELAY_MS } from './server-options.ts';
import { readTlsMaterial } from './tls.ts';
import type { Session } from './transaction.ts';

export interface MysqlTimeouts {
  readonly statementTimeoutMs: number;
  readonly connectTimeoutMs: number;
}

/** Prepared statements kept per connection; the server has room for 16 382 of all its clients. */
const MAX_PREPARED_STATEMENTS = 64;

/** Set to anything but OFF, a server refuses changes. */
const READ_ONLY_VARIABLES = ['read_only', 'innodb_read_only'];

type Row = Readonly<Record<string, SqlValue>>;
type Callback = (error: unknown, result: unknown) => void;

export class MysqlSession implements Session, PooledConnection {
  readonly #connection: mysql.Connection;
  readonly #socket: Socket;
  readonly #location: string;
  readonly #statementTimeoutMs: number;
  #isLost = false;

  private constructor(connection: mysql.Connection, socket: Socket, location: string, statementTimeoutMs: number) {
    this.#connection = connection;
    this.#socket = socket;
    this.#location = location;
    this.#statementTimeoutMs = statementTimeoutMs;
    const lose = () => {
      this.#isLost = true;
    };
    connection.on('error', lose);
    connection.on('end', lose);
    socket.on('close', lose);
  }

  /** Connects and sets the session up. @throws {SignetError} UNAVAILABLE, CONFIGURATION */
  static async open(source: MysqlDataSource, endpoint: Endpoint, timeouts: MysqlTimeouts): Promise<MysqlSession> {
    const location = `mysql://${describeEndpoint(endpoint)}/${source.database}`;
    const { tls } = source;
    try {
      return await MysqlSession.#open(source, endpoint, timeouts, tls, location);
    } catch (error) {
      if (tls?.use !== 'preferred' || !isWithoutTls(error)) throw fromMysqlError(error, location, true);
    }
    try {
      return await MysqlSession.#open(source, endpoint, timeouts, undefined, location);
    } catch (error) {
      throw fromMysqlError(error, location, true);
    }
  }

  static async #open(
    source: MysqlDataSource,
    endpoint: Endpoint,
    { connectTimeoutMs, statementTimeoutMs }: MysqlTimeouts,
    tls: TlsRequirement | undefined,
    location: string,
  ): Promise<MysqlSession> {
    const ssl = tls && (await sslOptions(tls, location));
    const socket = openSocket(endpoint);
    const connection = mysql.createConnection({
      user: source.user,
      password: source.password,
      database: source.database,
      ...('host' in endpoint ? { host: endpoint.host } : {}),
      stream: () => socket,
      connectTimeout: connectTimeoutMs,
      ...(ssl === undefined ? {} : { ssl }),
      charset: 'UTF8MB4_GENERAL_CI',
      // What is in a row arrives as SqlValue, nothing more.
      dateStrings: true,
      jsonStrings: true,
      flags: ['FOUND_ROWS', '-LOCAL_FILES', '-IGNORE_SPACE'],
      maxPreparedStatements: MAX_PREPARED_STATEMENTS,
      enableCleartextPlugin: source.allowCleartextPasswords && ssl !== undefined,
      trace: false,
    });
    const session = new MysqlSession(connection, socket, location, statementTimeoutMs);
    const ready = new Promise<void>((resolve, reject) => {
      connection.once('connect', () => resolve());
      connection.once('error', reject);
    });
    try {
      await within(ready, connectTimeoutMs, () => timeoutError(location, 'no connection', connectTimeoutMs));
      await session.#setUp(source);
      return session;
    } catch (error) {
      session.destroy();
      throw error;
    }
  }

  /** One look at what the server offers, one statement that sets it. */
  async #setUp({ sessionVariables, mustBeWritable }: MysqlDataSource): Promise<void> {
    const timeoutMs = this.#statementTimeoutMs;
    const seconds = Math.ceil(timeoutMs / 1000);
    /** Where the server has them: the first two are MariaDB's, the third is MySQL's. */
    const optional: ReadonlyMap<string, string> = new Map([
      ['max_statement_time', String(timeoutMs / 1000)],
      ['idle_transaction_timeout', String(IDLE_TRANSACTION_TIMEOUT_MS / 1000)],
      ['max_execution_time', String(timeoutMs)],
      ['innodb_lock_wait_timeout', String(seconds)],
      ['lock_wait_timeout', String(seconds)],
    ]);
    const names = [...optional.keys(), ...READ_ONLY_VARIABLES].map((name) => `'${name}'`).join(', ');
    const shown = rowsOf(await this.#text(`SHOW VARIABLES WHERE Variable_name IN (${names})`));
    const known = new Map(shown.map((row) => [String(row['Variable_name']).toLowerCase(), String(row['Value'])]));
    const readOnly = READ_ONLY_VARIABLES.find((name) => (known.get(name) ?? 'OFF').toUpperCase() !== 'OFF');
    if (mustBeWritable && readOnly !== undefined) throw sqlError(this.#location, PROBLEM.readOnly, readOnly);
    const offered = [...optional.keys()].filter((name) => known.has(name));
    const settings = [
      'autocommit = 1',
      "time_zone = '+00:00'",
      ...offered.map((name) => `${name} = ${optional.get(name)}`),
      ...[...sessionVariables].map(([name, expression]) => `${name} = ${expression}`),
      // Last: what does not fit a column must be an error, never cut or turned into question marks.
      "sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
    ];
    await this.#text(`SET ${settings.join(', ')}`);
  }

  get isUsable(): boolean {
    return !this.#isLost;
  }

  async query(sql: string, values: readonly SqlValue[] = []): Promise<Row[]> {
    return rowsOf(await this.#prepared(sql, values));
  }

  async execute(sql: string, values: readonly SqlValue[] = []): Promise<number> {
    const result = await this.#prepared(sql, values);
    return Array.isArray(result) ? result.length : (result as mysql.ResultSetHeader).affectedRows;
  }

  async control(sql: string): Promise<void> {
    await this.#text(sql);
  }

  /**
   * Takes a lock of the server. It is free again after `releaseLock` or at the connection's end.
   *
   * @throws {SignetError} UNAVAILABLE if it is not free within the statement time-out
   */
  async takeLock(name: string): Promise<void> {
    const seconds = this.#statementTimeoutMs / 1000;
    const [row] = await this.query('SELECT GET_LOCK(?, ?) AS got', [name, String(seconds)]);
    if (row?.['got'] !== 1) throw timeoutError(this.#location, 'no turn', this.#statementTimeoutMs);
  }

  async releaseLock(name: string): Promise<void> {
    await this.query('SELECT RELEASE_LOCK(?) AS released', [name]);
  }

  close(): Promise<void> {
    this.#isLost = true;
    return new Promise((resolve) => {
      this.#socket.once('close', () => resolve());
      if (this.#socket.destroyed) resolve();
      const timer = setTimeout(() => this.destroy(), ANSWER_GRACE_MS);
      this.#socket.once('close', () => clearTimeout(timer));
      this.#connection.end();
    });
  }

  destroy(): void {
    this.#isLost = true;
    this.#connection.destroy();
    this.#socket.destroy();
  }

  #prepared(sql: string, values: readonly SqlValue[]): Promise<unknown> {
    return this.#run((callback) => this.#connection.execute(sql, [...values], callback));
  }

  #text(sql: string): Promise<unknown> {
    return this.#run((callback) => this.#connection.query(sql, callback));
  }

  /**
   * mysql2's own time-out leaves a connection that still waits for the old answer, so the connection goes with the
   * statement. The server gives up earlier where it can (`max_statement_time`, `max_execution_time`).
   */
  #run(start: (callback: Callback) => void): Promise<unknown> {
    if (this.#isLost) return Promise.reject(fromMysqlError({ code: 'PROTOCOL_CONNECTION_LOST' }, this.#location));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.destroy();
        reject(timeoutError(this.#location, 'no answer', this.#statementTimeoutMs));
      }, this.#statementTimeoutMs + ANSWER_GRACE_MS);
      start((error, result) => {
        clearTimeout(timer);
        if (error === null || error === undefined) {
          resolve(result);
          return;
        }
        if (isLastMysqlError(error)) this.#isLost = true;
        reject(fromMysqlError(error, this.#location));
      });
    });
  }
}

function rowsOf(result: unknown): Row[] {
  return Array.isArray(result) ? (result as Row[]) : [];
}

function timeoutError(location: string, what: string, timeoutMs: number): SignetError {
  return new SignetError('UNAVAILABLE', `${location}: ${what} within ${timeoutMs} ms (ETIMEDOUT)`);
}

function isWithoutTls(error: unknown): boolean {
  return (error as { code?: unknown } | undefined)?.code === 'HANDSHAKE_NO_SSL_SUPPORT';
}

function openSocket(endpoint: Endpoint): Socket {
  if ('socketPath' in endpoint) return connect({ path: endpoint.socketPath });
  const { host, port } = endpoint;
  const socket = connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS });
  // mysql2 gives TLS no name for an address (RFC 6066 §3 forbids it as SNI), and TLS then checks the certificate
  // against the name that the socket was opened with, which Node keeps only for names.
  return Object.assign(socket, { _host: host });
}

async function sslOptions(tls: TlsRequirement, location: string): Promise<mysql.SslOptions> {
  const { ca, cert, key } = await readTlsMaterial(tls, location);
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined || key === undefined ? {} : { cert: cert.toString(), key: key.toString() }),
    rejectUnauthorized: tls.verify !== 'nothing',
    verifyIdentity: tls.verify === 'chain-and-name',
    minVersion: 'TLSv1.2',
  };
}
