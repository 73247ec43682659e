/** Daemons over one SQL table: signetd, several of them, and the real notary-signer. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { openDatabase } from '../../src/backends/sql/open-database.ts';
import type { PublicKey } from '../../src/crypto/public-key.ts';
import { type Certificate, createAuthority } from './certificates.ts';
import { type DatabaseServer, type DatabaseServerOptions, startMariadb, startPostgres } from './databases.ts';
import { type Signer, type SignerTls, startNotarySigner } from './notary.ts';
import type { ProgramResult, RunningProgram } from './processes.ts';
import { Resources } from './resources.ts';
import { connectSigner, type SignerClient } from './signer-client.ts';
import { launchSignetd, runSignetd, type Signetd, type SignetdOptions, startSignetd } from './signetd.ts';
import { temporaryDirectory } from './temp.ts';
import { verifyIndependently } from './verify.ts';

export type SqlKind = 'mysql' | 'postgres' | 'sqlite3';

/** Variables of the aliases that the tests use. */
export const PASSPHRASES = {
  NOTARY_SIGNER_ALIAS1: 'signer-db-passphrase',
  NOTARY_SIGNER_ALIAS2: 'second-passphrase',
};

type ServerOptions = Readonly<Partial<Record<SqlKind, DatabaseServerOptions>>>;

/** One empty database, or one file. */
export interface TestDatabase {
  readonly kind: SqlKind;
  /** `storage.db_url` */
  readonly dbUrl: string;
  /** Undefined for SQLite. */
  readonly server: DatabaseServer | undefined;
  /** The database's name, and that of the user who owns it. */
  readonly name: string;
  /** Runs statements as administrator. @returns The last one's rows, columns as text. */
  sql(statements: string): Promise<readonly (readonly string[])[]>;
}

export interface SqlDaemonOptions {
  /** More of the section `storage`. */
  readonly storage?: Readonly<Record<string, unknown>>;
  /** Other sections. */
  readonly config?: SignetdOptions['config'];
  /** In the place of `PASSPHRASES`. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A signer with a client of its own. */
export interface SqlSigner extends AsyncDisposable {
  readonly port: number;
  readonly program: RunningProgram;
  readonly client: SignerClient;
  /** Ends it with SIGKILL. */
  kill(): Promise<void>;
}

export interface SqlDaemon extends SqlSigner {
  readonly signetd: Signetd;
}

/** A test PKI, database servers that start when they are first needed, and what runs over them. */
export class SqlSigners implements AsyncDisposable {
  readonly #resources = new Resources();
  readonly #directory: string;
  readonly #tls: SignerTls;
  readonly #clientCertificate: Certificate;
  readonly #serverOptions: ServerOptions;
  readonly #servers = new Map<SqlKind, Promise<DatabaseServer>>();
  #count = 0;

  private constructor(directory: string, tls: SignerTls, client: Certificate, serverOptions: ServerOptions) {
    this.#directory = directory;
    this.#tls = tls;
    this.#clientCertificate = client;
    this.#serverOptions = serverOptions;
  }

  static async create(serverOptions: ServerOptions = {}): Promise<SqlSigners> {
    const directory = await temporaryDirectory();
    const authority = await createAuthority(directory.path, 'ca');
    const [certificate, client] = await Promise.all([
      authority.issue('signer', { extendedKeyUsage: ['serverAuth'] }),
      authority.issue('client', { extendedKeyUsage: ['clientAuth'] }),
    ]);
    const tls = { certificate, clientCaFile: authority.certFile };
    const signers = new SqlSigners(directory.path, tls, client, serverOptions);
    signers.#resources.use(directory);
    return signers;
  }

  async server(kind: 'mysql' | 'postgres'): Promise<DatabaseServer> {
    const start = kind === 'mysql' ? startMariadb : startPostgres;
    const starting =
      this.#servers.get(kind) ?? start(this.#serverOptions[kind]).then((server) => this.#resources.use(server));
    this.#servers.set(kind, starting);
    return starting;
  }

  /** @returns A new database without a table. */
  async emptyDatabase(kind: SqlKind): Promise<TestDatabase> {
    if (kind === 'sqlite3') {
      const dbUrl = join(await this.newDirectory(), 'signer.db');
      return { kind, dbUrl, server: undefined, name: 'main', sql: (statements) => querySqlite(dbUrl, statements) };
    }
    const server = await this.server(kind);
    const dbUrl = await server.createDatabase();
    const name = /\/(\w+)\?/.exec(dbUrl)?.[1] ?? '';
    const sql = async (statements: string) => rowsOf(await server.run(statements, name));
    return { kind, dbUrl, server, name, sql };
  }

  /** @returns A new database with the table, made by `signetd -migrate`. */
  async database(kind: SqlKind): Promise<TestDatabase> {
    const database = await this.emptyDatabase(kind);
    const { ending, stderr } = await this.run(database, ['-migrate']);
    if (ending !== 0) throw new Error(`-migrate ended with ${ending}: ${stderr}`);
    return database;
  }

  async newDirectory(): Promise<string> {
    const path = join(this.#directory, String(++this.#count));
    await mkdir(path);
    return path;
  }

  async startSignetd(database: TestDatabase, options: SqlDaemonOptions = {}): Promise<SqlDaemon> {
    const signetd = await startSignetd(await this.newDirectory(), this.#tls, signetdOptions(database, options));
    return { ...(await this.#connected(signetd)), signetd };
  }

  async startNotarySigner(database: TestDatabase, alias = 'alias1'): Promise<SqlSigner> {
    const storage = { backend: database.kind, db_url: database.dbUrl, default_alias: alias };
    return this.#connected(
      await startNotarySigner(await this.newDirectory(), this.#tls, { storage, env: PASSPHRASES }),
    );
  }

  /** Runs signetd to its end. @param flags For example `-migrate`. */
  async run(database: TestDatabase, flags: readonly string[], options: SqlDaemonOptions = {}): Promise<ProgramResult> {
    return runSignetd(await this.newDirectory(), this.#tls, flags, signetdOptions(database, options));
  }

  async launch(
    database: TestDatabase,
    flags: readonly string[],
    options: SqlDaemonOptions = {},
  ): Promise<RunningProgram> {
    const launched = await launchSignetd(
      await this.newDirectory(),
      this.#tls,
      flags,
      signetdOptions(database, options),
    );
    return this.#resources.use(launched);
  }

  /** @param port Of a signer that was started here. The caller closes it. */
  connect(port: number): Promise<SignerClient> {
    return connectSigner(port, this.#tls.clientCaFile, this.#clientCertificate);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#resources[Symbol.asyncDispose]();
  }

  async #connected(signer: Signer): Promise<SqlSigner> {
    const { port, program } = this.#resources.use(signer);
    const client = await this.connect(port);
    const kill = async () => {
      program.kill('SIGKILL');
      await program.ended;
    };
    const dispose = async () => {
      client[Symbol.dispose]();
      await program.stop();
    };
    return { port, program, client, kill, [Symbol.asyncDispose]: dispose };
  }
}

/** The configuration of signetd over a database. `storage.path` is the file backend's. */
export function signetdOptions(database: TestDatabase, options: SqlDaemonOptions = {}): SignetdOptions {
  const storage = {
    path: undefined,
    backend: database.kind,
    db_url: database.dbUrl,
    default_alias: 'alias1',
    ...options.storage,
  };
  return { config: { ...options.config, storage }, env: options.env ?? PASSPHRASES };
}

/** Signs through a signer and verifies without it. @returns Whether the signature is the key's. */
export async function signsWith(client: SignerClient, keyId: string, publicKey: PublicKey): Promise<boolean> {
  const content = Buffer.from(`content for ${keyId}`);
  const { content: signature } = await client.sign(keyId, content);
  return verifyIndependently(publicKey, content, signature);
}

/** Makes a key. @returns Its ID and public half. */
export async function createKey(
  client: SignerClient,
  gun: string,
  { role = 'timestamp', algorithm = 'ecdsa' }: { readonly role?: string; readonly algorithm?: string } = {},
): Promise<{ readonly keyId: string; readonly publicKey: PublicKey }> {
  const { keyInfo, publicKey } = await client.createKey(algorithm, gun, role);
  return {
    keyId: keyInfo.keyID.ID,
    publicKey: { algorithm: keyInfo.algorithm.algorithm, bytes: publicKey } as PublicKey,
  };
}

function rowsOf(output: string): string[][] {
  return output
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t'));
}

async function querySqlite(path: string, statements: string): Promise<string[][]> {
  const options = {
    backend: 'sqlite3',
    baseDirectory: '/',
    env: {},
    maxConnections: 1,
    statementTimeoutMs: 5000,
  } as const;
  await using database = await openDatabase({ ...options, dbUrl: path });
  let rows: Readonly<Record<string, unknown>>[] = [];
  for (const statement of statements.split(';').filter((text) => text.trim() !== ''))
    rows = await database.query(statement);
  return rows.map((row) => Object.values(row).map(String));
}
