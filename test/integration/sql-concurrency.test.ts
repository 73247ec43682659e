/** Several signetd processes over one table: no key twice, no wrong answer, and all of them back by themselves. */
import { createPublicKey, verify } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { GRPC_STATUS } from '../../src/errors.ts';
import { waitFor } from '../support/conditions.ts';
import { Resources } from '../support/resources.ts';
import type { SignerClient } from '../support/signer-client.ts';
import {
  createKey,
  type SqlDaemon,
  type SqlDaemonOptions,
  SqlSigners,
  type TestDatabase,
} from '../support/sql-signers.ts';

const KINDS = ['mysql', 'postgres', 'sqlite3'] as const;
const SERVERS = ['mysql', 'postgres'] as const;
const CONTENT = Buffer.from('content');
/** grpc.health.v1.HealthCheckResponse */
const SERVING = 1;

let signers: SqlSigners;
let resources: Resources;
beforeAll(async () => {
  signers = await SqlSigners.create();
});
afterAll(() => signers[Symbol.asyncDispose]());
beforeEach(() => {
  resources = new Resources();
});
afterEach(() => resources[Symbol.asyncDispose]());

function start(database: TestDatabase, count: number, options: SqlDaemonOptions = {}): Promise<SqlDaemon[]> {
  return Promise.all(
    Array.from({ length: count }, async () => resources.use(await signers.startSignetd(database, options))),
  );
}

/** @returns The gRPC code, 0 for a signature. */
async function signingCode(client: SignerClient, keyId: string): Promise<number> {
  return client.sign(keyId, CONTENT).then(
    () => GRPC_STATUS.OK,
    (error: { code: number }) => error.code,
  );
}

async function isServing({ client }: SqlDaemon): Promise<boolean> {
  return client.checkHealth().then(
    ({ status }) => status === SERVING,
    () => false,
  );
}

describe.each(KINDS)('two daemons on %s', (kind) => {
  let database: TestDatabase;
  let daemons: readonly [SqlDaemon, SqlDaemon];
  const revalidateMs = 1000;

  beforeAll(async () => {
    database = await signers.database(kind);
    const options = { storage: { revalidate_interval: `${revalidateMs}ms` } };
    daemons = [await signers.startSignetd(database, options), await signers.startSignetd(database, options)];
  });
  afterAll(async () => {
    for (const daemon of daemons) await daemon[Symbol.asyncDispose]();
  });
  /** They take turns. */
  const daemon = (index: number) => daemons[index % 2 === 0 ? 0 : 1];

  it('make one key of 64 concurrent CreateKeys for each owner and algorithm', async () => {
    const owners = [
      { gun: 'example.com/app', role: 'timestamp', algorithm: 'ecdsa' },
      { gun: 'example.com/app', role: 'timestamp', algorithm: 'ed25519' },
      { gun: 'example.com/app', role: 'snapshot', algorithm: 'ecdsa' },
    ];
    const made = await Promise.all(
      owners.map((owner) =>
        Promise.all(
          Array.from({ length: 64 }, async (_, index) => {
            return (await createKey(daemon(index).client, owner.gun, owner)).keyId;
          }),
        ),
      ),
    );
    expect(made.map((keyIds) => new Set(keyIds).size)).toEqual([1, 1, 1]);
    expect(new Set(made.flat()).size).toBe(3);
    expect(await database.sql('SELECT COUNT(*) FROM private_keys')).toEqual([['3']]);
  });

  it('tell GUNs apart that differ in case or accents only', async () => {
    const word = 'team-a';
    const guns = Array.from({ length: 32 }, (_, bits) =>
      [...word].map((letter, index) => ((bits >> index) & 1 ? letter.toUpperCase() : letter)).join(''),
    );
    const odd = ['t\u00e9am-a', 'te\u0301am-a', '\u00dfteam', 'ssteam'];
    const all = [...new Set(guns), ...odd];
    const create = (first: number) =>
      Promise.all(all.map(async (gun, index) => (await createKey(daemon(first + index).client, gun)).keyId));
    const made = await create(0);
    expect(new Set(made).size).toBe(all.length);
    expect(await create(0)).toEqual(made); // each finds its own pending key among those that compare as equal
    expect(await create(1)).toEqual(made);
    // notary-signer takes a blank at the end, which MySQL ignores when it compares.
    const [plain = ''] = made;
    await database.sql(`UPDATE private_keys SET gun = '${word} ' WHERE key_id = '${plain}'`);
    expect(made).not.toContain((await createKey(daemon(0).client, word)).keyId);
  });

  it('sign with a key at once that the other has just made', async () => {
    for (let round = 0; round < 10; round++) {
      const { keyId } = await createKey(daemon(round).client, `example.com/${round}`);
      expect(await signingCode(daemon(round + 1).client, keyId)).toBe(GRPC_STATUS.OK);
    }
  });

  it('stop signing with a deleted key within the revalidation interval', async () => {
    const [deleter, other] = daemons;
    const { keyId } = await createKey(deleter.client, 'example.com/deleted');
    for (const { client } of daemons) expect(await signingCode(client, keyId)).toBe(GRPC_STATUS.OK);
    await deleter.client.deleteKey(keyId);
    expect(await signingCode(deleter.client, keyId)).toBe(GRPC_STATUS.NOT_FOUND);
    await waitFor('the refusal', async () => (await signingCode(other.client, keyId)) === GRPC_STATUS.NOT_FOUND);
    expect(await signingCode(other.client, keyId)).toBe(GRPC_STATUS.NOT_FOUND);
  });

  it('do not sign for the first time with a key that the other has deleted since they looked', async () => {
    const [deleter, other] = daemons;
    const { keyId } = await createKey(other.client, 'example.com/never-used');
    await other.client.getKeyInfo(keyId);
    await deleter.client.deleteKey(keyId);
    expect(await signingCode(other.client, keyId)).toBe(GRPC_STATUS.NOT_FOUND);
  });
});

describe('a deletion on postgres', () => {
  const storage = { revalidate_interval: '10m' };

  async function stopsAtOnce(daemons: readonly SqlDaemon[], gun: string): Promise<void> {
    const [deleter, ...others] = daemons;
    if (deleter === undefined) throw new Error('no daemon');
    const { keyId } = await createKey(deleter.client, gun);
    for (const { client } of daemons) expect(await signingCode(client, keyId)).toBe(GRPC_STATUS.OK);
    await deleter.client.deleteKey(keyId);
    for (const { client } of others) {
      await waitFor('the refusal', async () => (await signingCode(client, keyId)) === GRPC_STATUS.NOT_FOUND, {
        intervalMs: 2,
      });
    }
  }

  it('stops the other daemons at once, also while they sign, and after their connections were cut', async () => {
    const database = await signers.database('postgres');
    const daemons = await start(database, 3, { storage });
    await stopsAtOnce(daemons, 'example.com/first');

    // The busy daemon always has the row in hand or on its way.
    const [deleter, busy] = daemons;
    if (deleter === undefined || busy === undefined) throw new Error('no daemon');
    for (let round = 0; round < 20; round++) {
      const { keyId } = await createKey(deleter.client, `example.com/busy-${round}`);
      let told = false;
      const load = Array.from({ length: 8 }, async () => {
        while (!told) await signingCode(busy.client, keyId);
      });
      await delay(Math.random() * 20);
      await deleter.client.deleteKey(keyId);
      await delay(100);
      told = true;
      await Promise.all(load);
      await waitFor('the refusal', async () => (await signingCode(busy.client, keyId)) === GRPC_STATUS.NOT_FOUND);
    }

    const cut = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${database.name}'`;
    expect((await database.sql(cut)).length).toBeGreaterThan(2);
    const listeners = `SELECT COUNT(*) FROM pg_stat_activity WHERE usename = '${database.name}' AND query ILIKE 'LISTEN%'`;
    await waitFor('three listeners', async () => (await database.sql(listeners))[0]?.[0] === '3');
    await stopsAtOnce(daemons, 'example.com/second');
  });
});

describe.each(SERVERS)('last_used on %s', (kind) => {
  let database: TestDatabase;
  let daemon: SqlDaemon;
  beforeEach(async () => {
    database = await signers.database(kind);
    [daemon] = (await start(database, 1)) as [SqlDaemon];
  });

  const lastUsed = async (keyId: string) =>
    (
      await database.sql(
        `SELECT COALESCE(last_used, created_at), last_used IS NULL FROM private_keys WHERE key_id = '${keyId}'`,
      )
    )[0];

  /** Holds all rows for two seconds. */
  async function lockRows(): Promise<{ isHeld: boolean; readonly done: Promise<unknown> }> {
    const sleep = kind === 'mysql' ? 'SELECT SLEEP(2)' : 'SELECT pg_sleep(2)';
    const ended = database.sql(`BEGIN; SELECT id FROM private_keys FOR UPDATE; ${sleep}; COMMIT;`);
    const lock = { isHeld: true, done: ended };
    // The program that holds it needs a moment to end after the rows are free.
    setTimeout(() => (lock.isHeld = false), 2000);
    await delay(300);
    return lock;
  }

  it('is written before the first signature is given out, and only then', async () => {
    const { keyId } = await createKey(daemon.client, 'example.com/app');
    expect((await lastUsed(keyId))?.[1]).toMatch(/^[1t]/);
    const lock = await lockRows();
    expect(await signingCode(daemon.client, keyId)).toBe(GRPC_STATUS.OK);
    expect(lock.isHeld).toBe(false);
    expect((await lastUsed(keyId))?.[1]).toMatch(/^[0f]/);
    await lock.done;

    const lockAgain = await lockRows();
    expect(await signingCode(daemon.client, keyId)).toBe(GRPC_STATUS.OK);
    expect(lockAgain.isHeld).toBe(true);
    await lockAgain.done;
  });

  it('is gathered afterwards: not a statement for each signature, and what is left is written at the end', async () => {
    const keys = await Promise.all(
      Array.from({ length: 10 }, (_, index) => createKey(daemon.client, `example.com/${index}`)),
    );
    for (const { keyId } of keys) await daemon.client.sign(keyId, CONTENT);
    const before = await database.sql('SELECT key_id, last_used FROM private_keys ORDER BY key_id');
    await delay(1100); // MySQL keeps whole seconds
    const updatesBefore = await countUpdates(database);
    for (let round = 0; round < 30; round++) {
      await Promise.all(keys.map(({ keyId }) => daemon.client.sign(keyId, CONTENT)));
    }
    const { ending } = await daemon.signetd.stop();
    expect(ending).toBe(0);
    const after = await database.sql('SELECT key_id, last_used FROM private_keys ORDER BY key_id');
    for (const [index, [, time = '']] of after.entries()) expect(time > (before[index]?.[1] ?? '')).toBe(true);
    // 300 signatures: a few batches of at most ten rows.
    const updates = await waitFor('the count', async () => {
      const count = (await countUpdates(database)) - updatesBefore;
      return count > 0 && count;
    });
    expect(updates).toBeLessThanOrEqual(kind === 'mysql' ? 4 : 40);
  });

  /** MariaDB counts statements, PostgreSQL rows, some time afterwards. */
  async function countUpdates({ sql, name }: TestDatabase): Promise<number> {
    const query =
      kind === 'mysql'
        ? "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'COM_UPDATE'"
        : `SELECT n_tup_upd FROM pg_stat_all_tables WHERE relname = 'private_keys' AND pg_catalog.current_database() = '${name}'`;
    return Number((await sql(query))[0]?.[0]);
  }
});

/** What a client was told, and when. */
interface Answer {
  readonly at: number;
  readonly code: number;
  readonly details: string;
}

/** Signs with every key in turn, and makes a key now and then, until it is stopped. */
class Load {
  readonly answers: Answer[] = [];
  readonly created: string[] = [];
  wrong = 0;
  readonly #done: Promise<unknown>;
  #isStopped = false;

  constructor(client: SignerClient, keys: ReadonlyMap<string, ReturnType<typeof createPublicKey>>, gun: string) {
    this.#done = Promise.all(Array.from({ length: 4 }, (_, index) => this.#run(client, keys, `${gun}/${index}`)));
  }

  async hasAnswers(count: number): Promise<void> {
    await waitFor(`${count} answers`, () => this.answers.length >= count, { timeoutMs: 30_000 });
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#done;
  }

  async #run(client: SignerClient, keys: ReadonlyMap<string, ReturnType<typeof createPublicKey>>, gun: string) {
    for (let round = 0; !this.#isStopped; round++) {
      for (const [keyId, key] of keys) {
        if (this.#isStopped) return;
        await this.#note(async () => {
          const { content: signature } = await client.sign(keyId, CONTENT);
          if (!verify('sha256', CONTENT, { key, dsaEncoding: 'ieee-p1363' }, signature)) this.wrong++;
        });
        await delay(2);
      }
      await this.#note(async () => void this.created.push((await createKey(client, `${gun}/${round}`)).keyId));
    }
  }

  async #note(call: () => Promise<void>): Promise<void> {
    let [code, details]: [number, string] = [GRPC_STATUS.OK, ''];
    try {
      await call();
    } catch (error) {
      ({ code, details } = error as Answer);
    }
    this.answers.push({ at: performance.now(), code, details });
  }
}

describe.each(SERVERS)('three daemons under load on %s', (kind) => {
  it('answer right or UNAVAILABLE, and recover from a killed daemon and a restarted database', async () => {
    await using ownSigners = await SqlSigners.create();
    const server = await ownSigners.server(kind);
    const database = await ownSigners.database(kind);
    const options = { storage: { revalidate_interval: '1s' } };
    const replica = async () => resources.use(await ownSigners.startSignetd(database, options));
    const daemons = await Promise.all([replica(), replica(), replica()]);
    const [first, second, victim] = daemons;
    const keys = new Map(
      await Promise.all(
        Array.from({ length: 20 }, async (_, index) => {
          const { keyId, publicKey } = await createKey(first.client, `example.com/${index}`);
          return [keyId, createPublicKey({ key: Buffer.from(publicKey.bytes), format: 'der', type: 'spki' })] as const;
        }),
      ),
    );
    const survivors = [first, second].map(({ client, port }) => new Load(client, keys, `example.com/load-${port}`));
    const victimLoad = new Load(victim.client, keys, 'example.com/victim');

    for (const load of [...survivors, victimLoad]) await load.hasAnswers(100);
    const killedAt = performance.now();
    await victim.kill();
    await delay(300);
    await victimLoad.stop();
    const replacement = await replica();
    const replacementLoad = new Load(replacement.client, keys, 'example.com/replacement');
    await replacementLoad.hasAnswers(100);

    const running = [first, second, replacement];
    const stoppedAt = performance.now();
    await server.stop();
    for (const daemon of running) {
      await waitFor('NOT_SERVING', async () => !(await isServing(daemon)), { timeoutMs: 8000, intervalMs: 100 });
    }
    await delay(1000); // no row is believed any more
    for (const { client } of running) {
      for (const keyId of [...keys.keys()].slice(0, 3)) {
        await expect(client.sign(keyId, CONTENT)).rejects.toMatchObject({
          code: GRPC_STATUS.UNAVAILABLE,
          details: `Signing failed for KeyID ${keyId}: the key storage is not available`,
        });
      }
      await expect(createKey(client, 'example.com/while-down')).rejects.toMatchObject({
        code: GRPC_STATUS.UNAVAILABLE,
        details: 'Key creation failed',
      });
      const [someKey = ''] = keys.keys();
      await expect(client.getKeyInfo(someKey)).rejects.toMatchObject({ code: GRPC_STATUS.UNAVAILABLE });
      await expect(client.deleteKey('0'.repeat(64))).rejects.toMatchObject({ code: GRPC_STATUS.UNAVAILABLE });
    }
    await server.start();
    const startedAt = performance.now();
    for (const daemon of running) {
      const [keyId = ''] = keys.keys();
      await waitFor('SERVING', () => isServing(daemon), { timeoutMs: 10_000, intervalMs: 100 });
      expect(await signingCode(daemon.client, keyId)).toBe(GRPC_STATUS.OK);
    }
    const recoveredAt = performance.now();
    expect(recoveredAt - startedAt).toBeLessThan(10_000);
    await delay(1000);
    const loads = [...survivors, victimLoad, replacementLoad];
    for (const load of loads) await load.stop();

    expect(loads.map(({ wrong }) => wrong)).toEqual([0, 0, 0, 0]);
    for (const load of loads) {
      const answered = load.answers.filter(({ code }) => code === GRPC_STATUS.OK);
      expect(answered.length).toBeGreaterThan(50);
      const failed = load.answers.filter(({ code }) => code !== GRPC_STATUS.OK);
      const since = load === victimLoad ? killedAt : stoppedAt;
      expect(
        failed.filter(({ code, at }) => code !== GRPC_STATUS.UNAVAILABLE || at < since || at > recoveredAt),
      ).toEqual([]);
    }
    for (const load of survivors) expect(load.answers.at(-1)?.code).toBe(GRPC_STATUS.OK);

    const created = loads.flatMap((load) => load.created);
    expect(created.length).toBeGreaterThan(10);
    for (const keyId of created) expect(await signingCode(second.client, keyId)).toBe(GRPC_STATUS.OK);
    for (const { signetd } of running) {
      const down = signetd.log().filter(({ msg }) => msg === 'backend is down' || msg === 'backend is up');
      expect(down.map(({ msg }) => msg).slice(-2)).toEqual(['backend is down', 'backend is up']);
      // Daemons that mark the same keys as used do not get in each other's way.
      expect(signetd.log().filter(({ error }) => String(error).includes('another transaction'))).toEqual([]);
      expect(signetd.program.stderr.includes('p@ss:w') || signetd.program.stderr.includes('p%40ss')).toBe(false);
      expect((await signetd.stop()).ending).toBe(0);
    }
  });
});
