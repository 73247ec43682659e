/**
 * Rows that were read lately. A row is used without asking the database while it is fresh; in the second half of its
 * time it is refreshed in the background, together with others; past its time the caller waits for the database.
 */
import type { KeyId } from '../../crypto/key-id.ts';
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
  /** Who asks meanwhile shares the answer, unless the row was invalidated since the database was asked. */
  readonly #reading = new Map<KeyId, Promise<KeyRow | undefined>>();
  readonly #stale = new Set<KeyId>();
  /** What the refresh under way may still keep: an invalidated row is taken out. */
  readonly #refreshing = new Set<KeyId>();
  #timer: NodeJS.Timeout | undefined;
  #isRefreshing = false;

  constructor(options: RowCacheOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** @throws {SignetError} UNAVAILABLE if the row is too old and the database does not answer; INTEGRITY */
  async get(keyId: KeyId): Promise<KeyRow | undefined> {
    const entry = this.#entries.get(keyId);
    const age = entry === undefined ? Number.POSITIVE_INFINITY : this.#now() - entry.readAt;
    if (entry === undefined || age >= this.#options.maxAgeMs) return this.#reading.get(keyId) ?? this.#read(keyId);
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

  /** Notes the first use of a row that is still held; neither its age nor an invalidation is undone. */
  markUsed(keyId: KeyId): void {
    const entry = this.#entries.get(keyId);
    if (entry !== undefined) entry.row = { ...entry.row, isUsed: true };
  }

  /**
   * The next use asks the database. Without an ID: for every row.
   *
   * Answers to questions of before may show the row as it was: they reach who asked, but are not kept.
   */
  invalidate(keyId?: KeyId): void {
    for (const rows of [this.#entries, this.#reading, this.#refreshing]) {
      if (keyId === undefined) rows.clear();
      else rows.delete(keyId);
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#entries.clear();
  }

  #read(keyId: KeyId): Promise<KeyRow | undefined> {
    const readAt = this.#now();
    const isCurrent = () => this.#reading.get(keyId) === reading;
    const reading = this.#options.source
      .find(keyId)
      .then((row) => {
        if (isCurrent()) this.#keep(keyId, row, readAt);
        return row;
      })
      .finally(() => {
        if (isCurrent()) this.#reading.delete(keyId);
      });
    this.#reading.set(keyId, reading);
    return reading;
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
    if (this.#refreshing.has(keyId)) return;
    this.#stale.add(keyId);
    // One at a time: refreshes of a slow database must not take all connections from those who wait for an answer.
    if (this.#isRefreshing) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#refresh();
    }, GATHER_MS);
  }

  async #refresh(): Promise<void> {
    const keyIds = [...this.#stale];
    this.#stale.clear();
    for (const keyId of keyIds) this.#refreshing.add(keyId);
    this.#isRefreshing = true;
    const readAt = this.#now();
    try {
      const rows = await this.#options.source.findAll(keyIds);
      for (const keyId of this.#refreshing) this.#keep(keyId, rows.get(keyId), readAt);
    } catch {
      // The rows age on; who needs one past its time asks again and is told.
    } finally {
      this.#refreshing.clear();
      this.#isRefreshing = false;
    }
  }
}
