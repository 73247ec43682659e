/** `storage.db_url` → an open database. Each driver is imported only when it is configured. */
import { userInfo } from 'node:os';
import type { SqlDatabase } from './database.ts';

export interface DatabaseOptions {
  readonly backend: 'mysql' | 'postgres' | 'sqlite3';
  /** As notary-signer takes it. Holds a password. */
  readonly dbUrl: string;
  /** Where the relative path of a SQLite file starts. */
  readonly baseDirectory: string;
  /** For lib/pq's variables (`PGHOST`, …). */
  readonly env: NodeJS.ProcessEnv;
  readonly maxConnections: number;
  /** Undefined: what the data source says, else our default. */
  readonly statementTimeoutMs: number | undefined;
}

/** @throws {SignetError} CONFIGURATION, UNAVAILABLE; never with anything of the data source but host and database */
export async function openDatabase(options: DatabaseOptions): Promise<SqlDatabase> {
  const { dbUrl, baseDirectory, env, maxConnections, statementTimeoutMs } = options;
  const bounds = { maxConnections, ...(statementTimeoutMs !== undefined && { statementTimeoutMs }) };
  switch (options.backend) {
    case 'mysql': {
      const [{ parseMysqlDataSource }, { MysqlDatabase }] = await Promise.all([
        import('./mysql-data-source-name.ts'),
        import('./mysql-database.ts'),
      ]);
      return MysqlDatabase.open(parseMysqlDataSource(dbUrl), bounds);
    }
    case 'postgres': {
      const [{ parsePostgresDataSource }, { PostgresDatabase }] = await Promise.all([
        import('./postgres-data-source-name.ts'),
        import('./postgres-database.ts'),
      ]);
      return PostgresDatabase.open(parsePostgresDataSource(dbUrl, { env, ...currentUser() }), bounds);
    }
    case 'sqlite3': {
      const [{ parseSqliteDataSource }, { SqliteDatabase }] = await Promise.all([
        import('./data-source-name.ts'),
        import('./sqlite-database.ts'),
      ]);
      return SqliteDatabase.open(parseSqliteDataSource(dbUrl, baseDirectory), bounds);
    }
  }
}

/** A container's user often has no entry in the user database. */
function currentUser(): { readonly userName: string | undefined; readonly homeDirectory: string | undefined } {
  try {
    const { username, homedir } = userInfo();
    return { userName: username, homeDirectory: homedir };
  } catch {
    return { userName: undefined, homeDirectory: undefined };
  }
}
