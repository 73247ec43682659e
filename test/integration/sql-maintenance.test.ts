/** `-rewrap` and `-purge-deleted` while daemons serve from the table. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GRPC_STATUS } from '../../src/errors.ts';
import { waitFor } from '../support/conditions.ts';
import {
  createKey,
  PASSPHRASES,
  type SqlDaemon,
  SqlSigners,
  signsWith,
  type TestDatabase,
} from '../support/sql-signers.ts';

const KINDS = ['mysql', 'postgres', 'sqlite3'] as const;
type Keys = Awaited<ReturnType<typeof createKey>>[];

let signers: SqlSigners;
beforeAll(async () => {
  signers = await SqlSigners.create();
});
afterAll(() => signers[Symbol.asyncDispose]());

async function createKeys(daemon: SqlDaemon, count: number): Promise<Keys> {
  return Promise.all(
    Array.from({ length: count }, (_, index) =>
      createKey(daemon.client, `example.com/${index}`, { algorithm: index % 3 === 0 ? 'ed25519' : 'ecdsa' }),
    ),
  );
}

async function sealedUnder(database: TestDatabase, alias: string): Promise<number> {
  const [[count] = []] = await database.sql(`SELECT COUNT(*) FROM private_keys WHERE passphrase_alias = '${alias}'`);
  return Number(count);
}

async function allSign(client: SqlDaemon['client'], keys: Keys): Promise<void> {
  for (const { keyId, publicKey } of keys) expect(await signsWith(client, keyId, publicKey), keyId).toBe(true);
}

const rewrap = (from: string, to: string) => ['-rewrap', '-from', from, '-to', to];

describe.each(KINDS)('-rewrap on %s', (kind) => {
  it('killed and continued while a daemon serves fails no signature and loses no key', async () => {
    const database = await signers.database(kind);
    // Keys are forgotten and rows read again all the time: the daemon opens old and new tokens.
    const storage = { unlocked_ttl: '1s', revalidate_interval: '200ms' };
    await using daemon = await signers.startSignetd(database, { storage });
    const keys = await createKeys(daemon, 120);
    const { keyId: deletedKey } = await createKey(daemon.client, 'example.com/deleted');
    await daemon.client.deleteKey(deletedKey);
    const total = keys.length + 1;
    expect(await sealedUnder(database, 'alias1')).toBe(total);

    let isOver = false;
    const signing = Array.from({ length: 3 }, async (_, part) => {
      while (!isOver)
        await allSign(
          daemon.client,
          keys.filter((_key, index) => index % 3 === part),
        );
    });

    const killed = await signers.launch(database, rewrap('alias1', 'alias2'));
    await waitFor('some keys under the new alias', async () => (await sealedUnder(database, 'alias2')) >= 15);
    killed.kill('SIGKILL');
    expect((await killed.ended).ending).toBe('SIGKILL');

    const told = await signers.launch(database, rewrap('alias1', 'alias2'));
    const before = await sealedUnder(database, 'alias2');
    await waitFor('more keys', async () => (await sealedUnder(database, 'alias2')) > before + 15);
    told.kill('SIGTERM');
    const { ending, stderr } = await told.ended;
    expect({ ending, stderr }).toEqual({
      ending: 1,
      stderr: expect.stringContaining('stopped; start it again to go on'),
    });

    const done = await sealedUnder(database, 'alias2');
    expect(done).toBeGreaterThan(30);
    expect(done).toBeLessThan(total);
    const rest = await signers.run(database, rewrap('alias1', 'alias2'));
    expect(rest).toMatchObject({
      ending: 0,
      stdout: `${total - done} keys re-wrapped from "alias1" to "alias2", 0 left as they are (see the log)\n`,
    });
    expect(await sealedUnder(database, 'alias2')).toBe(total);
    isOver = true;
    await Promise.all(signing);

    // The old passphrase is of no use any more, and not needed.
    const env = { NOTARY_SIGNER_ALIAS2: PASSPHRASES.NOTARY_SIGNER_ALIAS2 };
    await using fresh = await signers.startSignetd(database, { storage: { default_alias: 'alias2' }, env });
    await allSign(fresh.client, keys);
    await expect(fresh.client.getKeyInfo(deletedKey)).rejects.toMatchObject({ code: GRPC_STATUS.NOT_FOUND });
    if (kind === 'sqlite3') return; // notary-signer cannot open it
    await using notarySigner = await signers.startNotarySigner(database, 'alias2');
    await allSign(notarySigner.client, keys);
  });

  it('with another passphrase than the keys of the new alias have changes nothing', async () => {
    const database = await signers.database(kind);
    await using daemon = await signers.startSignetd(database, { storage: { default_alias: 'alias2' } });
    await createKeys(daemon, 2);
    {
      await using other = await signers.startSignetd(database);
      await createKey(other.client, 'example.com/to-be-sealed-anew');
    }
    const env = { ...PASSPHRASES, NOTARY_SIGNER_ALIAS2: 'mistyped' };
    const { ending, stdout, stderr } = await signers.run(database, rewrap('alias1', 'alias2'), { env });
    expect({ ending, stdout }).toEqual({ ending: 1, stdout: '' });
    expect(JSON.parse(stderr.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({
      msg: 'the passphrase of alias "alias2" does not open its keys',
      hint: 'check NOTARY_SIGNER_ALIAS2',
    });
    expect(await sealedUnder(database, 'alias1')).toBe(1);
  });

  it('run twice at once seals each key once', async () => {
    const database = await signers.database(kind);
    await using daemon = await signers.startSignetd(database);
    const keys = await createKeys(daemon, 40);
    const runs = await Promise.all([1, 2].map(() => signers.run(database, rewrap('alias1', 'alias2'))));
    const counts = runs.map(({ stdout }) => Number(/^(\d+) keys re-wrapped/.exec(stdout)?.[1]));
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(40);
    for (const { ending, stdout } of runs) {
      const changed = Number(/^(\d+) keys changed meanwhile/m.exec(stdout)?.[1] ?? 0);
      expect(ending).toBe(changed === 0 ? 0 : 1);
    }
    await allSign(daemon.client, keys);
    expect(await sealedUnder(database, 'alias2')).toBe(40);
  });

  it('leaves damaged rows as they are, tells which, and ends with 1', async () => {
    const database = await signers.database(kind);
    await using daemon = await signers.startSignetd(database);
    const keys = await createKeys(daemon, 5);
    const [cut, swapped, foreign, ...sound] = keys.map(({ keyId }) => keyId);
    {
      await using other = await signers.startSignetd(database, { storage: { default_alias: 'alias2' } });
      await createKey(other.client, 'example.com/other-alias');
    }
    const tokenOf = (condition: string) =>
      `(SELECT private FROM (SELECT private FROM private_keys WHERE ${condition}) AS t)`;
    const set = (keyId: string | undefined, value: string) =>
      database.sql(`UPDATE private_keys SET private = ${value} WHERE key_id = '${keyId}'`);
    await set(cut, kind === 'sqlite3' ? 'substr(private, 1, 100)' : 'SUBSTRING(private FROM 1 FOR 100)');
    await set(swapped, tokenOf(`key_id = '${sound[0]}'`));
    await set(foreign, tokenOf("passphrase_alias = 'alias2'"));
    const hex = { mysql: 'HEX(private)', postgres: "encode(private, 'hex')", sqlite3: 'hex(private)' }[kind];
    const damaged = `SELECT key_id, passphrase_alias, ${hex} FROM private_keys WHERE key_id IN ('${cut}', '${swapped}', '${foreign}') ORDER BY id`;
    const before = await database.sql(damaged);

    const { ending, stdout, stderr } = await signers.run(database, rewrap('alias1', 'alias2'));
    expect({ ending, stdout }).toEqual({
      ending: 1,
      stdout: '2 keys re-wrapped from "alias1" to "alias2", 3 left as they are (see the log)\n',
    });
    const lines = stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.filter(({ msg }) => msg === 'key left as it is')).toMatchObject(
      [
        [cut, 'INTEGRITY'],
        [swapped, 'INTEGRITY'],
        [foreign, 'PASSPHRASE_INCORRECT'],
      ]
        .sort(([a = ''], [b = '']) => before.findIndex(([id]) => id === a) - before.findIndex(([id]) => id === b))
        .map(([keyId, code]) => ({ keyId, code })),
    );
    for (const secret of [...Object.values(PASSPHRASES), 'eyJhbGci', 'p@ss'])
      expect(stderr.includes(secret)).toBe(false);
    expect(await database.sql(damaged)).toEqual(before);
    await allSign(daemon.client, keys.slice(3));
  });
});

describe.each(KINDS)('-purge-deleted on %s', (kind) => {
  it('removes for good what was deleted before the age, and nothing else', async () => {
    const database = await signers.database(kind);
    await using daemon = await signers.startSignetd(database);
    const keys = await createKeys(daemon, 105);
    const [kept, recent, ...old] = keys.map(({ keyId }) => keyId);
    for (const keyId of [recent ?? '', ...old]) await daemon.client.deleteKey(keyId);
    const past = new Date(Date.now() - 31 * 86_400_000).toISOString().slice(0, 19).replace('T', ' ');
    await database.sql(
      `UPDATE private_keys SET deleted_at = '${past}' WHERE deleted_at IS NOT NULL AND key_id <> '${recent}'`,
    );

    const tooYoung = await signers.run(database, ['-purge-deleted', '-older-than', '32d']);
    expect(tooYoung).toMatchObject({
      ending: 0,
      stderr: '',
      stdout: expect.stringMatching(/^0 keys that were deleted before /),
    });
    const purged = await signers.run(database, ['-purge-deleted', '-older-than', '30d']);
    expect(purged).toMatchObject({
      ending: 0,
      stderr: '',
      stdout: expect.stringMatching(/^103 keys that were deleted before \d{4}-.* are gone for good\n$/),
    });
    const left = await database.sql('SELECT key_id FROM private_keys ORDER BY deleted_at IS NULL');
    expect(left).toEqual([[recent], [kept]]);
    const all = await signers.run(database, ['-purge-deleted', '-older-than', '99999999h']);
    expect(all).toMatchObject({
      ending: 0,
      stdout: '0 keys that were deleted before 1970-01-01T00:00:00.000Z are gone for good\n',
    });
    await allSign(daemon.client, keys.slice(0, 1));
  });
});

describe('maintenance', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await signers.database('sqlite3');
  });

  it.each([
    [['-rewrap'], '-rewrap needs two passphrase aliases'],
    [['-rewrap', '-from', 'alias1'], '-rewrap needs two passphrase aliases'],
    [rewrap('alias1', 'alias1'), '-rewrap from an alias to itself changes nothing'],
    [['-rewrap', '-from'], 'flag needs an argument: -from'],
    [['-purge-deleted'], '-purge-deleted needs an age'],
    [['-purge-deleted', '-older-than', '-5d'], '-purge-deleted needs an age'],
    [['-purge-deleted', '-older-than', '30'], '-purge-deleted needs an age'],
    [['-older-than', '30d'], '-older-than goes with -purge-deleted'],
    [['-migrate', '-from', 'alias1'], '-from goes with -rewrap'],
    [['-migrate', '-purge-deleted', '-older-than', '30d'], '-migrate and -purge-deleted cannot be combined'],
  ])('%j is wrong usage', async (flags, message) => {
    const { ending, stdout, stderr } = await signers.run(database, flags);
    expect({ ending, stdout }).toEqual({ ending: 2, stdout: '' });
    expect(stderr).toMatch(new RegExp(`^signetd: ${message}\\n`));
    expect(stderr).toContain('usage: signetd');
  });

  const fatal = (stderr: string) => JSON.parse(stderr.trimEnd().split('\n').at(-1) ?? '') as unknown;

  it('without one of the passphrases names its variable', async () => {
    const [present, missing] = ['alias1', 'alias3'];
    for (const flags of [rewrap(present, missing), rewrap(missing, present)]) {
      const { ending, stderr } = await signers.run(database, flags);
      expect(ending).toBe(1);
      expect(fatal(stderr)).toMatchObject({
        msg: 'the passphrase of alias "alias3" is not set',
        hint: 'set NOTARY_SIGNER_ALIAS3',
      });
    }
  });

  it.each([[rewrap('alias1', 'alias2')], [['-purge-deleted', '-older-than', '1d']]])(
    '%j without the table names -migrate',
    async (flags) => {
      const { ending, stderr } = await signers.run(await signers.emptyDatabase('sqlite3'), flags);
      expect(ending).toBe(1);
      expect(fatal(stderr)).toMatchObject({
        msg: expect.stringMatching(/^cannot use the table private_keys: /),
        hint: 'create it with: signetd -config FILE -migrate',
      });
    },
  );

  it('of keys that are files is refused', async () => {
    const storage = { backend: 'file', db_url: undefined, path: 'keys' };
    const { ending, stderr } = await signers.run(database, ['-migrate'], { storage });
    expect(ending).toBe(1);
    expect(fatal(stderr)).toMatchObject({ msg: 'storage.backend is "file": there is no table to work on' });
  });
});
