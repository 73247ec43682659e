/** Rows that somebody damaged, and databases that refuse, stall or vanish: a clear answer each time, the rest goes on. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openDatabase } from '../../src/backends/sql/open-database.ts';
import { GRPC_STATUS } from '../../src/errors.ts';
import { waitFor } from '../support/conditions.ts';
import type { SignerClient } from '../support/signer-client.ts';
import {
  createKey,
  PASSPHRASES,
  type SqlDaemon,
  SqlSigners,
  signsWith,
  type TestDatabase,
} from '../support/sql-signers.ts';

const KINDS = ['mysql', 'postgres', 'sqlite3'] as const;
const SERVERS = ['mysql', 'postgres'] as const;
const CONTENT = Buffer.from('content that is secret');
const { OK, UNAVAILABLE, DATA_LOSS, FAILED_PRECONDITION, INTERNAL, UNIMPLEMENTED } = GRPC_STATUS;
/** grpc.health.v1.HealthCheckResponse */
const [SERVING, NOT_SERVING] = [1, 2];

let signers: SqlSigners;
beforeAll(async () => {
  signers = await SqlSigners.create();
});
afterAll(() => signers[Symbol.asyncDispose]());

interface Outcome {
  readonly code: number;
  readonly details: string;
}

function outcomeOf(call: Promise<unknown>): Promise<Outcome> {
  return call.then(
    () => ({ code: OK, details: '' }),
    ({ code, details }: Outcome) => ({ code, details }),
  );
}

const sign = (client: SignerClient, keyId: string) => outcomeOf(client.sign(keyId, CONTENT));
const health = async ({ client }: SqlDaemon) => (await client.checkHealth()).status;

/** Neither what is secret nor where the database is. */
function expectNothingSecret(text: string, also: readonly string[] = []): void {
  const secrets = [
    ...Object.values(PASSPHRASES),
    'p@ss',
    'p%40ss',
    'eyJhbGci',
    CONTENT.toString(),
    CONTENT.toString('hex'),
  ];
  for (const secret of [...secrets, ...also]) expect(text.includes(secret), secret).toBe(false);
}

const hexLiteral = { mysql: 'X', postgres: '\\x', sqlite3: 'X' } as const;
function blob(kind: TestDatabase['kind'], text: string | Buffer): string {
  const hex = Buffer.from(text).toString('hex');
  return kind === 'postgres' ? `'${hexLiteral[kind]}${hex}'` : `${hexLiteral[kind]}'${hex}'`;
}

/** A compact JWE with changes. */
function tamper(
  token: string,
  header: object | undefined,
  change: (parts: string[]) => void = () => undefined,
): string {
  const parts = token.split('.');
  if (header !== undefined) {
    const old = JSON.parse(Buffer.from(parts[0] ?? '', 'base64url').toString()) as object;
    parts[0] = Buffer.from(JSON.stringify({ ...old, ...header })).toString('base64url');
  }
  change(parts);
  return parts.join('.');
}

function flip(part: number): (parts: string[]) => void {
  return (parts) => {
    const bytes = Buffer.from(parts[part] ?? '', 'base64url');
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    parts[part] = bytes.toString('base64url');
  };
}

interface Damage {
  readonly what: string;
  /** @param token Of the key. @param other Of another key. @returns Columns and their new values in SQL. */
  readonly set: (values: {
    readonly token: string;
    readonly other: string;
    readonly kind: TestDatabase['kind'];
  }) => string;
  readonly code: number;
  /** Our code in the log. */
  readonly logged: string;
  /** What GetKeyInfo answers, which does not open the key. */
  readonly info?: number;
}

const privateTo = (change: (token: string, other: string) => string | Buffer): Damage['set'] => {
  return ({ token, other, kind }) => `private = ${blob(kind, change(token, other))}`;
};
const integrity = { code: DATA_LOSS, logged: 'INTEGRITY' };
const wrongPassphrase = { code: FAILED_PRECONDITION, logged: 'PASSPHRASE_INCORRECT' };

const DAMAGES: readonly Damage[] = [
  { what: 'an empty token', set: privateTo(() => ''), ...integrity },
  { what: 'a token that is none', set: privateTo(() => 'not a token'), ...integrity },
  {
    what: 'a token of random bytes',
    set: privateTo(() => Buffer.from([0, 255, 254, 46, 46, 46, 46, 128])),
    ...integrity,
  },
  { what: 'a token of 60 000 characters', set: privateTo(() => 'A'.repeat(60_000)), ...integrity },
  { what: 'a token that was cut', set: privateTo((token) => token.slice(0, 200)), ...integrity },
  { what: 'a changed content', set: privateTo((token) => tamper(token, undefined, flip(3))), ...integrity },
  { what: 'a changed authentication tag', set: privateTo((token) => tamper(token, undefined, flip(4))), ...integrity },
  { what: 'a changed wrapped key', set: privateTo((token) => tamper(token, undefined, flip(1))), ...wrongPassphrase },
  {
    what: 'a p2c that would take hours',
    set: privateTo((token) => tamper(token, { p2c: 2_000_000_000 })),
    ...integrity,
  },
  {
    what: 'a p2c of a thousand digits',
    set: privateTo((token) => tamper(token, {}).replace(/^[^.]*/, hugeHeader)),
    ...integrity,
  },
  { what: 'a p2c of zero', set: privateTo((token) => tamper(token, { p2c: 0 })), ...integrity },
  { what: 'a negative p2c', set: privateTo((token) => tamper(token, { p2c: -1 })), ...integrity },
  { what: 'a p2c that is a text', set: privateTo((token) => tamper(token, { p2c: '8192' })), ...integrity },
  { what: 'no salt', set: privateTo((token) => tamper(token, { p2s: undefined })), ...integrity },
  {
    what: 'another algorithm in the token',
    set: privateTo((token) => tamper(token, { alg: 'dir' })),
    code: UNIMPLEMENTED,
    logged: 'UNSUPPORTED',
  },
  {
    what: 'a compressed token',
    set: privateTo((token) => tamper(token, { zip: 'DEF' })),
    code: UNIMPLEMENTED,
    logged: 'UNSUPPORTED',
  },
  { what: 'the private half of another key', set: privateTo((_token, other) => other), ...integrity },
  { what: "another alias's name", set: () => "passphrase_alias = 'alias2'", ...wrongPassphrase },
  {
    what: 'an alias that nobody knows',
    set: () => "passphrase_alias = 'nobody'",
    code: FAILED_PRECONDITION,
    logged: 'PASSPHRASE_REQUIRED',
  },
  { what: 'no alias', set: () => "passphrase_alias = ''", code: FAILED_PRECONDITION, logged: 'PASSPHRASE_REQUIRED' },
  { what: 'an unknown algorithm', set: () => "algorithm = 'rsa'", ...integrity, info: DATA_LOSS },
  { what: 'no algorithm', set: () => "algorithm = ''", ...integrity, info: DATA_LOSS },
  { what: 'the other algorithm', set: () => "algorithm = 'ed25519'", ...integrity, info: DATA_LOSS },
  {
    what: 'the public half of another key',
    set: () => 'public = (SELECT public FROM (SELECT public FROM private_keys WHERE id = 1) AS t)',
    ...integrity,
    info: DATA_LOSS,
  },
  { what: 'an empty public half', set: ({ kind }) => `public = ${blob(kind, '')}`, ...integrity, info: DATA_LOSS },
];

function hugeHeader(): string {
  const text = `{"alg":"PBES2-HS256+A128KW","enc":"A256GCM","p2c":${'9'.repeat(1000)},"p2s":"AAAAAAAAAAAAAAAA"}`;
  return Buffer.from(text).toString('base64url');
}

describe.each(KINDS)('a row on %s', (kind) => {
  let database: TestDatabase;
  let maker: SqlDaemon;
  /** Has never seen the damaged rows as they were. */
  let daemon: SqlDaemon;
  let sound: Awaited<ReturnType<typeof createKey>>;
  const told: string[] = [];

  beforeAll(async () => {
    database = await signers.database(kind);
    maker = await signers.startSignetd(database);
    daemon = await signers.startSignetd(database, { config: { logging: { level: 'debug' } } });
    sound = await createKey(maker.client, 'example.com/sound');
  });
  afterAll(async () => {
    for (const { [Symbol.asyncDispose]: dispose } of [maker, daemon]) await dispose();
  });

  async function tokenOf(keyId: string): Promise<string> {
    const hex = { mysql: 'HEX(private)', postgres: "encode(private, 'hex')", sqlite3: 'hex(private)' }[kind];
    const [[token = ''] = []] = await database.sql(`SELECT ${hex} FROM private_keys WHERE key_id = '${keyId}'`);
    return Buffer.from(token, 'hex').toString();
  }

  it.each(DAMAGES)(
    'with $what is refused clearly, and the other keys go on',
    async ({ what, set, code, logged, info = OK }) => {
      const { keyId } = await createKey(maker.client, `example.com/${what}`);
      const [token, other] = [await tokenOf(keyId), await tokenOf(sound.keyId)];
      await database.sql(`UPDATE private_keys SET ${set({ token, other, kind })} WHERE key_id = '${keyId}'`);

      const outcome = await sign(daemon.client, keyId);
      expect(outcome).toMatchObject({
        code,
        details: expect.stringMatching(`^Signing failed for KeyID ${keyId}: (the |not supported)`),
      });
      const shown = await outcomeOf(daemon.client.getKeyInfo(keyId));
      expect(shown.code).toBe(info);
      told.push(outcome.details, shown.details);
      const line = await waitFor('the log', () =>
        daemon.signetd.log().findLast((entry) => entry['keyId'] === keyId && entry['msg'] === 'signing failed'),
      );
      expect(line).toMatchObject({ level: 'error', code: logged });

      expect(await signsWith(daemon.client, sound.keyId, sound.publicKey)).toBe(true);
      expect(await health(daemon)).toBe(SERVING);
      const again = await sign(daemon.client, keyId);
      expect(again).toEqual(outcome);
      const [[used] = []] = await database.sql(`SELECT last_used IS NULL FROM private_keys WHERE key_id = '${keyId}'`);
      expect(used).toMatch(/^[1t]/);
    },
  );

  it('under the ID of another key is refused', async () => {
    const { keyId } = await createKey(maker.client, 'example.com/renamed');
    const renamed = '1'.repeat(64);
    await database.sql(`UPDATE private_keys SET key_id = '${renamed}' WHERE key_id = '${keyId}'`);
    expect(await sign(daemon.client, renamed)).toMatchObject({ code: DATA_LOSS });
    expect(await sign(daemon.client, keyId)).toMatchObject({ code: GRPC_STATUS.NOT_FOUND });
  });

  it('with nonsense in the columns that nobody reads is used', async () => {
    const { keyId, publicKey } = await createKey(maker.client, 'example.com/informational');
    const nonsense = "encryption_alg = 'none', keywrap_alg = '', created_at = NULL, updated_at = NULL";
    await database.sql(`UPDATE private_keys SET ${nonsense} WHERE key_id = '${keyId}'`);
    expect(await signsWith(daemon.client, keyId, publicKey)).toBe(true);
  });

  it('that is pending and damaged is not given again: CreateKey fails for its owner only', async () => {
    const { keyId } = await createKey(maker.client, 'example.com/pending');
    await database.sql(`UPDATE private_keys SET public = ${blob(kind, 'x')} WHERE key_id = '${keyId}'`);
    const outcome = await outcomeOf(createKey(daemon.client, 'example.com/pending'));
    expect(outcome).toEqual({ code: INTERNAL, details: 'Key creation failed' });
    const line = await waitFor('the log', () =>
      daemon.signetd.log().findLast(({ msg }) => msg === 'key creation failed'),
    );
    expect(line).toMatchObject({
      code: 'INTEGRITY',
      error: `the row of key ${keyId} holds the public half of another key`,
    });
    await createKey(daemon.client, 'example.com/pending-too');
  });

  it('of a whole table of damage does not keep a daemon from starting, as long as every alias has its variable', async () => {
    const env = { ...PASSPHRASES, NOTARY_SIGNER_NOBODY: 'x' };
    await database.sql("UPDATE private_keys SET passphrase_alias = 'nobody' WHERE passphrase_alias = ''");
    await using fresh = await signers.startSignetd(database, { env });
    expect(await signsWith(fresh.client, sound.keyId, sound.publicKey)).toBe(true);
  });

  it('leaves nothing secret in log and answers', async () => {
    expect(told.length).toBe(2 * DAMAGES.length);
    expectNothingSecret(told.join('\n'), ['postgres', 'mysql', 'sqlite', '127.0.0.1']);
    expectNothingSecret(daemon.signetd.program.stderr + daemon.signetd.program.stdout);
  });
});

describe.each(SERVERS)('a database on %s', (kind) => {
  let database: TestDatabase;
  let daemon: SqlDaemon;
  let used: Awaited<ReturnType<typeof createKey>>;
  let unused: Awaited<ReturnType<typeof createKey>>;
  let count = 0;

  beforeAll(async () => {
    database = await signers.database(kind);
    const storage = { statement_timeout: '500ms', revalidate_interval: '300ms' };
    daemon = await signers.startSignetd(database, { storage });
  });
  afterAll(async () => {
    expectNothingSecret(daemon.signetd.program.stderr);
    await daemon[Symbol.asyncDispose]();
  });

  async function createBoth(): Promise<void> {
    used = await createKey(daemon.client, `example.com/used-${++count}`);
    await daemon.client.sign(used.keyId, CONTENT);
    unused = await createKey(daemon.client, `example.com/unused-${count}`);
  }

  /** Cuts the daemon's connections: rights and settings may be read with a new one only. */
  async function cutConnections(): Promise<void> {
    if (kind === 'postgres') {
      await database.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${database.name}'`);
      return;
    }
    const list = `SELECT id FROM information_schema.processlist WHERE user = '${database.name}'`;
    for (const [id] of await database.sql(list)) await database.sql(`KILL ${id}`);
  }

  /** Every call on what the database does not let be done. */
  async function outcomes() {
    return {
      first: (await sign(daemon.client, unused.keyId)).code,
      create: (await outcomeOf(createKey(daemon.client, 'example.com/new'))).code,
      delete: (await outcomeOf(daemon.client.deleteKey('0'.repeat(64)))).code,
      info: (await outcomeOf(daemon.client.getKeyInfo(unused.keyId))).code,
      used: (await sign(daemon.client, used.keyId)).code,
    };
  }

  async function worksAgain(): Promise<void> {
    await waitFor('SERVING', async () => (await health(daemon)) === SERVING, { timeoutMs: 10_000, intervalMs: 50 });
    for (const { keyId, publicKey } of [used, unused]) {
      await waitFor('a signature', async () => (await sign(daemon.client, keyId)).code === OK);
      expect(await signsWith(daemon.client, keyId, publicKey)).toBe(true);
    }
    await createKey(daemon.client, 'example.com/works-again');
  }

  it('without the right to change rows goes on with keys in use', async () => {
    await createBoth();
    const [revoke, grant] =
      kind === 'mysql'
        ? ['127.0.0.1', 'localhost'].reduce(
            ([revokes, grants], host) => {
              const user = `'${database.name}'@'${host}'`;
              return [
                `${revokes} REVOKE INSERT, UPDATE, DELETE ON ${database.name}.* FROM ${user};`,
                `${grants} GRANT ALL ON ${database.name}.* TO ${user};`,
              ];
            },
            ['', ''],
          )
        : [
            `REVOKE INSERT, UPDATE, DELETE ON private_keys FROM ${database.name};`,
            `GRANT ALL ON private_keys TO ${database.name};`,
          ];
    await database.sql(revoke);
    await cutConnections();
    const code = FAILED_PRECONDITION;
    expect(await outcomes()).toEqual({ first: code, create: INTERNAL, delete: INTERNAL, info: OK, used: OK });
    expect(await health(daemon)).toBe(SERVING);
    await database.sql(grant);
    await cutConnections();
    await worksAgain();
  });

  it('that is read-only goes on with keys in use, and says UNAVAILABLE for the rest', async () => {
    await createBoth();
    const [readOnly, readWrite] =
      kind === 'mysql'
        ? ['SET GLOBAL read_only = ON', 'SET GLOBAL read_only = OFF']
        : [
            `ALTER ROLE ${database.name} SET default_transaction_read_only = on`,
            `ALTER ROLE ${database.name} RESET ALL`,
          ];
    await database.sql(readOnly);
    await cutConnections();
    const { first, used: inUse, info } = await outcomes();
    expect(await health(daemon)).toBe(SERVING);
    await database.sql(readWrite);
    await cutConnections();
    expect({ first, inUse, info }).toEqual({ first: UNAVAILABLE, inUse: OK, info: OK });
    await worksAgain();
  });

  it('that stalls is given up in time, health says so, and all is well when it goes on', async () => {
    await createBoth();
    const lock =
      kind === 'mysql'
        ? 'LOCK TABLES private_keys WRITE; SELECT SLEEP(5); UNLOCK TABLES;'
        : 'BEGIN; LOCK TABLE private_keys IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(5); COMMIT;';
    let isLocked = true;
    const locked = database.sql(lock).then(() => {
      isLocked = false;
    });
    await new Promise((resolve) => setTimeout(resolve, 800));
    const calls = [
      sign(daemon.client, used.keyId),
      sign(daemon.client, unused.keyId),
      outcomeOf(daemon.client.getKeyInfo(used.keyId)),
      outcomeOf(createKey(daemon.client, 'example.com/new')),
      outcomeOf(daemon.client.deleteKey('0'.repeat(64))),
    ];
    expect((await Promise.all(calls)).map(({ code }) => code)).toEqual(calls.map(() => UNAVAILABLE));
    expect(isLocked).toBe(true);
    await waitFor('NOT_SERVING', async () => (await health(daemon)) === NOT_SERVING);
    await locked;
    await worksAgain();
  });

  it('without its table is not taken for one without keys', async () => {
    await createBoth();
    await database.sql('ALTER TABLE private_keys RENAME TO hidden');
    await waitFor('NOT_SERVING', async () => (await health(daemon)) === NOT_SERVING);
    const code = FAILED_PRECONDITION;
    expect(await outcomes()).toEqual({ first: code, create: INTERNAL, delete: INTERNAL, info: code, used: code });
    await database.sql('ALTER TABLE hidden RENAME TO private_keys');
    await worksAgain();
  });
});

describe('a SQLite file', () => {
  it('that another process writes to for long is waited for until the time-out, while keys in use sign', async () => {
    const database = await signers.database('sqlite3');
    const storage = { statement_timeout: '500ms', revalidate_interval: '300ms' };
    await using daemon = await signers.startSignetd(database, { storage });
    const used = await createKey(daemon.client, 'example.com/used');
    await daemon.client.sign(used.keyId, CONTENT);
    const unused = await createKey(daemon.client, 'example.com/unused');
    await using other = await openDatabase({
      backend: 'sqlite3',
      dbUrl: database.dbUrl,
      baseDirectory: '/',
      env: {},
      maxConnections: 1,
      statementTimeoutMs: 5000,
    });
    await other.transaction(async () => {
      expect(await sign(daemon.client, used.keyId)).toMatchObject({ code: OK });
      expect(await sign(daemon.client, unused.keyId)).toMatchObject({ code: UNAVAILABLE });
      expect(await outcomeOf(createKey(daemon.client, 'example.com/new'))).toMatchObject({ code: UNAVAILABLE });
      expect(await health(daemon)).toBe(SERVING);
    });
    for (const { keyId, publicKey } of [used, unused])
      expect(await signsWith(daemon.client, keyId, publicKey)).toBe(true);
  });
});
