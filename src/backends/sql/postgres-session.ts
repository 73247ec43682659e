/** One connection to a PostgreSQL server. The seam of pg. */
import { Socket } from 'node:net';
// biome-ignore lint/style/noRestrictedImports: the seam
import pg from 'pg';
import { SignetError } from '../../errors.ts';
import { within } from '../deadline.ts';
import type { PooledConnection } from './connection-pool.ts';
import { describeEndpoint, type Endpoint, type PostgresDataSource, type TlsRequirement } from './data-source-name.ts';
import type { SqlValue } from './database.ts';
import { PROBLEM, sqlError } from './native-error.ts';
import { fromPostgresError, isLastPostgresError, isStaleStatement } from './postgres-errors.ts';
import { passwordFromFile } from './postgres-password-file.ts';
import type { PreparedNames } from './prepared-names.ts';
import { ANSWER_GRACE_MS, IDLE_TRANSACTION_TIMEOUT_MS, KEEP_ALIVE_DELAY_MS } from './server-options.ts';
import { readTlsMaterial } from './tls.ts';
import type { Session } from './transaction.ts';

export interface PostgresSessionOptions {
  readonly statementTimeoutMs: number;
  readonly connectTimeoutMs: number;
  /** Shared by the connections of one database. */
  readonly names: PreparedNames;
}

type Row = Readonly<Record<string, SqlValue>>;

/** Object identifiers of pg_type. */
const NUMBER_TYPES = new Set([20, 21, 23, 26, 700, 701]); // int8 int2 int4 oid float4 float8
const BOOL_TYPE = 16;
const BYTEA_TYPE = 17;

const parseBytea = pg.types.getTypeParser(BYTEA_TYPE, 'text') as (text: string) => Buffer;

/** Rows hold `SqlValue`s and nothing else: numbers, bytes, and the text of everything else. */
function getTypeParser(oid: number): (text: string) => SqlValue {
  if (NUMBER_TYPES.has(oid)) return Number;
  if (oid === BYTEA_TYPE) return parseBytea;
  if (oid === BOOL_TYPE) return (text) => (text === 't' ? 1 : 0);
  return (text) => text;
}
// The driver's declaration knows its own parsers only.
const types = { getTypeParser: getTypeParser as unknown as typeof pg.types.getTypeParser };

export class PostgresSession implements Session, PooledConnection {
  readonly #client: pg.Client;
  readonly #socket: Socket;
  readonly #location: string;
  readonly #options: PostgresSessionOptions;
  #isLost = false;
  /** One of its prepared statements is stale, so others may be. */
  #isStale = false;

  private constructor(client: pg.Client, socket: Socket, location: string, options: PostgresSessionOptions) {
    this.#client = client;
    this.#socket = socket;
    this.#location = location;
    this.#options = options;
    const lose = () => {
      this.#isLost = true;
    };
    client.on('error', lose);
    client.on('end', lose);
    socket.on('close', lose);
  }

  /** Connects and sets the session up. @throws {SignetError} UNAVAILABLE, CONFIGURATION */
  static async open(
    source: PostgresDataSource,
    endpoint: Endpoint,
    options: PostgresSessionOptions,
  ): Promise<PostgresSession> {
    const location = `postgres://${describeEndpoint(endpoint)}/${source.database}`;
    const ssl = source.tls === undefined ? false : await sslOptions(source.tls, location);
    const socket = new Socket();
    const client = new pg.Client({
      ...address(endpoint),
      user: source.user,
      // A function: for an empty text pg would look into the environment and into files of the home directory.
      password: () => passwordOf(source, endpoint),
      database: source.database,
      ssl: 'socketPath' in endpoint ? false : ssl,
      stream: () => socket,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_DELAY_MS,
      application_name: source.applicationName,
      options: source.options ?? '',
      types,
    });
    const session = new PostgresSession(client, socket, location, options);
    const { connectTimeoutMs } = options;
    try {
      await within(client.connect(), connectTimeoutMs, () => timeoutError(location, 'no connection', connectTimeoutMs));
      await session.#setUp(source);
      return session;
    } catch (error) {
      session.destroy();
      throw fromPostgresError(error, location, true);
    }
  }

  /** As a statement, because proxies such as PgBouncer refuse most parameters of the startup message. */
  async #setUp(source: PostgresDataSource): Promise<void> {
    const parameters = new Map([
      ['TimeZone', 'UTC'],
      ['bytea_output', 'hex'],
      ['standard_conforming_strings', 'on'],
      ['statement_timeout', String(this.#options.statementTimeoutMs)],
      ['idle_in_transaction_session_timeout', String(IDLE_TRANSACTION_TIMEOUT_MS)],
      ...source.runtimeParameters,
    ]);
    const calls = Array.from(
      { length: parameters.size },
      (_, at) => `set_config($${2 * at + 1}, $${2 * at + 2}, false)`,
    );
    const sql = `SELECT ${calls.join(', ')}, current_setting('transaction_read_only') AS read_only`;
    const [row] = (await this.#send({ text: sql, values: [...parameters].flat() })).rows;
    if (source.mustBeWritable && row?.['read_only'] !== 'off') {
      throw sqlError(this.#location, PROBLEM.readOnly, 'transaction_read_only');
    }
  }

  get isUsable(): boolean {
    return !this.#isLost && !this.#isStale;
  }

  async query(sql: string, values: readonly SqlValue[] = []): Promise<Row[]> {
    return (await this.#prepared(sql, values)).rows;
  }

  async execute(sql: string, values: readonly SqlValue[] = []): Promise<number> {
    return (await this.#prepared(sql, values)).rowCount ?? 0;
  }

  async control(sql: string): Promise<void> {
    await this.#send({ text: sql });
  }

  /** @param onNotification Called with channel and payload for every LISTEN of this connection. */
  onNotification(onNotification: (channel: string, payload: string) => void): void {
    this.#client.on('notification', ({ channel, payload }) => onNotification(channel, payload ?? ''));
  }

  /** Called once, when the connection is gone, for whatever reason. */
  onLost(onLost: () => void): void {
    if (this.#socket.destroyed) queueMicrotask(onLost);
    else this.#socket.once('close', onLost);
  }

  async close(): Promise<void> {
    this.#isLost = true;
    const timer = setTimeout(() => this.#socket.destroy(), ANSWER_GRACE_MS);
    await this.#client.end().catch(() => undefined);
    clearTimeout(timer);
  }

  destroy(): void {
    this.#isLost = true;
    this.#socket.destroy();
  }

  /** A prepared statement that the server refused before running it is sent again, unprepared. */
  async #prepared(sql: string, values: readonly SqlValue[]): Promise<pg.QueryResult<Row>> {
    const { text, name } = this.#options.names.of(sql);
    const config = { text, values: [...values] };
    if (name === undefined) return await this.#send(config);
    const isInTransaction = this.#client.getTransactionStatus() !== 'I';
    let isStale = false;
    try {
      return await this.#send({ ...config, name }, (error) => {
        isStale = isStaleStatement(error);
      });
    } catch (error) {
      if (!isStale) throw error;
      this.#isStale = true;
      if (isInTransaction) throw sqlError(this.#location, PROBLEM.stale, 'cached plan');
    }
    return await this.#send(config);
  }

  /** @param inspect Sees the driver's error before it becomes ours. */
  #send(config: pg.QueryConfig<SqlValue[]>, inspect?: (error: unknown) => void): Promise<pg.QueryResult<Row>> {
    if (this.#isLost) return Promise.reject(fromPostgresError({ code: 'ECONNRESET' }, this.#location));
    const { statementTimeoutMs } = this.#options;
    const fail = (error: unknown): never => {
      inspect?.(error);
      if (isLastPostgresError(error) && !isStaleStatement(error)) this.#isLost = true;
      throw fromPostgresError(error, this.#location);
    };
    // The server gives up first (statement_timeout). pg's own query_timeout would leave a connection that still waits
    // for the old answer, so the connection goes with the statement.
    return within(this.#client.query<Row>(config).catch(fail), statementTimeoutMs + ANSWER_GRACE_MS, () => {
      this.destroy();
      return timeoutError(this.#location, 'no answer', statementTimeoutMs);
    });
  }
}

/** pg takes the directory of a socket and makes the name itself. */
async function passwordOf(source: PostgresDataSource, endpoint: Endpoint): Promise<string> {
  if (source.password !== undefined) return source.password;
  return source.passwordFile === undefined ? '' : await passwordFromFile(source.passwordFile, endpoint, source);
}

function address(endpoint: Endpoint): { readonly host: string; readonly port: number } {
  if ('host' in endpoint) return endpoint;
  const [, directory = '', port = ''] = /^(.*)\/\.s\.PGSQL\.(\d+)$/.exec(endpoint.socketPath) ?? [];
  return { host: directory === '' ? '/' : directory, port: Number(port) };
}

function timeoutError(location: string, what: string, timeoutMs: number): SignetError {
  return new SignetError('UNAVAILABLE', `${location}: ${what} within ${timeoutMs} ms (ETIMEDOUT)`);
}

async function sslOptions(tls: TlsRequirement, location: string): Promise<pg.ClientConfig['ssl']> {
  return {
    ...(await readTlsMaterial(tls, location)),
    rejectUnauthorized: tls.verify !== 'nothing',
    ...(tls.verify === 'chain-and-name' ? {} : { checkServerIdentity: () => undefined }),
    minVersion: 'TLSv1.2',
  };
}
