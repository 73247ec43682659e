/** LISTEN and NOTIFY, on a connection of their own that comes back by itself. */
import type { SqlDatabase, SqlQueries } from './database.ts';
import type { PostgresSession } from './postgres-session.ts';

interface Listener {
  readonly channel: string;
  readonly onPayload: (payload: string) => void;
  readonly onGap: () => void;
}

/** Pauses between attempts to connect: doubled up to the limit, a random half of them off, so that many daemons spread. */
const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 10_000;
/** A connection that a firewall has dropped looks alive until something is sent. */
const HEARTBEAT_MS = 10_000;

export class PostgresNotifications implements NonNullable<SqlDatabase['notifications']>, AsyncDisposable {
  readonly #connect: () => Promise<PostgresSession>;
  readonly #listeners = new Set<Listener>();
  /** The connection that listens, or is about to; undefined before the first listener and while there is none. */
  #session: Promise<PostgresSession> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(connect: () => Promise<PostgresSession>) {
    this.#connect = connect;
  }

  /**
   * @param channel At most 63 bytes.
   * @param onPayload Called in the order of the commits.
   * @throws {SignetError} UNAVAILABLE, CONFIGURATION if it cannot listen now; later losses are made good
   */
  async listen(channel: string, onPayload: (payload: string) => void, onGap: () => void): Promise<AsyncDisposable> {
    const listener = { channel, onPayload, onGap };
    // Before the server knows: the first notification may arrive together with its answer.
    this.#listeners.add(listener);
    try {
      this.#session ??= this.#open();
      await (await this.#session).control(`LISTEN ${quoteIdentifier(channel)}`);
    } catch (error) {
      this.#listeners.delete(listener);
      throw error;
    }
    return {
      [Symbol.asyncDispose]: async () => {
        this.#listeners.delete(listener);
        const isShared = [...this.#listeners].some((other) => other.channel === channel);
        const open = isShared ? undefined : await this.#session?.catch(() => undefined);
        // A connection that is lost listens no more anyway.
        await open?.control(`UNLISTEN ${quoteIdentifier(channel)}`).catch(() => undefined);
      },
    };
  }

  /** In a transaction it is sent when that commits. @param payload Less than 8000 bytes. */
  async notify(queries: SqlQueries, channel: string, payload: string): Promise<void> {
    await queries.query('SELECT pg_notify(?, ?)', [channel, payload]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#listeners.clear();
    clearTimeout(this.#timer);
    const session = await this.#session?.catch(() => undefined);
    await session?.close();
  }

  async #open(): Promise<PostgresSession> {
    let session: PostgresSession | undefined;
    try {
      session = await this.#connect();
      session.onNotification((channel, payload) => {
        for (const listener of this.#listeners) if (listener.channel === channel) listener.onPayload(payload);
      });
      for (const channel of new Set([...this.#listeners].map((listener) => listener.channel))) {
        await session.control(`LISTEN ${quoteIdentifier(channel)}`);
      }
      session.onLost(() => this.#lost());
      this.#beat(session);
      return session;
    } catch (error) {
      session?.destroy();
      this.#session = undefined;
      throw error;
    }
  }

  #beat(session: PostgresSession): void {
    this.#timer = setTimeout(() => {
      session.query('SELECT 1').then(
        () => session.isUsable && !this.#closed && this.#beat(session),
        () => session.destroy(),
      );
    }, HEARTBEAT_MS).unref();
  }

  #lost(): void {
    clearTimeout(this.#timer);
    this.#session = undefined;
    if (this.#closed) return;
    this.#tellGap();
    this.#reconnect(MIN_PAUSE_MS);
  }

  #reconnect(pauseMs: number): void {
    this.#timer = setTimeout(
      () => {
        if (this.#closed || this.#session !== undefined) return;
        this.#session = this.#open();
        this.#session.then(
          () => this.#tellGap(),
          () => this.#reconnect(Math.min(2 * pauseMs, MAX_PAUSE_MS)),
        );
      },
      pauseMs * (0.5 + Math.random() / 2),
    ).unref();
  }

  #tellGap(): void {
    for (const listener of this.#listeners) listener.onGap();
  }
}

function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
