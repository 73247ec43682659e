/** TLS to the database servers, as go-sql-driver and lib/pq mean it. */
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PostgresDataSource } from '../../src/backends/sql/data-source-name.ts';
import { parseMysqlDataSource } from '../../src/backends/sql/mysql-data-source-name.ts';
import { MysqlDatabase } from '../../src/backends/sql/mysql-database.ts';
import { PostgresDatabase } from '../../src/backends/sql/postgres-database.ts';
import { createAuthority } from '../support/certificates.ts';
import { startMariadb } from '../support/databases.ts';
import { failure, openMysql, openPostgres, postgresSource, SqlTestbed, startProxy } from '../support/sql-testbed.ts';

let bed: SqlTestbed;
beforeAll(async () => {
  bed = await SqlTestbed.start();
});
afterAll(() => bed?.[Symbol.asyncDispose]());

describe('TLS', () => {
  it.each([
    ['true', true],
    ['skip-verify', true],
    ['preferred', true],
    ['false', false],
  ])('mysql: tls=%s', async (mode, isEncrypted) => {
    const source = parseMysqlDataSource(`${await bed.mariadb.createDatabase()}&tls=${mode}`);
    await using database = await MysqlDatabase.open({
      ...source,
      tls: source.tls && { ...source.tls, caFile: bed.authority.certFile },
    });
    const [row] = await database.query("SHOW SESSION STATUS LIKE 'Ssl_version'");
    expect(row?.['Value'] !== '').toBe(isEncrypted);
  });

  it.each([
    ['disable', false],
    ['require', true],
    ['verify-ca', true],
    ['verify-full', true],
  ])('postgres: sslmode=%s', async (mode, isEncrypted) => {
    const text = (await bed.postgres.createDatabase()).replace(
      'sslmode=require',
      `sslmode=${mode}&sslrootcert=${bed.authority.certFile}`,
    );
    await using database = await openPostgres(text);
    const [row] = await database.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()');
    expect(row?.['ssl']).toBe(isEncrypted ? 1 : 0);
  });

  it('refuses a server of another authority wherever the chain is checked', async () => {
    const other = await createAuthority(bed.directory, 'other-ca');
    const mysqlSource = parseMysqlDataSource(`${await bed.mariadb.createDatabase()}&tls=true`);
    const attempts: (() => Promise<unknown>)[] = [
      () =>
        MysqlDatabase.open({ ...mysqlSource, tls: mysqlSource.tls && { ...mysqlSource.tls, caFile: other.certFile } }),
      () => MysqlDatabase.open(mysqlSource),
    ];
    const base = await bed.postgres.createDatabase();
    for (const mode of ['require', 'verify-ca', 'verify-full']) {
      attempts.push(() =>
        openPostgres(base.replace('sslmode=require', `sslmode=${mode}&sslrootcert=${other.certFile}`)),
      );
    }
    for (const attempt of attempts) {
      const error = await failure(attempt());
      expect(error.code).toBe('CONFIGURATION');
      expect(error.message).toMatch(/^no trusted TLS connection \(/);
    }
  });

  it('checks the name where that is asked for, and only there', async () => {
    const text = (await bed.postgres.createDatabase()).replace('127.0.0.1', '127.0.0.2');
    await using toPostgres = await startProxy(bed.postgres.port, { host: '127.0.0.2' });
    await using toMariadb = await startProxy(bed.mariadb.port, { host: '127.0.0.2' });
    const at = (mode: string): PostgresDataSource =>
      postgresSource(
        text
          .replace(String(bed.postgres.port), String(toPostgres.port))
          .replace('sslmode=require', `sslmode=${mode}&sslrootcert=${bed.authority.certFile}`),
      );
    await (await PostgresDatabase.open(at('verify-ca')))[Symbol.asyncDispose]();
    const full = await failure(PostgresDatabase.open(at('verify-full')));
    expect(full).toEqual({
      code: 'CONFIGURATION',
      message: 'no trusted TLS connection (ERR_TLS_CERT_ALTNAME_INVALID)',
    });
    const mysqlText = (await bed.mariadb.createDatabase())
      .replace('127.0.0.1', '127.0.0.2')
      .replace(String(bed.mariadb.port), String(toMariadb.port));
    const source = parseMysqlDataSource(`${mysqlText}&tls=true`);
    const mysqlName = await failure(
      MysqlDatabase.open({ ...source, tls: source.tls && { ...source.tls, caFile: bed.authority.certFile } }),
    );
    expect(mysqlName).toEqual({ code: 'CONFIGURATION', message: 'no trusted TLS connection (HANDSHAKE_SSL_ERROR)' });
  });

  it('is gone without only where it is merely preferred', async () => {
    await using plain = await startMariadb();
    const text = await plain.createDatabase();
    await using database = await openMysql(`${text}&tls=preferred`);
    const [row] = await database.query("SHOW SESSION STATUS LIKE 'Ssl_version'");
    expect(row?.['Value']).toBe('');
    const error = await failure(openMysql(`${text}&tls=skip-verify`));
    expect(error).toEqual({ code: 'CONFIGURATION', message: 'no trusted TLS connection (HANDSHAKE_NO_SSL_SUPPORT)' });
    // PostgreSQL answers the request for TLS with one letter.
    const refusing = createServer((client) => client.once('data', () => client.end('N')));
    await new Promise<void>((resolve) => refusing.listen(0, '127.0.0.1', resolve));
    const address = refusing.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const refused = await failure(openPostgres(`postgres://u:secret@127.0.0.1:${port}/d`));
    refusing.close();
    expect(refused).toEqual({ code: 'CONFIGURATION', message: 'no trusted TLS connection (no SSL)' });
  });

  it('says which file cannot be read', async () => {
    const text = (await bed.postgres.createDatabase()).replace(
      'sslmode=require',
      `sslmode=verify-full&sslrootcert=${bed.directory}/none`,
    );
    const error = await failure(openPostgres(text));
    expect(error).toEqual({ code: 'CONFIGURATION', message: `cannot read ${bed.directory}/none (ENOENT)` });
  });
});
