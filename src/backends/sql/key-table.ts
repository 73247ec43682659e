/**
 * notary-signer's table `private_keys`, statement by statement. The statements are the same for every database; where
 * they differ, `Dialect` says so.
 */
import { isKeyId, type KeyId, keyIdOf } from '../../crypto/key-id.ts';
import type { PublicKey } from '../../crypto/public-key.ts';
import { SignetError } from '../../errors.ts';
import type { SqlDatabase, SqlQueries, SqlValue } from './database.ts';

/** One row that is not deleted. */
export interface KeyRow {
  readonly keyId: KeyId;
  readonly publicKey: PublicKey;
  /** Passphrase alias: which variable opens `token`. */
  readonly alias: string;
  /** Compact JWE of the private half. */
  readonly token: string;
  readonly role: string;
  readonly gun: string;
  /** Whether it has ever signed; a key that has not may be given again by CreateKey. */
  readonly isUsed: boolean;
  /** Milliseconds since the epoch, where the table tells it. */
  readonly lastUsedAt?: number;
}

/** What is written; the rest of the columns follows from it. */
export type NewKeyRow = Omit<KeyRow, 'isUsed' | 'lastUsedAt'>;

/** A row for maintenance: deleted or not, and not checked. */
export interface SealedRow {
  readonly id: number;
  readonly keyId: string;
  readonly token: string;
}

/** Columns of 255, 50 and 50 characters; longer values would be cut or refused by the database. */
const MAX_CHARACTERS = { gun: 255, role: 255, alias: 50 } as const;
/** Rows of one page of a listing, and keys of one IN list. */
const PAGE = 500;
/** Pending keys that are looked at at once: nearly always there is one at most. */
const PENDING_PAGE = 20;

const COLUMNS = 'id, key_id, algorithm, passphrase_alias, public, private, gun, role, last_used';

export class KeyTable {
  readonly #database: SqlDatabase;

  constructor(database: SqlDatabase) {
    this.#database = database;
  }

  async find(keyId: KeyId, queries: SqlQueries = this.#database): Promise<KeyRow | undefined> {
    const [row] = await queries.query(
      `SELECT ${COLUMNS} FROM private_keys WHERE key_id = ? AND deleted_at IS NULL ORDER BY id LIMIT 1`,
      [keyId],
    );
    return row === undefined ? undefined : toKeyRow(row, this.#database.dialect);
  }

  /** Several at once. Rows that are damaged are left out: whoever needs one finds it alone and is told. */
  async findAll(keyIds: readonly KeyId[]): Promise<ReadonlyMap<KeyId, KeyRow>> {
    const found = new Map<KeyId, KeyRow>();
    for (let start = 0; start < keyIds.length; start += PAGE) {
      const page = keyIds.slice(start, start + PAGE);
      const rows = await this.#database.query(
        `SELECT ${COLUMNS} FROM private_keys WHERE key_id IN (${placeholders(page.length)}) AND deleted_at IS NULL`,
        padded(page),
      );
      for (const row of rows) {
        try {
          const key = toKeyRow(row, this.#database.dialect);
          found.set(key.keyId, key);
        } catch {
          // damaged
        }
      }
    }
    return found;
  }

  /** The unused key that CreateKey gives again: notary-signer's choice where there are several. */
  async findPending(
    owner: { readonly role: string; readonly gun: string; readonly algorithm: string },
    queries: SqlQueries = this.#database,
  ): Promise<KeyRow | undefined> {
    const wanted = [owner.gun, owner.role, owner.algorithm];
    for (let after: string | undefined; ; ) {
      const rows = await queries.query(
        `SELECT ${COLUMNS} FROM private_keys
          WHERE gun = ? AND role = ? AND algorithm = ? AND last_used IS NULL AND deleted_at IS NULL
            ${after === undefined ? '' : 'AND key_id > ?'}
          ORDER BY key_id, id LIMIT ${PENDING_PAGE}`,
        after === undefined ? wanted : [...wanted, after],
      );
      // MySQL's collation takes GUNs that differ in case, accents or trailing blanks for one: they are not.
      const same = rows.find((row) => row['gun'] === owner.gun && row['role'] === owner.role);
      if (same !== undefined) return toKeyRow(same, this.#database.dialect);
      if (rows.length < PENDING_PAGE) return undefined;
      after = text(rows.at(-1)?.['key_id']);
    }
  }

  /** @throws {SignetError} KEY_EXISTS also if the key was deleted before: its row stays; INVALID_ARGUMENT */
  async insert(row: NewKeyRow, now: Date, queries: SqlQueries = this.#database): Promise<void> {
    for (const name of ['gun', 'role', 'alias'] as const) {
      if ([...row[name]].length > MAX_CHARACTERS[name]) {
        throw new SignetError(
          'INVALID_ARGUMENT',
          `${name} is longer than the table's ${MAX_CHARACTERS[name]} characters`,
        );
      }
    }
    const time = this.#time(now);
    await queries.execute(
      `INSERT INTO private_keys (created_at, updated_at, key_id, encryption_alg, keywrap_alg, algorithm,
         passphrase_alias, public, private, gun, role)
       VALUES (?, ?, ?, 'A256GCM', 'PBES2-HS256+A128KW', ?, ?, ?, ?, ?, ?)`,
      [
        time,
        time,
        row.keyId,
        row.publicKey.algorithm,
        row.alias,
        Buffer.from(row.publicKey.bytes),
        Buffer.from(row.token, 'latin1'),
        row.gun,
        row.role,
      ],
    );
  }

  /** notary-signer's soft delete: the row stays. @returns How many rows. */
  softDelete(keyId: KeyId, now: Date, queries: SqlQueries = this.#database): Promise<number> {
    return queries.execute('UPDATE private_keys SET deleted_at = ? WHERE deleted_at IS NULL AND key_id = ?', [
      this.#time(now),
      keyId,
    ]);
  }

  /** @returns How many of the keys are still there. */
  async markUsed(keyIds: readonly KeyId[], now: Date): Promise<number> {
    const time = this.#time(now);
    let marked = 0;
    for (let start = 0; start < keyIds.length; start += PAGE) {
      const page = keyIds.slice(start, start + PAGE);
      marked += await this.#database.execute(
        `UPDATE private_keys SET last_used = ?, updated_at = ?
          WHERE deleted_at IS NULL AND key_id IN (${placeholders(page.length)})`,
        [time, time, ...padded(page)],
      );
    }
    return marked;
  }

  /** Every row that is not deleted, page by page, in the order of `id`. */
  async *list(report: (keyId: string, error: SignetError) => void): AsyncIterable<KeyRow> {
    for (let after = 0; ; ) {
      const rows = await this.#database.query(
        `SELECT ${COLUMNS} FROM private_keys WHERE id > ? AND deleted_at IS NULL ORDER BY id LIMIT ${PAGE}`,
        [after],
      );
      for (const row of rows) {
        try {
          yield toKeyRow(row, this.#database.dialect);
        } catch (error) {
          report(String(row['key_id']), error as SignetError);
        }
      }
      const last = rows.at(-1)?.['id'];
      if (rows.length < PAGE || typeof last !== 'number') return;
      after = last;
    }
  }

  async count(): Promise<number> {
    const [row] = await this.#database.query('SELECT COUNT(*) AS keys_held FROM private_keys WHERE deleted_at IS NULL');
    return Number(row?.['keys_held'] ?? 0);
  }

  /** Whether the table is there and has notary-signer's columns. @throws {SignetError} as `SqlQueries.query` */
  async probe(): Promise<void> {
    await this.#database.query(`SELECT ${COLUMNS}, created_at, updated_at, deleted_at FROM private_keys WHERE id = 0`);
  }

  /**
   * The aliases that rows are sealed under.
   *
   * @param isIndexed Whether `signet_alias` is there: then each is found by skipping to it, without it all rows are read once.
   */
  async aliases(isIndexed: boolean): Promise<readonly string[]> {
    if (!isIndexed) {
      const rows = await this.#database.query(
        'SELECT DISTINCT passphrase_alias FROM private_keys WHERE deleted_at IS NULL',
      );
      return rows.map((row) => text(row['passphrase_alias']));
    }
    const found: string[] = [];
    for (let last = ''; ; ) {
      const [row] = await this.#database.query(
        `SELECT passphrase_alias FROM private_keys
          WHERE passphrase_alias > ? AND deleted_at IS NULL ORDER BY passphrase_alias LIMIT 1`,
        [last],
      );
      const alias = row?.['passphrase_alias'];
      // Under a case-insensitive collation "A" > "a" is false: the chain still ends.
      if (typeof alias !== 'string' || alias === last) return found;
      found.push(alias);
      last = alias;
    }
  }

  /**
   * Rows sealed under an alias, deleted ones included, from `afterId` on. On MySQL also those whose alias differs in
   * case: their passphrase has the same variable.
   */
  async sealedUnder(alias: string, afterId: number, limit: number): Promise<readonly SealedRow[]> {
    const rows = await this.#database.query(
      `SELECT id, key_id, private FROM private_keys
        WHERE passphrase_alias = ? AND id > ? ORDER BY id LIMIT ${limit}`,
      [alias, afterId],
    );
    return rows.map(toSealedRow);
  }

  /** The rows that were made last under an alias, without deleted ones. */
  async newestSealedUnder(alias: string, limit: number): Promise<readonly SealedRow[]> {
    const rows = await this.#database.query(
      `SELECT id, key_id, private FROM private_keys
        WHERE passphrase_alias = ? AND deleted_at IS NULL ORDER BY id DESC LIMIT ${limit}`,
      [alias],
    );
    return rows.map(toSealedRow);
  }

  async countSealedUnder(alias: string): Promise<number> {
    const [row] = await this.#database.query(
      'SELECT COUNT(*) AS keys_held FROM private_keys WHERE passphrase_alias = ?',
      [alias],
    );
    return Number(row?.['keys_held'] ?? 0);
  }

  /** Replaces a token if it is still the one that was read. @returns False if somebody else changed the row. */
  async reseal(
    row: SealedRow,
    from: string,
    to: { readonly alias: string; readonly token: string },
    now: Date,
  ): Promise<boolean> {
    const changed = await this.#database.execute(
      `UPDATE private_keys SET private = ?, passphrase_alias = ?, updated_at = ?
        WHERE id = ? AND passphrase_alias = ? AND private = ?`,
      [Buffer.from(to.token, 'latin1'), to.alias, this.#time(now), row.id, from, Buffer.from(row.token, 'latin1')],
    );
    return changed === 1;
  }

  /** Rows that were soft-deleted before a time, from `afterId` on. */
  async deletedBefore(before: Date, afterId: number, limit: number): Promise<readonly number[]> {
    const rows = await this.#database.query(
      `SELECT id FROM private_keys WHERE id > ? AND deleted_at < ? ORDER BY id LIMIT ${limit}`,
      [afterId, this.#time(before)],
    );
    return rows.map((row) => Number(row['id']));
  }

  /** Removes soft-deleted rows for good. @returns How many. */
  purge(ids: readonly number[]): Promise<number> {
    const list = placeholders(ids.length);
    return this.#database.execute(
      `DELETE FROM private_keys WHERE deleted_at IS NOT NULL AND id IN (${list})`,
      padded(ids),
    );
  }

  /** UTC, in the precision of the column. */
  #time(date: Date): string {
    const text = date.toISOString().replace('T', ' ').replace('Z', '');
    return this.#database.dialect === 'mysql' ? text.slice(0, 19) : text;
  }
}

/** Lengths of IN lists. Servers prepare each length once, so there are few; a list is filled up with its last value. */
const LIST_LENGTHS = [1, 8, 64, PAGE];

function listLength(count: number): number {
  return LIST_LENGTHS.find((length) => length >= count) ?? count;
}

function placeholders(count: number): string {
  return Array.from({ length: listLength(count) }, () => '?').join(', ');
}

function padded<Value>(values: readonly Value[]): readonly Value[] {
  const last = values.at(-1);
  if (last === undefined) return values;
  return [...values, ...Array.from({ length: listLength(values.length) - values.length }, () => last)];
}

function toSealedRow(row: Readonly<Record<string, SqlValue>>): SealedRow {
  return { id: Number(row['id']), keyId: text(row['key_id']), token: text(row['private']) };
}

function toKeyRow(row: Readonly<Record<string, SqlValue>>, dialect: SqlDatabase['dialect']): KeyRow {
  const keyId = text(row['key_id']);
  if (!isKeyId(keyId)) throw new SignetError('INTEGRITY', `row ${row['id']} has no valid key_id`);
  const algorithm = text(row['algorithm']);
  if (algorithm !== 'ecdsa' && algorithm !== 'ed25519') {
    throw new SignetError(
      'INTEGRITY',
      `key ${keyId} has the unknown algorithm "${algorithm.slice(0, 50)}" in the table`,
    );
  }
  const bytes = row['public'];
  if (!(bytes instanceof Buffer)) throw new SignetError('INTEGRITY', `key ${keyId} has no public half in the table`);
  const publicKey = { algorithm, bytes } as const;
  if (keyIdOf(publicKey) !== keyId) {
    throw new SignetError('INTEGRITY', `the row of key ${keyId} holds the public half of another key`);
  }
  const lastUsedAt = dialect === 'postgres' ? undefined : parseTime(row['last_used']);
  return {
    keyId,
    publicKey,
    alias: text(row['passphrase_alias']),
    token: text(row['private']),
    role: text(row['role']),
    gun: text(row['gun']),
    isUsed: row['last_used'] !== null,
    ...(lastUsedAt !== undefined && { lastUsedAt }),
  };
}

/**
 * UTC, as notary-signer and Signet write it. Not on PostgreSQL: there the column has no zone, and notary-signer writes the
 * time of its own one.
 */
function parseTime(value: SqlValue | undefined): number | undefined {
  const [, date, time] = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d{1,9})?)$/.exec(text(value)) ?? [];
  const milliseconds = Date.parse(`${date}T${time}Z`);
  return Number.isNaN(milliseconds) ? undefined : milliseconds;
}

function text(value: SqlValue | undefined): string {
  if (value instanceof Buffer) return value.toString('latin1');
  return value === null || value === undefined ? '' : String(value);
}
