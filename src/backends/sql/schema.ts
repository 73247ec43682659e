/**
 * The table as notary's migrations make it, and two indexes of our own that notary-signer does not notice: with them
 * CreateKey and the start stay quick however many rows there are.
 */
import { SignetError } from '../../errors.ts';
import type { SqlDatabase, SqlQueries } from './database.ts';
import type { KeyTable } from './key-table.ts';

const TABLE: Readonly<Record<SqlDatabase['dialect'], string>> = {
  // Character set, lengths and key names are those of migrations/signer/mysql.
  mysql: `CREATE TABLE IF NOT EXISTS private_keys (
    id int(11) NOT NULL AUTO_INCREMENT,
    created_at timestamp NULL DEFAULT NULL,
    updated_at timestamp NULL DEFAULT NULL,
    deleted_at timestamp NULL DEFAULT NULL,
    key_id varchar(255) NOT NULL,
    encryption_alg varchar(255) NOT NULL,
    keywrap_alg varchar(255) NOT NULL,
    algorithm varchar(50) NOT NULL,
    passphrase_alias varchar(50) NOT NULL,
    public blob NOT NULL,
    private blob NOT NULL,
    gun varchar(255) NOT NULL,
    role varchar(255) NOT NULL,
    last_used datetime NULL DEFAULT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY key_id (key_id),
    UNIQUE KEY key_id_2 (key_id, algorithm)
  ) ENGINE=InnoDB DEFAULT CHARSET=utf8`,
  postgres: `CREATE TABLE IF NOT EXISTS private_keys (
    id serial PRIMARY KEY,
    created_at timestamp NULL DEFAULT NULL,
    updated_at timestamp NULL DEFAULT NULL,
    deleted_at timestamp NULL DEFAULT NULL,
    key_id varchar(255) NOT NULL,
    encryption_alg varchar(255) NOT NULL,
    keywrap_alg varchar(255) NOT NULL,
    algorithm varchar(50) NOT NULL,
    passphrase_alias varchar(50) NOT NULL,
    public bytea NOT NULL,
    private bytea NOT NULL,
    gun varchar(255) NOT NULL,
    role varchar(255) NOT NULL,
    last_used timestamp NULL DEFAULT NULL,
    CONSTRAINT key_id UNIQUE (key_id),
    CONSTRAINT key_id_2 UNIQUE (key_id, algorithm)
  )`,
  sqlite: `CREATE TABLE IF NOT EXISTS private_keys (
    id integer PRIMARY KEY AUTOINCREMENT,
    created_at datetime,
    updated_at datetime,
    deleted_at datetime,
    key_id varchar(255) NOT NULL UNIQUE,
    encryption_alg varchar(255) NOT NULL,
    keywrap_alg varchar(255) NOT NULL,
    algorithm varchar(50) NOT NULL,
    passphrase_alias varchar(50) NOT NULL,
    public blob NOT NULL,
    private blob NOT NULL,
    gun varchar(255) NOT NULL,
    role varchar(255) NOT NULL,
    last_used datetime
  )`,
};

/** Name → columns. Pending keys are few in a GUN, so the index needs no more than what leads to them. */
const INDEXES = { signet_pending: 'gun, role', signet_alias: 'passphrase_alias' } as const;
type IndexName = keyof typeof INDEXES;
const INDEX_NAMES = Object.keys(INDEXES) as IndexName[];

/** How to ask whether something exists, by `?` = its name. Inside a transaction a failed look would end it. */
const EXISTS: Readonly<Record<SqlDatabase['dialect'], { readonly table: string; readonly index: string }>> = {
  mysql: {
    table: 'SELECT 1 AS found FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?',
    index: `SELECT 1 AS found FROM information_schema.statistics
             WHERE table_schema = DATABASE() AND table_name = 'private_keys' AND index_name = ? LIMIT 1`,
  },
  postgres: {
    table: 'SELECT 1 AS found FROM pg_tables WHERE schemaname = ANY (current_schemas(false)) AND tablename = ?',
    index: 'SELECT 1 AS found FROM pg_indexes WHERE schemaname = ANY (current_schemas(false)) AND indexname = ?',
  },
  sqlite: {
    table: "SELECT 1 AS found FROM sqlite_master WHERE type = 'table' AND name = ?",
    index: "SELECT 1 AS found FROM sqlite_master WHERE type = 'index' AND name = ?",
  },
};

/**
 * Creates what is missing; changes and removes nothing.
 *
 * @returns What was created, for the operator.
 * @throws {SignetError} CONFIGURATION (rights), UNAVAILABLE
 */
export function migrate(database: SqlDatabase): Promise<readonly string[]> {
  const exists = EXISTS[database.dialect];
  return database.exclusively('signet/migrate', async (queries) => {
    const done: string[] = [];
    if ((await queries.query(exists.table, ['private_keys'])).length === 0) {
      await queries.execute(TABLE[database.dialect]);
      done.push('table private_keys');
    }
    for (const name of await missingIndexes(database, queries)) {
      await queries.execute(`CREATE INDEX ${name} ON private_keys (${INDEXES[name]})`);
      done.push(`index ${name}`);
    }
    return done;
  });
}

/** Those of our own that `migrate` would make. @throws {SignetError} as `SqlQueries.query` */
export async function missingIndexes(
  { dialect }: Pick<SqlDatabase, 'dialect'>,
  queries: SqlQueries,
): Promise<readonly IndexName[]> {
  const missing: IndexName[] = [];
  for (const name of INDEX_NAMES) {
    if ((await queries.query(EXISTS[dialect].index, [name])).length === 0) missing.push(name);
  }
  return missing;
}

/** @throws {SignetError} CONFIGURATION if the table is missing or has other columns */
export async function checkSchema(table: KeyTable): Promise<void> {
  try {
    await table.probe();
  } catch (error) {
    if (!(error instanceof SignetError) || error.code !== 'CONFIGURATION') throw error;
    throw new SignetError('CONFIGURATION', `cannot use the table private_keys: ${error.message}`, {
      hint: 'create it with: signetd -config FILE -migrate',
      cause: error,
    });
  }
}
