/**
 * Rows that were read lately. A row is used without asking the database while it is fresh; in the second half of its
 * time it is refreshed in the background, together with others; past its time the caller waits for the database.
 */
import type { KeyId } from '../../crypto/key-id.ts';
import { SingleFlight } from '../single-flight.ts';
import type { KeyRow } from './key-table.ts';

export interface RowSource {
  find(keyId: KeyId): Promise<KeyRow | undefined>;
  findAll(keyIds: readonly KeyId[]): Promise<ReadonlyMap<KeyId, KeyRow>>;
}

interface Entry {
  row: KeyRow;
  /** When the database was asked, milliseconds. */
  readAt: number;
}

export interface RowCacheOptions {
  readonly source: RowSource;
  /** How old a row may be at most when it is used, milliseconds. */
  readonly maxAgeMs: number;
  readonly max: number;
  /** A row is gone: deleted, here or by another daemon. */
  readonly onGone: (keyId: KeyId) => void;
  readonly now?: () => number;
}

/** Rows to refresh are gathered this long, milliseconds. */
const GATHER_MS = 20;

export class RowCache implements Disposable {
  readonly #options: RowCacheOptions;
  readonly #now: () => number;
  readonly #entries = new Map<KeyId, Entry>();
  readonly #reading = new SingleFlight<KeyId, KeyRow | undefined>();
  readonly #stale = new Set<KeyId>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: RowCacheOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** @throws {SignetError} UNAVAILABLE if the row is too old and the database does not answer; INTEGRITY */
  async get(keyId: KeyId): Promise<KeyRow | undefined> {
    const entry = this.#entries.get(keyId);
    const age = entry === undefined ? Number.POSITIVE_INFINITY : this.#now() - entry.readAt;
    if (entry === undefined || age >= this.#options.maxAgeMs) return this.#reading.run(keyId, () => this.#read(keyId));
    if (age >= this.#options.maxAgeMs / 2) this.#refreshSoon(keyId);
    return entry.row;
  }

  put(row: KeyRow, readAt: number = this.#now()): void {
    this.#entries.delete(row.keyId);
    this.#entries.set(row.keyId, { row, readAt });
    if (this.#entries.size <= this.#options.max) return;
    const [oldest] = this.#entries.keys();
    if (oldest !== undefined) this.#entries.delete(oldest);
  }

  /** The next use asks the database. Without an ID: for every row. */
  invalidate(keyId?: KeyId): void {
    if (keyId === undefined) this.#entries.clear();
    else this.#entries.delete(keyId);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#entries.clear();
  }

  async #read(keyId: KeyId): Promise<KeyRow | undefined> {
    const readAt = this.#now();
    const row = await this.#options.source.find(keyId);
    this.#keep(keyId, row, readAt);
    return row;
  }

  #keep(keyId: KeyId, row: KeyRow | undefined, readAt: number): void {
    if (row !== undefined) {
      this.put(row, readAt);
      return;
    }
    this.#entries.delete(keyId);
    this.#options.onGone(keyId);
  }

  #refreshSoon(keyId: KeyId): void {
    this.#stale.add(keyId);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#refresh();
    }, GATHER_MS);
  }

  async #refresh(): Promise<void> {
    const keyIds = [...this.#stale];
    this.#stale.clear();
    const readAt = this.#now();
    try {
      const rows = await this.#options.source.findAll(keyIds);
      for (const keyId of keyIds) this.#keep(keyId, rows.get(keyId), readAt);
    } catch {
      // The rows age on; who needs one past its time asks again and is told.
    }
  }
}
