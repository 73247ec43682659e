/** Configuration → backend. Modules are imported only when configured, so that nobody pays for what they do not use. */

import type { Secret } from '../crypto/secret.ts';
import type { SignetError } from '../errors.ts';
import type { KeyBackend, PassphraseSource } from './backend.ts';
import type { DatabaseOptions } from './sql/open-database.ts';

export type StorageOptions =
  | { readonly backend: 'file'; readonly path: string; readonly unlockedTtlMs: number; readonly unlockedMax: number }
  | { readonly backend: 'memory' }
  | SqlStorageOptions;

export interface SqlStorageOptions extends DatabaseOptions {
  readonly defaultAlias: string;
  readonly p2c: number;
  readonly revalidateMs: number;
  readonly lastUsedMs: number;
  readonly unlockedTtlMs: number;
  readonly unlockedMax: number;
}

export interface OpenContext {
  /** For homes that seal keys. */
  readonly passphrases: () => Promise<PassphraseSource>;
  readonly passphraseOfAlias: (alias: string) => Secret | undefined;
  /** The variable that holds it. */
  readonly variableOfAlias: (alias: string) => string;
  /** Keys that are left out of a listing: a path or a key ID, and why. */
  readonly onUnreadable: (what: string, error: SignetError) => void;
  /** Failures that no caller is told. */
  readonly onError: (what: string, error: unknown) => void;
}

/** Less would mean opening a key several times for one call. */
const MIN_UNLOCKED_MS = 1000;

/** @throws {SignetError} CONFIGURATION, UNAVAILABLE */
export async function openStorage(options: StorageOptions, context: OpenContext): Promise<KeyBackend> {
  switch (options.backend) {
    case 'file': {
      const { FileBackend } = await import('./file/file-backend.ts');
      return FileBackend.open({
        path: options.path,
        passphrases: await context.passphrases(),
        unlocked: unlockedBounds(options),
        onUnreadable: context.onUnreadable,
      });
    }
    case 'memory': {
      const { MemoryBackend } = await import('./memory/memory-backend.ts');
      return new MemoryBackend();
    }
    case 'mysql':
    case 'postgres':
    case 'sqlite3':
      return openSql(options, context);
  }
}

async function openSql(options: SqlStorageOptions, context: OpenContext): Promise<KeyBackend> {
  const [{ openDatabase }, { SqlBackend }] = await Promise.all([
    import('./sql/open-database.ts'),
    import('./sql/sql-backend.ts'),
  ]);
  const database = await openDatabase(options);
  try {
    return await SqlBackend.open({
      database,
      defaultAlias: options.defaultAlias,
      passphraseOf: context.passphraseOfAlias,
      variableOf: context.variableOfAlias,
      p2c: options.p2c,
      unlocked: unlockedBounds(options),
      revalidateMs: options.revalidateMs,
      lastUsedMs: options.lastUsedMs,
      onUnreadable: context.onUnreadable,
      onError: context.onError,
    });
  } catch (error) {
    await database[Symbol.asyncDispose]();
    throw error;
  }
}

function unlockedBounds(options: { readonly unlockedMax: number; readonly unlockedTtlMs: number }) {
  return { max: options.unlockedMax, ttlMs: Math.max(options.unlockedTtlMs, MIN_UNLOCKED_MS) };
}
