/** What every server database takes besides its data source. */

export interface ServerOptions {
  /** Of this process. Each costs the server memory; eight keep it busy. */
  readonly maxConnections?: number;
  /** Bound of one statement, of waiting for a lock, and of waiting for a free connection. */
  readonly statementTimeoutMs?: number;
  /** Of all servers of the data source together. */
  readonly connectTimeoutMs?: number;
}

export const DEFAULT_MAX_CONNECTIONS = 8;
export const DEFAULT_STATEMENT_TIMEOUT_MS = 5000;
export const DEFAULT_CONNECT_TIMEOUT_MS = 5000;

/** How long after the server should have given up on a statement we give up on the server. */
export const ANSWER_GRACE_MS = 1000;
/** A peer that vanished is noticed after this and ten probes, one each second. */
export const KEEP_ALIVE_DELAY_MS = 10_000;
/** A transaction that its process has forgotten must not hold its locks for ever. */
export const IDLE_TRANSACTION_TIMEOUT_MS = 30_000;
