/** The database servers of the tests, with their durable defaults: a commit waits for the disk. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { ROOT } from '../scripts/setup.mjs';

const run = promisify(execFile);

/**
 * @typedef {object} DatabaseServer
 * @property {string} name
 * @property {() => Promise<Database>} createDatabase An empty one.
 * @property {() => Promise<void>} stop And removes everything.
 *
 * @typedef {object} Database
 * @property {{ backend: string, db_url: string }} storage For both signers.
 * @property {(sql: string) => Promise<string>} run As administrator. One statement has a minute.
 */

/** What the tests make smaller than the servers' default. */
const MARIADB_DEFAULTS = ['--innodb-buffer-pool-size=128M'];
const POSTGRES_DEFAULTS = ['-c', 'shared_buffers=128MB'];

/** @returns {Promise<(() => Promise<DatabaseServer>)[]>} Starts MariaDB, starts PostgreSQL. */
export async function databaseServers() {
  const { directory, startMariadb, startPostgres } = await importTestSupport();
  // Of its own, because MariaDB removes what it finds of others.
  const mariadbArgs = [...MARIADB_DEFAULTS, `--tmpdir=${directory}`];
  return [
    async () => serverOf('MariaDB', 'mysql', await startMariadb({ durable: true, args: mariadbArgs })),
    async () => serverOf('PostgreSQL', 'postgres', await startPostgres({ durable: true, args: POSTGRES_DEFAULTS })),
  ];
}

function serverOf(name, backend, server) {
  return {
    name,
    createDatabase: async () => {
      const dbUrl = await server.createDatabase();
      const [, database] = /\/(\w+)\?/.exec(dbUrl);
      return { storage: { backend, db_url: dbUrl }, run: (sql) => server.run(sql, database) };
    },
    stop: () => server[Symbol.asyncDispose](),
  };
}

/** Compiled each time: it takes less than a second, and what it says is never old. */
async function importTestSupport() {
  const directory = mkdtempSync(join(tmpdir(), 'signet-bench-'));
  await chmod(directory, 0o711); // the user that PostgreSQL runs as must get through
  const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  await run(process.execPath, [compiler, '-p', join(ROOT, 'bench', 'tsconfig.json'), '--outDir', directory]);
  await writeFile(join(directory, 'package.json'), '{ "type": "module" }');
  process.env.TMPDIR = directory; // for what the servers write
  const support = await import(pathToFileURL(join(directory, 'databases.js')).href);
  // After its own handler, which kills the servers; they may write a little longer.
  process.on('exit', () => rmSync(directory, { recursive: true, force: true, maxRetries: 10 }));
  return { directory, ...support };
}
