import { describe, expect, it } from 'vitest';
import type { SqlDatabase, SqlValue } from '../../../../src/backends/sql/database.ts';
import { KeyTable } from '../../../../src/backends/sql/key-table.ts';
import { PrivateKey } from '../../../../src/crypto/private-key.ts';

/** A database with one key. */
async function table(dialect: SqlDatabase['dialect'], lastUsed: SqlValue) {
  const { keyId, publicKey } = await PrivateKey.generate('ed25519');
  const row = {
    id: 1,
    key_id: keyId,
    algorithm: 'ed25519',
    passphrase_alias: 'a',
    public: Buffer.from(publicKey.bytes),
    private: 'x',
    gun: 'g',
    role: 'timestamp',
    last_used: lastUsed,
  };
  const database: Pick<SqlDatabase, 'dialect' | 'query'> = { dialect, query: async () => [row] };
  return { keyId, table: new KeyTable(database as SqlDatabase) };
}

describe('the time of the last use', () => {
  it.each<[SqlDatabase['dialect'], SqlValue, number | undefined]>([
    ['mysql', '2024-02-29 12:34:56', Date.UTC(2024, 1, 29, 12, 34, 56)],
    ['sqlite', '2024-02-29 12:34:56.789', Date.UTC(2024, 1, 29, 12, 34, 56, 789)],
    ['sqlite', 'yesterday', undefined],
    ['mysql', '0000-00-00 00:00:00', undefined],
    ['mysql', null, undefined],
    // In whose zone, the table does not say.
    ['postgres', '2024-02-29 12:34:56.789', undefined],
  ])('on %s is read from %j', async (dialect, stored, expected) => {
    const { keyId, table: keys } = await table(dialect, stored);
    const row = await keys.find(keyId);
    expect(row?.lastUsedAt).toBe(expected);
    expect(row?.isUsed).toBe(stored !== null);
  });
});
