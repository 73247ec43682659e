/**
 * A bounded pool of database connections, the same for every driver: connections are made when needed, lost ones are
 * replaced, and none is used that its server has closed meanwhile.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { SignetError } from '../../errors.ts';

/** What the pool needs of a driver's connection. */
export interface PooledConnection {
  /** False as soon as it is known that no further statement can run on it. */
  readonly isUsable: boolean;
  /** Says good-bye to the server. */
  close(): Promise<void>;
  /** Cuts the connection; statements under way fail. */
  destroy(): void;
}

export interface PoolOptions {
  /** For messages: whose connections these are. */
  readonly location: string;
  readonly maxConnections: number;
  /** How long a caller waits for a connection. */
  readonly acquireTimeoutMs: number;
}

interface Waiter<Connection> {
  readonly resolve: (connection: Connection) => void;
  readonly reject: (error: unknown) => void;
}

/** Idle for longer, a connection is looked at before it is used. */
const CHECK_AFTER_MS = 100;
/** Idle for longer, a connection is given back. */
const MAX_IDLE_MS = 5 * 60_000;
const SWEEP_MS = 60_000;

export class ConnectionPool<Connection extends PooledConnection> implements AsyncDisposable {
  readonly #connect: () => Promise<Connection>;
  readonly #options: PoolOptions;
  /** The most recently used last: the others grow old and are closed. */
  readonly #idle: { readonly connection: Connection; readonly since: number }[] = [];
  readonly #busy = new Set<Connection>();
  readonly #waiters = new Set<Waiter<Connection>>();
  readonly #sweeper: NodeJS.Timeout;
  #connecting = 0;
  #closed = false;
  #onIdle: (() => void) | undefined;

  /** @param connect Bounded in time; rejects with a `SignetError`. */
  constructor(connect: () => Promise<Connection>, options: PoolOptions) {
    this.#connect = connect;
    this.#options = options;
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  /**
   * Lends a connection to `work`.
   *
   * @throws {SignetError} UNAVAILABLE if there is none in time; what `connect` or `work` reject with
   */
  async use<Result>(work: (connection: Connection) => Promise<Result>): Promise<Result> {
    const connection = await this.#acquire();
    try {
      return await work(connection);
    } finally {
      this.#release(connection);
    }
  }

  /** Refuses new work, lets the work under way end (for as long as a caller would wait), closes everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#sweeper);
    for (const waiter of [...this.#waiters]) waiter.reject(this.#closedError());
    const idle = this.#idle.splice(0).map(({ connection }) => connection.close());
    if (this.#busy.size + this.#connecting > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, this.#options.acquireTimeoutMs);
        this.#onIdle = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    for (const connection of this.#busy) connection.destroy();
    await Promise.all(idle);
  }

  async #acquire(): Promise<Connection> {
    if (this.#closed) throw this.#closedError();
    for (let entry = this.#idle.pop(); entry !== undefined; entry = this.#idle.pop()) {
      const { connection, since } = entry;
      this.#busy.add(connection);
      // A server that closed the connection has said so by now, but nobody may have listened: two turns of the event
      // loop read whatever has arrived. Only a connection known to be dead is replaced; nothing is ever sent twice.
      if (performance.now() - since > CHECK_AFTER_MS) {
        await turn();
        await turn();
      }
      if (connection.isUsable) return connection;
      this.#discard(connection);
    }
    return await this.#wait();
  }

  #wait(): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
      };
      const waiter: Waiter<Connection> = {
        resolve: (connection) => {
          settle();
          resolve(connection);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      const timer = setTimeout(() => {
        const { location, acquireTimeoutMs, maxConnections } = this.#options;
        const why = `no connection free within ${acquireTimeoutMs} ms (of ${maxConnections})`;
        waiter.reject(new SignetError('UNAVAILABLE', `${location}: ${why}`));
      }, this.#options.acquireTimeoutMs);
      this.#waiters.add(waiter);
      this.#grow();
    });
  }

  /** One attempt per waiter at most, so that a server that is down is not asked more often than it is needed. */
  #grow(): void {
    const { maxConnections } = this.#options;
    while (
      !this.#closed &&
      this.#connecting < this.#waiters.size &&
      this.#connecting + this.#busy.size + this.#idle.length < maxConnections
    ) {
      this.#connecting++;
      void this.#addConnection();
    }
  }

  async #addConnection(): Promise<void> {
    try {
      const connection = await this.#connect();
      this.#connecting--;
      this.#busy.add(connection);
      this.#release(connection);
    } catch (error) {
      this.#connecting--;
      this.#firstWaiter()?.reject(error);
      this.#grow();
      this.#noteIdle();
    }
  }

  #firstWaiter(): Waiter<Connection> | undefined {
    return this.#waiters.values().next().value;
  }

  #release(connection: Connection): void {
    if (!connection.isUsable) {
      this.#discard(connection);
      this.#grow();
      return;
    }
    const waiter = this.#firstWaiter();
    if (waiter !== undefined) {
      waiter.resolve(connection);
      return;
    }
    this.#busy.delete(connection);
    if (this.#closed) void connection.close();
    else this.#idle.push({ connection, since: performance.now() });
    this.#noteIdle();
  }

  #discard(connection: Connection): void {
    this.#busy.delete(connection);
    connection.destroy();
    this.#noteIdle();
  }

  #noteIdle(): void {
    if (this.#busy.size + this.#connecting === 0) this.#onIdle?.();
  }

  #sweep(): void {
    const oldest = performance.now() - MAX_IDLE_MS;
    const fresh = this.#idle.filter(({ connection, since }) => since > oldest && connection.isUsable);
    const stale = this.#idle.filter((entry) => !fresh.includes(entry));
    this.#idle.splice(0, this.#idle.length, ...fresh);
    for (const { connection } of stale) void connection.close();
  }

  #closedError(): SignetError {
    return new SignetError('UNAVAILABLE', `${this.#options.location}: the database is closed`);
  }
}
