/** Two servers of which one only reads: a replica, and what becomes of it in a fail-over. */
import { describe, expect, it } from 'vitest';
import { waitFor } from '../support/conditions.ts';
import { type DatabaseServer, startMariadb, startPostgres } from '../support/databases.ts';
import { failure, names, openMysql, openPostgres } from '../support/sql-testbed.ts';

const TABLE = 'CREATE TABLE items (id integer PRIMARY KEY, name varchar(40) NOT NULL)';

describe.each(['mysql', 'postgres'] as const)('of two servers on %s', (kind) => {
  const [start, open] = kind === 'mysql' ? [startMariadb, openMysql] : [startPostgres, openPostgres];

  async function setReadOnly(server: DatabaseServer, isReadOnly: boolean): Promise<void> {
    const value = isReadOnly ? 'on' : 'off';
    await server.run(
      kind === 'mysql'
        ? `SET GLOBAL read_only = ${value};`
        : `ALTER SYSTEM SET default_transaction_read_only = ${value};`,
    );
    if (kind === 'postgres') await server.run('SELECT pg_reload_conf();');
  }

  it('the one that can be written to is used, also after they have changed places', async () => {
    await using first = await start();
    await using second = await start();
    const text = await first.createDatabase();
    expect(await second.createDatabase()).toBe(text.replace(String(first.port), String(second.port)));
    const list = text.replace(`127.0.0.1:${first.port}`, `127.0.0.1:${first.port},127.0.0.1:${second.port}`);
    for (const { port } of [first, second]) {
      await using database = await open(text.replace(String(first.port), String(port)));
      await database.execute(TABLE);
    }
    await setReadOnly(first, true);
    await using database = await open(list, { maxConnections: 2 });
    let id = 0;
    const write = (name: string) =>
      database.execute('INSERT INTO items (id, name) VALUES (?, ?)', [++id, name]).then(
        () => 'OK',
        ({ code }: { readonly code: string }) => code,
      );
    expect(await write('on the second')).toBe('OK');

    // PostgreSQL's sessions hear of it somewhat later.
    await setReadOnly(second, true);
    await waitFor('the refusal', async () => (await write('until the second refuses')) === 'UNAVAILABLE');
    await setReadOnly(first, false);
    await waitFor('the first', async () => (await write('on the first')) === 'OK');
    expect(await names(database)).toEqual(['on the first']);
  });

  it('none is used while both only read', async () => {
    await using server = await start();
    const text = await server.createDatabase();
    await setReadOnly(server, true);
    const endpoint = `127.0.0.1:${server.port}`;
    const error = await failure(open(text.replace(endpoint, `${endpoint},${endpoint}`)));
    expect(error.code).toBe('UNAVAILABLE');
    expect(error.message).toMatch(/^the database is read-only \((read_only|transaction_read_only)\)$/);
    await using reader = await open(text);
    expect(await reader.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });
});
