/** `signetd -migrate`, `-rewrap`, `-purge-deleted`: work on the SQL table; daemons may serve from it meanwhile. */
import type { SqlDatabase } from '../backends/sql/database.ts';
import type { KeyTable } from '../backends/sql/key-table.ts';
import type { Secret } from '../crypto/secret.ts';
import { SignetError } from '../errors.ts';
import { aliasVariable, passphraseOfAlias } from '../keyring/unlock.ts';
import type { Config, MaintenanceTask, SqlStorageConfig } from './config.ts';
import { describeError, type Logger } from './log.ts';
import { Progress } from './progress.ts';

/** An index over a million rows, or a look for deleted ones, takes longer than any statement of a serving daemon. */
const STATEMENT_TIMEOUT_MS = 600_000;

export interface MaintenanceOptions {
  readonly task: MaintenanceTask;
  readonly config: Config;
  readonly env: NodeJS.ProcessEnv;
  readonly log: Logger;
  /** Results, one line each. */
  readonly print: (line: string) => void;
  readonly signal: AbortSignal;
}

/** @throws {SignetError} CONFIGURATION, UNAVAILABLE, CANCELLED; every task can be started again */
export async function runMaintenance({ task, config, env, log, print, signal }: MaintenanceOptions): Promise<number> {
  const { storage } = config;
  if (storage.backend === 'file' || storage.backend === 'memory') {
    throw new SignetError('CONFIGURATION', `storage.backend is "${storage.backend}": there is no table to work on`);
  }
  const { openDatabase } = await import('../backends/sql/open-database.ts');
  await using database = await openDatabase({ ...storage, statementTimeoutMs: STATEMENT_TIMEOUT_MS });
  switch (task.kind) {
    case 'migrate':
      return await migrateTable(database, print);
    case 'rewrap':
      return await rewrapKeys(database, task, { storage, env, log, print, signal });
    case 'purge':
      // Nothing was deleted before 1970, and the databases' times do not all reach further back.
      return await purgeKeys(database, new Date(Math.max(0, Date.now() - task.olderThanMs)), { print, signal });
  }
}

async function migrateTable(database: SqlDatabase, print: (line: string) => void): Promise<number> {
  const { migrate } = await import('../backends/sql/schema.ts');
  const done = await migrate(database);
  for (const what of done) print(`created ${what} in ${database.location}`);
  if (done.length === 0) print(`nothing to do: ${database.location} is up to date`);
  return 0;
}

async function rewrapKeys(
  database: SqlDatabase,
  task: { readonly from: string; readonly to: string },
  options: Pick<MaintenanceOptions, 'env' | 'log' | 'print' | 'signal'> & { readonly storage: SqlStorageConfig },
): Promise<number> {
  const { env, log, print, signal, storage } = options;
  const { rewrap } = await import('../backends/sql/maintenance.ts');
  using from = requirePassphrase(env, task.from);
  using to = requirePassphrase(env, task.to);
  const table = await openTable(database);
  const progress = new Progress('keys re-wrapped');
  const { rewrapped, skipped, changed } = await rewrap({
    table,
    from: { alias: task.from, passphrase: from },
    to: { alias: task.to, passphrase: to },
    p2c: storage.p2c,
    onProgress: (done, total) => progress.show(done, total),
    onSkipped: (keyId, error) => log.error({ keyId, ...describeError(error, log) }, 'key left as it is'),
    signal,
  }).finally(() => progress.end());
  print(`${rewrapped} keys re-wrapped from "${task.from}" to "${task.to}", ${skipped} left as they are (see the log)`);
  if (changed > 0) print(`${changed} keys changed meanwhile: start it again to look at them`);
  return skipped + changed === 0 ? 0 : 1;
}

async function purgeKeys(
  database: SqlDatabase,
  before: Date,
  { print, signal }: Pick<MaintenanceOptions, 'print' | 'signal'>,
): Promise<number> {
  const { purgeDeleted } = await import('../backends/sql/maintenance.ts');
  const table = await openTable(database);
  const progress = new Progress('keys purged');
  const purged = await purgeDeleted(table, before, (done) => progress.show(done, undefined), signal).finally(() =>
    progress.end(),
  );
  print(`${purged} keys that were deleted before ${before.toISOString()} are gone for good`);
  return 0;
}

/** @throws {SignetError} CONFIGURATION if the table is missing, with the remedy */
async function openTable(database: SqlDatabase): Promise<KeyTable> {
  const [{ KeyTable }, { checkSchema }] = await Promise.all([
    import('../backends/sql/key-table.ts'),
    import('../backends/sql/schema.ts'),
  ]);
  const table = new KeyTable(database);
  await checkSchema(table);
  return table;
}

function requirePassphrase(env: NodeJS.ProcessEnv, alias: string): Secret {
  const passphrase = passphraseOfAlias(env, alias);
  if (passphrase !== undefined) return passphrase;
  throw new SignetError('CONFIGURATION', `the passphrase of alias "${alias}" is not set`, {
    hint: `set ${aliasVariable(alias)}`,
  });
}
