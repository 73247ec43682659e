/** The port's contract over notary-signer's table on real databases. */
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { openStorage, type SqlStorageOptions } from '../../src/backends/open.ts';
import { openDatabase } from '../../src/backends/sql/open-database.ts';
import { migrate } from '../../src/backends/sql/schema.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { describeBackend } from '../conformance/backend.ts';
import { startMariadb, startPostgres } from '../support/databases.ts';
import { Resources } from '../support/resources.ts';
import { temporaryDirectory } from '../support/temp.ts';

const PASSPHRASE = 'a passphrase of the table';
const servers = new Resources();
/** `storage.db_url` of a new, empty database. */
const newDatabase: Record<string, () => Promise<string>> = {};

beforeAll(async () => {
  const mariadb = servers.use(await startMariadb());
  const postgres = servers.use(await startPostgres());
  newDatabase['mysql'] = () => mariadb.createDatabase();
  newDatabase['postgres'] = () => postgres.createDatabase();
  newDatabase['sqlite3'] = async () => join(servers.use(await temporaryDirectory()).path, 'signer.db');
});
afterAll(() => servers[Symbol.asyncDispose]());

for (const backend of ['mysql', 'postgres', 'sqlite3'] as const) {
  describeBackend({
    name: `sql on ${backend}`,
    generates: ['ecdsa', 'ed25519'],
    imports: ['ecdsa', 'ed25519'],
    has: { exporter: false, remover: true, attester: false, unlocker: true },
    persistent: true,
    open: async () => {
      const options: SqlStorageOptions = {
        backend,
        dbUrl: (await newDatabase[backend]?.()) ?? '',
        defaultAlias: 'test',
        p2c: 8192,
        baseDirectory: '/',
        env: {},
        maxConnections: 4,
        statementTimeoutMs: 5000,
        revalidateMs: 5000,
        lastUsedMs: 50,
        unlockedTtlMs: 60_000,
        unlockedMax: 1000,
      };
      {
        await using database = await openDatabase(options);
        await migrate(database);
      }
      const open = () =>
        openStorage(options, {
          passphrases: () => Promise.reject(new Error('the table has aliases instead')),
          processes: 1,
          passphraseOfAlias: (alias) => (alias === 'test' ? Secret.fromText(PASSPHRASE) : undefined),
          variableOfAlias: (alias) => `VARIABLE_OF_${alias}`,
          onUnreadable: (what, error) => {
            throw new Error(`unreadable: ${what}`, { cause: error });
          },
          onError: (what, error) => {
            throw new Error(what, { cause: error });
          },
          onAdvice: (advice) => {
            throw new Error(advice);
          },
        });
      let opened = await open();
      return {
        backend: opened,
        passphrase: PASSPHRASE,
        reopen: async () => {
          await opened[Symbol.asyncDispose]();
          opened = await open();
          return opened;
        },
        [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
      };
    },
  });
}
