/** What making keys costs, and how it ends when many ask for the same one. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KeyGenerator } from '../../src/backends/backend.ts';
import { type OpenContext, openStorage, type SqlStorageOptions } from '../../src/backends/open.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { SqlSigners } from '../support/sql-signers.ts';

const OWNER = { algorithm: 'ecdsa', role: 'timestamp', reuseUnused: true } as const;
const CALLER = { caller: 'test' };

let signers: SqlSigners;
beforeAll(async () => {
  signers = await SqlSigners.create();
});
afterAll(() => signers[Symbol.asyncDispose]());

describe.each(['mysql', 'postgres', 'sqlite3'] as const)('CreateKey on %s', (kind) => {
  /** A backend, and how many keys it has sealed: each asks for the passphrase once. */
  async function open() {
    const { dbUrl } = await signers.database(kind);
    let isSet = true;
    let asked = 0;
    const options: SqlStorageOptions = {
      backend: kind,
      dbUrl,
      baseDirectory: '/',
      env: {},
      maxConnections: 4,
      statementTimeoutMs: 5000,
      defaultAlias: 'test',
      p2c: 8192,
      revalidateMs: 5000,
      lastUsedMs: 50,
      unlockedTtlMs: 60_000,
      unlockedMax: 1000,
    };
    const unexpected = (what: string) => {
      throw new Error(what);
    };
    const context: OpenContext = {
      passphrases: () => Promise.reject(new Error('the table has aliases instead')),
      processes: 1,
      passphraseOfAlias: () => {
        asked++;
        return isSet ? Secret.fromText('correct horse battery staple') : undefined;
      },
      variableOfAlias: () => 'THE_VARIABLE',
      onUnreadable: unexpected,
      onError: unexpected,
      onAdvice: unexpected,
    };
    const backend = await openStorage(options, context);
    const atStart = asked;
    return {
      generator: backend.generator as KeyGenerator,
      sealed: () => asked - atStart,
      count: () => backend.count(),
      forget: () => {
        isSet = false;
      },
      [Symbol.asyncDispose]: () => backend[Symbol.asyncDispose](),
    };
  }

  it('of 64 at once for one owner derives one key, and none for a pending one', async () => {
    await using backend = await open();
    const ask = (gun: string) => backend.generator.generate({ ...OWNER, gun }, CALLER);
    const made = await Promise.all(Array.from({ length: 64 }, () => ask('example.com/app')));
    expect(new Set(made.map(({ keyId }) => keyId)).size).toBe(1);
    expect(backend.sealed()).toBe(1);
    expect((await ask('example.com/app')).keyId).toBe(made[0]?.keyId);
    expect(backend.sealed()).toBe(1);
    await Promise.all([ask('example.com/b'), ask('example.com/B')]);
    expect(backend.sealed()).toBe(3);
    expect(await backend.count()).toBe(3);
  });

  it('that one caller gives up fails for that caller only', async () => {
    await using backend = await open();
    const gone = { ...CALLER, cancelled: true };
    const calls = [gone, CALLER, gone, CALLER].map((context) =>
      backend.generator.generate({ ...OWNER, gun: 'example.com/app' }, context),
    );
    const outcomes = await Promise.allSettled(calls);
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'rejected', 'fulfilled']);
    await expect(calls[0]).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(await backend.count()).toBe(1);
  });

  it('that fails is tried anew by the next', async () => {
    await using backend = await open();
    backend.forget();
    const ask = () => backend.generator.generate({ ...OWNER, gun: 'example.com/app' }, CALLER);
    for (let round = 1; round <= 2; round++) {
      const outcomes = await Promise.allSettled([ask(), ask()]);
      for (const outcome of outcomes) {
        expect(outcome).toMatchObject({ reason: { code: 'PASSPHRASE_REQUIRED', hint: 'set THE_VARIABLE' } });
      }
      expect(backend.sealed()).toBe(round);
    }
    expect(await backend.count()).toBe(0);
  });

  it('without reuse makes a key for each', async () => {
    await using backend = await open();
    const { reuseUnused: _, ...owner } = OWNER;
    const calls = Array.from({ length: 4 }, () => backend.generator.generate({ ...owner, gun: 'g' }, CALLER));
    expect(new Set((await Promise.all(calls)).map(({ keyId }) => keyId)).size).toBe(4);
  });
});
