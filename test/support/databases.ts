/** Real database servers in temporary directories, on free ports of 127.0.0.1. */
import { chmod, copyFile, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { waitFor } from './conditions.ts';
import { freePort } from './ports.ts';
import { type ProgramResult, type RunningProgram, runProgram, startProgram } from './processes.ts';
import { temporaryDirectory } from './temp.ts';

export interface DatabaseServer extends AsyncDisposable {
  readonly port: number;
  /** MariaDB: the socket itself; PostgreSQL: its directory. */
  readonly socket: string;
  /**
   * Makes an empty database and a user that owns it.
   *
   * @returns `storage.db_url`, as notary-signer takes it
   */
  createDatabase(): Promise<string>;
  /** Runs SQL as administrator. @returns What the client printed: rows without headings, tabs between the columns. */
  run(sql: string, database?: string): Promise<string>;
  stop(): Promise<void>;
  start(): Promise<void>;
  restart(): Promise<void>;
}

export interface DatabaseServerOptions {
  /** More arguments for the server. */
  readonly args?: readonly string[];
  /** The server's certificate; without one it speaks no TLS. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string };
  /** Whether commits wait for the disk, as by default; tests are quicker without. */
  readonly durable?: boolean;
}

const ADMIN_PASSWORD = 'administrator';
/** Holds what the two forms of data sources must quote, or take as it is. */
const USER_PASSWORD = 'p@ss:w/rd';
const isRoot = process.getuid?.() === 0;

const environment = (more: Readonly<Record<string, string>> = {}) => ({
  PATH: `${process.env['PATH'] ?? ''}:/usr/sbin`,
  LC_ALL: 'C.UTF-8',
  ...more,
});

interface Server {
  readonly port: number;
  readonly socket: string;
  readonly launch: () => Promise<RunningProgram>;
  readonly stopSignal: NodeJS.Signals;
  readonly client: (sql: string, database: string | undefined) => Promise<ProgramResult>;
  readonly createDatabase: (name: string) => { readonly sql: readonly string[]; readonly dataSource: string };
  readonly directory: AsyncDisposable;
}

/** MariaDB from Debian's mariadb-server-core. */
export async function startMariadb(options: DatabaseServerOptions = {}): Promise<DatabaseServer> {
  const directory = await temporaryDirectory();
  const port = await freePort();
  const data = join(directory.path, 'data');
  const socket = join(directory.path, 's.sock');
  const user = isRoot ? ['--user=root'] : [];
  await check(
    'mariadb-install-db',
    ['--no-defaults', ...user, `--datadir=${data}`, '--auth-root-authentication-method=normal', '--skip-test-db'],
    // Its temporary tables are its own, too.
    { HOME: directory.path, TMPDIR: directory.path },
  );
  const { tls, durable = false, args = [] } = options;
  return runServer({
    port,
    socket,
    directory,
    stopSignal: 'SIGTERM',
    launch: () =>
      startProgram(
        'mariadbd',
        [
          '--no-defaults',
          ...user,
          // Another MariaDB that starts would clear its tables out of the common one.
          `--tmpdir=${directory.path}`,
          `--datadir=${data}`,
          `--socket=${socket}`,
          `--port=${port}`,
          '--bind-address=127.0.0.1',
          '--innodb-buffer-pool-size=32M',
          '--skip-log-bin',
          '--performance-schema=0',
          '--skip-name-resolve',
          ...(durable ? [] : ['--innodb-flush-log-at-trx-commit=0']),
          ...(tls === undefined ? [] : [`--ssl-cert=${tls.certFile}`, `--ssl-key=${tls.keyFile}`]),
          ...args,
        ],
        { env: environment() },
        { port, output: /ready for connections/, timeoutMs: 60_000 },
      ),
    client: (sql, database) =>
      runProgram(
        'mariadb',
        ['--no-defaults', `--socket=${socket}`, '-uroot', '-N', '-B', ...(database === undefined ? [] : [database])],
        { env: environment(), input: sql },
      ),
    createDatabase: (name) => ({
      sql: [
        `CREATE DATABASE ${name};
         CREATE USER '${name}'@'127.0.0.1' IDENTIFIED BY '${USER_PASSWORD}';
         CREATE USER '${name}'@'localhost' IDENTIFIED BY '${USER_PASSWORD}';
         GRANT ALL ON ${name}.* TO '${name}'@'127.0.0.1', '${name}'@'localhost';`,
      ],
      dataSource: `${name}:${USER_PASSWORD}@tcp(127.0.0.1:${port})/${name}?parseTime=true`,
    }),
  });
}

/** PostgreSQL from Debian's postgresql, which refuses to run as root. */
export async function startPostgres(options: DatabaseServerOptions = {}): Promise<DatabaseServer> {
  const directory = await temporaryDirectory();
  const port = await freePort();
  const home = join(directory.path, 'pg');
  const data = join(home, 'data');
  await chmod(directory.path, 0o711); // the server's user must get through
  await mkdir(home);
  const passwordFile = join(home, 'password');
  await writeFile(passwordFile, ADMIN_PASSWORD);
  const { tls, durable = false, args = [] } = options;
  if (tls !== undefined) {
    await copyFile(tls.certFile, join(home, 'server.crt'));
    await copyFile(tls.keyFile, join(home, 'server.key'));
    await chmod(join(home, 'server.key'), 0o600);
  }
  if (isRoot) await check('chown', ['-R', 'postgres', home]);
  const bin = await postgresBin();
  const asPostgres = (program: string, programArgs: readonly string[]): [string, string[]] =>
    isRoot
      ? ['setpriv', ['--reuid=postgres', '--regid=postgres', '--init-groups', join(bin, program), ...programArgs]]
      : [join(bin, program), [...programArgs]];
  await check(
    ...asPostgres('initdb', [
      ...['-D', data, '-U', 'postgres', '-A', 'scram-sha-256', `--pwfile=${passwordFile}`],
      ...['-E', 'UTF8', '--locale=C', '--no-sync'],
    ]),
  );
  const settings = [
    'shared_buffers=16MB',
    ...(durable ? [] : ['fsync=off', 'synchronous_commit=off']),
    ...(tls === undefined
      ? []
      : ['ssl=on', `ssl_cert_file=${join(home, 'server.crt')}`, `ssl_key_file=${join(home, 'server.key')}`]),
  ].flatMap((setting) => ['-c', setting]);
  return runServer({
    port,
    socket: home,
    directory,
    stopSignal: 'SIGINT', // does not wait for the clients to leave
    launch: () =>
      startProgram(
        ...asPostgres('postgres', [
          '-D',
          data,
          '-p',
          String(port),
          '-k',
          home,
          '-h',
          '127.0.0.1',
          ...settings,
          ...args,
        ]),
        { cwd: '/', env: environment() },
        { port, output: /ready to accept connections/, timeoutMs: 60_000 },
      ),
    client: (sql, database = 'postgres') =>
      runProgram(
        join(bin, 'psql'),
        [
          '-X',
          '-q',
          '-A',
          '-t',
          '-F',
          '\t',
          '-v',
          'ON_ERROR_STOP=1',
          '-h',
          home,
          '-p',
          String(port),
          '-U',
          'postgres',
          database,
        ],
        { env: environment({ PGPASSWORD: ADMIN_PASSWORD, HOME: directory.path }), input: sql },
      ),
    createDatabase: (name) => ({
      sql: [`CREATE USER ${name} PASSWORD '${USER_PASSWORD}';`, `CREATE DATABASE ${name} OWNER ${name};`],
      dataSource: `postgres://${name}:${encodeURIComponent(USER_PASSWORD)}@127.0.0.1:${port}/${name}?sslmode=${tls === undefined ? 'disable' : 'require'}`,
    }),
  });
}

/** The newest of Debian's versions, which are not on the path. */
async function postgresBin(): Promise<string> {
  const root = '/usr/lib/postgresql';
  const [newest] = (await readdir(root)).sort((a, b) => Number(b) - Number(a));
  if (newest === undefined) throw new Error(`no PostgreSQL in ${root}`);
  return join(root, newest, 'bin');
}

async function check(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  const { ending, stdout, stderr } = await runProgram(command, args, { cwd: '/', env: environment(env) });
  if (ending !== 0) throw new Error(`${command} failed (${ending}): ${stdout.slice(-1000)}${stderr.slice(-2000)}`);
}

async function runServer(server: Server): Promise<DatabaseServer> {
  let program: RunningProgram | undefined;
  let databases = 0;
  const run = async (sql: string, database?: string): Promise<string> => {
    const { ending, stdout, stderr } = await server.client(sql, database);
    if (ending !== 0) throw new Error(`SQL failed: ${stderr}`);
    return stdout;
  };
  const start = async () => {
    program = await server.launch();
    await waitFor('the database to answer', () =>
      run('SELECT 1;').then(
        () => true,
        () => false,
      ),
    );
  };
  const stop = async () => {
    program?.kill(server.stopSignal);
    await program?.stop(20_000);
    program = undefined;
  };
  const dispose = async () => {
    await stop();
    await server.directory[Symbol.asyncDispose]();
  };
  try {
    await start();
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    port: server.port,
    socket: server.socket,
    run,
    start,
    stop,
    restart: async () => {
      await stop();
      await start();
    },
    createDatabase: async () => {
      const { sql, dataSource } = server.createDatabase(`db_${++databases}`);
      for (const statement of sql) await run(statement);
      return dataSource;
    },
    [Symbol.asyncDispose]: dispose,
  };
}
