/** signetd in notary-signer's place, on its own tables, and the way back. */
import { execFile } from 'node:child_process';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PublicKey } from '../../src/crypto/public-key.ts';
import { GRPC_STATUS } from '../../src/errors.ts';
import { waitFor } from '../support/conditions.ts';
import type { SignerClient } from '../support/signer-client.ts';
import { startSignetd } from '../support/signetd.ts';
import {
  createKey,
  PASSPHRASES,
  type SqlDaemon,
  type SqlSigner,
  SqlSigners,
  signetdOptions,
  signsWith,
  type TestDatabase,
} from '../support/sql-signers.ts';
import { startStack } from '../support/stack.ts';
import { verifyIndependently } from '../support/verify.ts';

const VECTORS = fileURLToPath(new URL('../vectors/signer-sql/', import.meta.url));
const ALGORITHMS = ['ecdsa', 'ed25519'] as const;

/** A row as notary-signer left it. */
interface StoredRow {
  readonly key_id: string;
  readonly algorithm: PublicKey['algorithm'];
  readonly public_base64: string;
  readonly role: string;
  readonly gun: string;
  readonly deleted_at: string | null;
  readonly last_used: string | null;
}

interface RecordedCall {
  readonly note: string;
  readonly method: 'CreateKey' | 'GetKeyInfo' | 'Sign' | 'DeleteKey';
  readonly request: {
    readonly ID?: string;
    readonly keyID?: { readonly ID: string };
    readonly content?: { readonly base64: string };
    readonly algorithm?: string;
    readonly gun?: string;
    readonly role?: string;
  };
  readonly response: {
    readonly error?: { readonly code: number; readonly details: string };
    readonly content?: { readonly base64: string };
    readonly keyInfo?: { readonly keyID: { readonly ID: string } };
  };
}

let signers: SqlSigners;
beforeAll(async () => {
  signers = await SqlSigners.create();
});
afterAll(() => signers[Symbol.asyncDispose]());

const publicHalf = (row: StoredRow): PublicKey => ({
  algorithm: row.algorithm,
  bytes: Buffer.from(row.public_base64, 'base64'),
});

/** notary-signer's table, complete, in a new database. */
async function loadDump(kind: 'mysql' | 'postgres'): Promise<TestDatabase> {
  const database = await signers.emptyDatabase(kind);
  const dump = await readFile(join(VECTORS, `${kind}-notarysigner.dump.sql`), 'utf8');
  await database.sql(dump.replaceAll(/^(?:CREATE DATABASE|USE|\\).*$/gm, ''));
  if (kind === 'postgres') await database.sql(`ALTER TABLE public.private_keys OWNER TO ${database.name}`);
  return database;
}

async function readRows(kind: string): Promise<readonly StoredRow[]> {
  const text = await readFile(join(VECTORS, `${kind}-private_keys.jsonl`), 'utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as StoredRow);
}

/** The call again. @returns What a client sees. */
async function replay(client: SignerClient, { method, request }: RecordedCall): Promise<unknown> {
  switch (method) {
    case 'CreateKey':
      return client.createKey(request.algorithm ?? '', request.gun ?? '', request.role ?? '');
    case 'GetKeyInfo':
      return client.getKeyInfo(request.ID ?? '');
    case 'DeleteKey':
      return client.deleteKey(request.ID ?? '');
    case 'Sign':
      return client.sign(request.keyID?.ID ?? '', Buffer.from(request.content?.base64 ?? '', 'base64'));
  }
}

describe.each(['mysql', 'postgres'] as const)('the dump of notary-signer on %s', (kind) => {
  let database: TestDatabase;
  let daemon: SqlDaemon;
  let rows: readonly StoredRow[];
  let calls: readonly RecordedCall[];

  beforeAll(async () => {
    rows = await readRows(kind);
    calls = JSON.parse(await readFile(join(VECTORS, `${kind}-calls.json`), 'utf8')) as RecordedCall[];
    database = await loadDump(kind);
    daemon = await signers.startSignetd(database, { config: { logging: { level: 'debug' } } });
  });
  afterAll(() => daemon?.[Symbol.asyncDispose]());

  const rowOf = (keyId: string | undefined) => rows.find((row) => row.key_id === keyId);

  it('serves pending keys again without a new row', async () => {
    const pending = rows.filter((row) => row.last_used === null && row.deleted_at === null);
    expect(pending).toHaveLength(5);
    for (const row of pending) {
      const { keyId, publicKey } = await createKey(daemon.client, row.gun, row);
      expect({ keyId, bytes: Buffer.from(publicKey.bytes) }).toEqual({
        keyId: row.key_id,
        bytes: publicHalf(row).bytes,
      });
    }
    expect(await database.sql('SELECT COUNT(*) FROM private_keys')).toEqual([[String(rows.length)]]);
  });

  it('answers the recorded calls on its keys as notary-signer did', async () => {
    let replayed = 0;
    for (const call of calls) {
      const { method, request, response, note } = call;
      if (response.error !== undefined) {
        await expect(replay(daemon.client, call), note).rejects.toMatchObject(response.error);
      } else if (method === 'DeleteKey') {
        expect(await replay(daemon.client, call), note).toEqual({});
      } else if (method === 'GetKeyInfo') {
        const row = rowOf(request.ID);
        if (row === undefined) throw new Error(note);
        expect(await replay(daemon.client, call), note).toEqual({
          keyInfo: { keyID: { ID: row.key_id }, algorithm: { algorithm: row.algorithm } },
          publicKey: publicHalf(row).bytes,
          role: row.role,
        });
      } else if (method === 'Sign' && rowOf(request.keyID?.ID)?.deleted_at === null) {
        const row = rowOf(request.keyID?.ID);
        const answer = (await replay(daemon.client, call)) as Awaited<ReturnType<SignerClient['sign']>>;
        if (row === undefined) throw new Error(note);
        const content = Buffer.from(request.content?.base64 ?? '', 'base64');
        expect(answer.keyInfo.keyID.ID).toBe(row.key_id);
        expect(answer.algorithm.algorithm, note).toBe(row.algorithm === 'ecdsa' ? 'ecdsa' : 'eddsa');
        expect(verifyIndependently(publicHalf(row), content, answer.content), note).toBe(true);
        // Ed25519 has one signature per content.
        const recorded = Buffer.from(response.content?.base64 ?? '', 'base64');
        if (row.algorithm === 'ed25519') expect(Buffer.from(answer.content)).toEqual(recorded);
        else expect(verifyIndependently(publicHalf(row), content, recorded)).toBe(true);
      } else continue;
      replayed++;
    }
    expect(replayed).toBe(10);
  });

  it('signs with every key that is not deleted, under both passphrases', async () => {
    const live = rows.filter((row) => row.deleted_at === null);
    expect(live).toHaveLength(19);
    const signed = await Promise.all(live.map((row) => signsWith(daemon.client, row.key_id, publicHalf(row))));
    expect(signed).toEqual(live.map(() => true));
    const unused = 'SELECT COUNT(*) FROM private_keys WHERE last_used IS NULL AND deleted_at IS NULL';
    expect(await database.sql(unused)).toEqual([['0']]);
  });

  it('neither shows nor uses a deleted key', async () => {
    const deleted = rows.filter((row) => row.deleted_at !== null);
    expect(deleted).toHaveLength(1);
    for (const { key_id: keyId } of deleted) {
      const code = GRPC_STATUS.NOT_FOUND;
      await expect(daemon.client.getKeyInfo(keyId)).rejects.toMatchObject({ code });
      await expect(daemon.client.sign(keyId, Buffer.from('x'))).rejects.toMatchObject({ code });
      expect(await daemon.client.deleteKey(keyId)).toEqual({});
    }
  });

  it('takes an empty key ID for no key: notary-signer signs with the first, and deletes all', async () => {
    const before = await database.sql('SELECT COUNT(*) FROM private_keys WHERE deleted_at IS NULL');
    await expect(daemon.client.getKeyInfo('')).rejects.toMatchObject({ code: GRPC_STATUS.NOT_FOUND });
    await expect(daemon.client.sign('', Buffer.from('x'))).rejects.toMatchObject({ code: GRPC_STATUS.NOT_FOUND });
    await daemon.client.deleteKey('');
    expect(await database.sql('SELECT COUNT(*) FROM private_keys WHERE deleted_at IS NULL')).toEqual(before);
  });

  it('gets two indexes from -migrate, and nothing the second time, while a daemon and notary-signer use it', async () => {
    const first = await signers.run(database, ['-migrate']);
    expect(first).toMatchObject({ ending: 0, stderr: '' });
    expect(first.stdout).toMatch(/^created index signet_pending in .*\ncreated index signet_alias in .*\n$/);
    const second = await signers.run(database, ['-migrate']);
    expect(second.ending).toBe(0);
    expect(second.stdout).toMatch(/^nothing to do: /);
    await using notarySigner = await signers.startNotarySigner(database);
    const row = rowOf(calls[0]?.response.keyInfo?.keyID.ID);
    if (row === undefined) throw new Error('the first call made a key');
    for (const { client } of [daemon, notarySigner])
      expect(await signsWith(client, row.key_id, publicHalf(row))).toBe(true);
    await createKey(notarySigner.client, 'example.com/after-migrate');
  });

  it('leaves neither passphrases nor private keys nor the password in the log', () => {
    const { stdout, stderr } = daemon.signetd.program;
    for (const secret of [...Object.values(PASSPHRASES), 'p@ss:w', 'p%40ss', 'eyJhbGci']) {
      expect((stdout + stderr).includes(secret), secret).toBe(false);
    }
  });
});

describe.each(['mysql', 'postgres'] as const)('signetd and notary-signer at once on %s', (kind) => {
  let database: TestDatabase;
  let daemon: SqlDaemon;
  let costly: SqlDaemon;
  let notarySigner: SqlSigner;

  beforeAll(async () => {
    database = await signers.database(kind);
    const storage = { revalidate_interval: '500ms' };
    daemon = await signers.startSignetd(database, { storage });
    costly = await signers.startSignetd(database, { storage: { ...storage, p2c: 100_000, default_alias: 'alias2' } });
    notarySigner = await signers.startNotarySigner(database);
  });
  afterAll(async () => {
    for (const signer of [daemon, costly, notarySigner]) await signer?.[Symbol.asyncDispose]();
  });

  it.each(ALGORITHMS)(
    'notary-signer shows and uses %s keys of signetd, also with more iterations',
    async (algorithm) => {
      for (const maker of [daemon, costly]) {
        const { keyId, publicKey } = await createKey(maker.client, `example.com/${maker.port}`, { algorithm });
        const info = await notarySigner.client.getKeyInfo(keyId);
        expect(info).toEqual(await maker.client.getKeyInfo(keyId));
        expect(await signsWith(notarySigner.client, keyId, publicKey)).toBe(true);
        expect(await signsWith(maker.client, keyId, publicKey)).toBe(true);
      }
      const text = kind === 'mysql' ? 'CONVERT(private USING latin1)' : "convert_from(private, 'LATIN1')";
      const headers = (await database.sql(`SELECT ${text} FROM private_keys`)).map(
        ([token = '']) => JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()) as { p2c: number },
      );
      expect(new Set(headers.map(({ p2c }) => p2c))).toEqual(new Set([8192, 100_000]));
    },
  );

  it.each(ALGORITHMS)('signetd shows and uses %s keys of notary-signer', async (algorithm) => {
    const { keyId, publicKey } = await createKey(notarySigner.client, 'example.com/by-notary-signer', { algorithm });
    expect(await daemon.client.getKeyInfo(keyId)).toEqual(await notarySigner.client.getKeyInfo(keyId));
    expect(await signsWith(daemon.client, keyId, publicKey)).toBe(true);
  });

  it('either gives the pending key of the other again, until one of them has signed with it', async () => {
    const [a, b] = [daemon.client, notarySigner.client];
    for (const [gun, maker, other] of [
      ['example.com/ab', a, b],
      ['example.com/ba', b, a],
    ] as const) {
      const { keyId } = await createKey(maker, gun);
      expect((await createKey(other, gun)).keyId).toBe(keyId);
      await other.sign(keyId, Buffer.from('first use'));
      const next = await createKey(maker, gun);
      expect(next.keyId).not.toBe(keyId);
      expect((await createKey(other, gun)).keyId).toBe(next.keyId);
    }
  });

  it('a key that notary-signer deletes stops signing in signetd within the revalidation interval', async () => {
    const { keyId, publicKey } = await createKey(daemon.client, 'example.com/deleted');
    expect(await signsWith(daemon.client, keyId, publicKey)).toBe(true);
    await notarySigner.client.deleteKey(keyId);
    const deletedAt = performance.now();
    const refusal = await waitFor('the refusal', () =>
      daemon.client.sign(keyId, Buffer.from('x')).then(
        () => false as const,
        (error: unknown) => error,
      ),
    );
    expect(refusal).toMatchObject({ code: GRPC_STATUS.NOT_FOUND });
    expect(performance.now() - deletedAt).toBeLessThan(500 + 700);
  });

  it('a key that signetd deletes is deleted for notary-signer, unless it had it in its cache', async () => {
    const { keyId } = await createKey(daemon.client, 'example.com/deleted-by-signetd');
    await daemon.client.deleteKey(keyId);
    await expect(notarySigner.client.getKeyInfo(keyId)).rejects.toMatchObject({ code: GRPC_STATUS.NOT_FOUND });
    await expect(daemon.client.getKeyInfo(keyId)).rejects.toMatchObject({ code: GRPC_STATUS.NOT_FOUND });
  });
});

describe.each(['mysql', 'postgres', 'sqlite3'] as const)('the notary client over signetd on %s', (kind) => {
  it('initialises, publishes, rotates server keys and lists', async () => {
    const database = await signers.database(kind);
    await using stack = await startStack((directory, tls) => startSignetd(directory, tls, signetdOptions(database)));
    const notary = await stack.client('alice');
    const gun = 'registry.example.com/Team/App';
    await writeFile(join(notary.home, 'one.txt'), 'hello one\n');
    await notary.succeeds('init', gun);
    await notary.succeeds('add', gun, 'v1', 'one.txt');
    await notary.succeeds('publish', gun);
    for (const role of ['snapshot', 'timestamp']) {
      expect(await notary.succeeds('key', 'rotate', gun, role, '-r')).toContain(`Successfully rotated ${role} key`);
    }
    await notary.succeeds('addhash', '-p', gun, 'v2', '3', '--sha256', 'ab'.repeat(32));
    const list = await (await stack.client('bob')).succeeds('list', gun);
    expect(list).toMatch(/^v1 +[0-9a-f]{64} +10 +targets/m);
    expect(list).toMatch(/^v2 +(?:ab){32} +3 +targets/m);
    expect(await stack.server.health()).toEqual({ status: 200, body: '{}' });
    const roles = await database.sql(
      `SELECT role, COUNT(*) FROM private_keys WHERE gun = '${gun}' GROUP BY role ORDER BY role`,
    );
    expect(roles).toEqual([
      ['snapshot', '1'],
      ['timestamp', '2'],
    ]);
  });
});

describe.each(['mysql', 'postgres', 'sqlite3'] as const)('a start on %s', (kind) => {
  /** The line that tells why it does not start. */
  async function refusalOf(...[database, options]: Parameters<SqlSigners['startSignetd']>) {
    const { ending, stdout, stderr } = await signers.run(database, [], options);
    for (const secret of ['p@ss:w', 'p%40ss', ...Object.values(PASSPHRASES)])
      expect(stderr.includes(secret)).toBe(false);
    expect({ ending, stdout }).toEqual({ ending: 1, stdout: '' });
    return JSON.parse(stderr.trimEnd().split('\n').at(-1) ?? '') as Record<string, unknown>;
  }

  it('without the table names -migrate', async () => {
    expect(await refusalOf(await signers.emptyDatabase(kind))).toMatchObject({
      level: 'fatal',
      msg: expect.stringMatching(/^cannot use the table private_keys: .*a table is missing/),
      hint: 'create it with: signetd -config FILE -migrate',
    });
  });

  it('over a table with other columns says that -migrate is not the remedy', async () => {
    const database = await signers.emptyDatabase(kind);
    await database.sql('CREATE TABLE private_keys (id integer, key_id varchar(255))');
    if (kind === 'postgres') await database.sql(`ALTER TABLE private_keys OWNER TO ${database.name}`);
    expect(await refusalOf(database)).toMatchObject({
      msg: expect.stringMatching(/^cannot use the table private_keys: .*a column is missing/),
      hint: "check the database in storage.db_url, and run notary-signer's own migrations: -migrate changes no columns",
    });
    expect((await signers.run(database, ['-migrate'])).ending).toBe(1);
  });

  it('after -migrate works, also when several migrate at once', async () => {
    const database = await signers.emptyDatabase(kind);
    const results = await Promise.all(Array.from({ length: 4 }, () => signers.run(database, ['-migrate'])));
    expect(results.map(({ ending, stderr }) => ({ ending, stderr }))).toEqual(
      results.map(() => ({ ending: 0, stderr: '' })),
    );
    const lines = results.flatMap(({ stdout }) => stdout.trimEnd().split('\n'));
    const created = lines.filter((line) => line.startsWith('created '));
    expect(created.map((line) => line.split(' in ')[0]).sort()).toEqual([
      'created index signet_alias',
      'created index signet_pending',
      'created table private_keys',
    ]);
    await using daemon = await signers.startSignetd(database);
    const { keyId, publicKey } = await createKey(daemon.client, 'example.com/first');
    expect(await signsWith(daemon.client, keyId, publicKey)).toBe(true);
  });

  it('without the passphrase of an alias names alias and variable', async () => {
    const database = await signers.database(kind);
    expect(await refusalOf(database, { env: { NOTARY_SIGNER_ALIAS2: 'x' } })).toMatchObject({
      msg: 'keys need passphrases that are not set: alias "alias1"',
      hint: 'set NOTARY_SIGNER_ALIAS1',
    });
    {
      await using daemon = await signers.startSignetd(database, { storage: { default_alias: 'alias2' } });
      await createKey(daemon.client, 'example.com/second-alias');
    }
    expect(await refusalOf(database, { env: { NOTARY_SIGNER_ALIAS1: 'x' } })).toMatchObject({
      msg: 'keys need passphrases that are not set: alias "alias2"',
      hint: 'set NOTARY_SIGNER_ALIAS2',
    });
  });

  it('with a wrong passphrase for new keys is refused; for others it is told and their keys are', async () => {
    const database = await signers.database(kind);
    let keyId: string;
    {
      await using daemon = await signers.startSignetd(database);
      ({ keyId } = await createKey(daemon.client, 'example.com/first-alias'));
    }
    const env = { ...PASSPHRASES, NOTARY_SIGNER_ALIAS1: 'mistyped' };
    const message = 'the passphrase of alias "alias1" does not open its keys';
    expect(await refusalOf(database, { env })).toMatchObject({ msg: message, hint: 'check NOTARY_SIGNER_ALIAS1' });

    await using daemon = await signers.startSignetd(database, { env, storage: { default_alias: 'alias2' } });
    const line = daemon.signetd.log().find(({ msg }) => msg === 'keys cannot be used');
    expect(line).toMatchObject({ level: 'error', code: 'CONFIGURATION', error: message });
    const other = await createKey(daemon.client, 'example.com/second-alias');
    expect(await signsWith(daemon.client, other.keyId, other.publicKey)).toBe(true);
    await expect(daemon.client.sign(keyId, Buffer.from('x'))).rejects.toMatchObject({
      code: GRPC_STATUS.FAILED_PRECONDITION,
      details: `Signing failed for KeyID ${keyId}: the passphrase that the signer has does not open the key`,
    });
    const failed = await waitFor('the log', () => daemon.signetd.log().find(({ msg }) => msg === 'signing failed'));
    expect(failed['error']).toBe(`the passphrase of alias "alias1" does not open key ${keyId}`);
  });

  if (kind === 'sqlite3') {
    it('makes the file for its owner only, and refuses one that others may read', async () => {
      const database = await signers.database(kind);
      expect((await stat(database.dbUrl)).mode & 0o777).toBe(0o600);
      await promisify(execFile)('chmod', ['644', database.dbUrl]);
      expect(await refusalOf(database)).toMatchObject({
        msg: `${database.dbUrl} can be accessed by others`,
        hint: `run: chmod 600 ${database.dbUrl}`,
      });
    });

    it('over a file that is no database says so', async () => {
      const database = await signers.emptyDatabase(kind);
      await writeFile(database.dbUrl, 'not a database, but long enough to be taken for a header of one'.repeat(40), {
        mode: 0o600,
      });
      expect(await refusalOf(database)).toMatchObject({ msg: expect.stringContaining('not an SQLite database') });
    });
  } else {
    it('over a table that the user may not read asks for the right, not for -migrate', async () => {
      const database = await signers.database(kind);
      const user = `'${database.name}'@'127.0.0.1'`;
      await database.sql(
        kind === 'mysql'
          ? `REVOKE SELECT ON ${database.name}.* FROM ${user}`
          : 'ALTER TABLE private_keys OWNER TO postgres',
      );
      expect(await refusalOf(database)).toMatchObject({
        msg: expect.stringMatching(/^cannot use the table private_keys: .*the user lacks a right/),
        hint: 'grant it ALL on private_keys, on PostgreSQL on private_keys_id_seq too; run -migrate as the owner of the table',
      });
    });

    it('with a wrong password shows neither that nor the right one', async () => {
      const database = await signers.database(kind);
      const dbUrl = database.dbUrl.replace(/p@ss:w\/rd|p%40ss%3Aw%2Frd/, 'wr0ng-s3cret');
      expect(dbUrl).toContain('wr0ng-s3cret');
      const line = await refusalOf({ ...database, dbUrl });
      expect(line).toMatchObject({
        msg: expect.stringContaining('the database refuses the user or the password'),
        hint: 'check user and password in storage.db_url',
      });
      expect(JSON.stringify(line)).not.toContain('wr0ng');
    });

    it('without the database or without a server says so', async () => {
      const database = await signers.database(kind);
      const elsewhere = database.dbUrl.replace(`/${database.name}?`, '/no_such_database?');
      const missing = await refusalOf({ ...database, dbUrl: elsewhere });
      expect(missing['msg']).toMatch(/no such database|refuses the user/);
      const { port } = await signers.server(kind);
      const nobody = await refusalOf({ ...database, dbUrl: database.dbUrl.replace(String(port), '1') });
      expect(nobody['msg']).toContain('the database cannot be reached');
    });
  }
});
