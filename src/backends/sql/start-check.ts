/** What is looked at before a daemon serves from a table: that it is there, quick to search, and that its keys open. */
import { type DeriveKey, openKeyJwe } from '../../crypto/jwe.ts';
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import type { SqlDatabase } from './database.ts';
import type { KeyTable } from './key-table.ts';
import { checkSchema, missingIndexes } from './schema.ts';

export interface StartCheckOptions {
  readonly database: SqlDatabase;
  readonly table: KeyTable;
  /** Alias of new keys. */
  readonly defaultAlias: string;
  /** The passphrase of an alias; undefined if its variable is not set. The check disposes of it. */
  readonly passphraseOf: (alias: string) => Secret | undefined;
  /** The variable's name, for messages. */
  readonly variableOf: (alias: string) => string;
  readonly derive: DeriveKey;
  /** The daemon can serve, but the operator should do something. */
  readonly onAdvice: (advice: string, hint: string) => void;
  /** Keys of an alias cannot be used. */
  readonly onError: (what: string, error: SignetError) => void;
}

/** Keys of each alias that are opened, to see whether its passphrase is the right one. */
const CHECKED_KEYS = 5;

/** @throws {SignetError} CONFIGURATION, UNAVAILABLE */
export async function checkStart(options: StartCheckOptions): Promise<void> {
  const { database, table, onAdvice } = options;
  await checkSchema(table);
  const missing = await missingIndexes(database, database);
  if (missing.length > 0) {
    // Told first: without them, what follows may take too long.
    onAdvice(
      `the table private_keys has no index ${missing.join(', ')}: with many keys, starts and new keys take seconds`,
      'run: signetd -config FILE -migrate',
    );
  }
  await checkAliases(options, await table.aliases(!missing.includes('signet_alias')));
}

/**
 * That the passphrase of every alias is at hand, and is the right one as far as a few of its newest keys tell. A wrong one
 * for new keys ends the start: they would be sealed under a typing mistake.
 */
async function checkAliases(options: StartCheckOptions, aliases: readonly string[]): Promise<void> {
  const { defaultAlias, passphraseOf, variableOf, onError } = options;
  const missing: string[] = [];
  const wrong: string[] = [];
  for (const alias of new Set([defaultAlias, ...aliases])) {
    using passphrase = passphraseOf(alias);
    if (passphrase === undefined) missing.push(alias);
    else if (!(await opensKeys(options, alias, passphrase))) wrong.push(alias);
  }
  if (missing.length > 0) {
    const names = missing.map((alias) => `"${alias}"`).join(', ');
    throw new SignetError('CONFIGURATION', `keys need passphrases that are not set: alias ${names}`, {
      hint: `set ${missing.map(variableOf).join(', ')}`,
    });
  }
  for (const alias of wrong) {
    const message = `the passphrase of alias "${alias}" does not open its keys`;
    const error = new SignetError('CONFIGURATION', message, { hint: `check ${variableOf(alias)}` });
    if (alias === defaultAlias) throw error;
    onError('keys cannot be used', error);
  }
}

/** @returns False if at least one key of the alias was tried, and none opens; damaged ones tell nothing. */
async function opensKeys({ table, derive }: StartCheckOptions, alias: string, passphrase: Secret): Promise<boolean> {
  let refused = false;
  for (const row of await table.newestSealedUnder(alias, CHECKED_KEYS)) {
    try {
      using _key = await openKeyJwe(row.token, passphrase, derive);
      return true;
    } catch (error) {
      if (error instanceof SignetError && error.code === 'PASSPHRASE_INCORRECT') refused = true;
    }
  }
  return !refused;
}
