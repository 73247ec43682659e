/** What a daemon tells at start, and how it counts, though nothing is wrong with its keys. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../support/ports.ts';
import {
  createKey,
  PASSPHRASES,
  type SqlDaemon,
  SqlSigners,
  signsWith,
  type TestDatabase,
} from '../support/sql-signers.ts';

const TWO_WORKERS = { ...PASSPHRASES, NOTARY_SIGNER_WORKERS: '2' };
const ALIAS2 = { default_alias: 'alias2' };

let signers: SqlSigners;
beforeAll(async () => {
  signers = await SqlSigners.create();
});
afterAll(() => signers[Symbol.asyncDispose]());

const advice = ({ signetd }: SqlDaemon) => signetd.log().filter(({ msg }) => String(msg).includes('has no index'));

async function dropIndex({ kind, sql }: TestDatabase, name: string): Promise<void> {
  await sql(kind === 'mysql' ? `DROP INDEX ${name} ON private_keys` : `DROP INDEX ${name}`);
}

describe.each(['mysql', 'postgres', 'sqlite3'] as const)('a table on %s', (kind) => {
  it('without the indexes of -migrate is served; what to run is told once, and nothing after it was run', async () => {
    const database = await signers.database(kind);
    await dropIndex(database, 'signet_pending');
    const tell = (names: string) => ({
      level: 'warning',
      msg: `the table private_keys has no index ${names}: with many keys, starts and new keys take seconds`,
      hint: 'run: signetd -config FILE -migrate',
    });
    {
      await using daemon = await signers.startSignetd(database, { env: TWO_WORKERS });
      expect(advice(daemon)).toEqual([expect.objectContaining(tell('signet_pending'))]);
      const { keyId, publicKey } = await createKey(daemon.client, 'example.com/app');
      expect(await signsWith(daemon.client, keyId, publicKey)).toBe(true);
    }
    await dropIndex(database, 'signet_alias');
    {
      await using daemon = await signers.startSignetd(database);
      expect(advice(daemon)).toEqual([expect.objectContaining(tell('signet_pending, signet_alias'))]);
    }
    const refused = await signers.run(database, [], { env: { NOTARY_SIGNER_ALIAS2: 'x' }, storage: ALIAS2 });
    expect(refused).toMatchObject({ ending: 1, stderr: expect.stringContaining('not set: alias \\"alias1\\"') });
    expect((await signers.run(database, ['-migrate'])).ending).toBe(0);
    await using daemon = await signers.startSignetd(database);
    expect(advice(daemon)).toEqual([]);
  });
});

it('the number of keys is told once, not by every worker, and not counted for every scrape', async () => {
  const database = await signers.database('sqlite3');
  const port = await freePort();
  const config = { metrics: { http_addr: `127.0.0.1:${port}` } };
  await using daemon = await signers.startSignetd(database, { config, env: TWO_WORKERS });
  const keys = async () => {
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    return text.split('\n').filter((line) => line.startsWith('signet_keys{'));
  };
  await createKey(daemon.client, 'example.com/one');
  expect(await keys()).toEqual(['signet_keys{backend="sql"} 1']);
  await createKey(daemon.client, 'example.com/two');
  expect(await keys()).toEqual(['signet_keys{backend="sql"} 1']);
});
