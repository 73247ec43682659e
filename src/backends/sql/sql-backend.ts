/**
 * Keys in notary-signer's own table, on MySQL, MariaDB, PostgreSQL or SQLite; notary-signer may use it at the same time.
 *
 * Nothing of a key's state is kept only in memory: a row is believed for `revalidateMs` and then asked for again, or at
 * once where the database tells (PostgreSQL).
 */
import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import pLimit, { type LimitFunction } from 'p-limit';
import { type DeriveKey, openKeyJwe, sealKeyJwe } from '../../crypto/jwe.ts';
import type { KeyId } from '../../crypto/key-id.ts';
import { PrivateKey } from '../../crypto/private-key.ts';
import type { PublicKey } from '../../crypto/public-key.ts';
import type { Secret } from '../../crypto/secret.ts';
import type { SignInput } from '../../crypto/sign-input.ts';
import { SignetError } from '../../errors.ts';
import type {
  BackendHealth,
  KeyBackend,
  KeyGenerator,
  KeyImporter,
  KeyInfo,
  KeyRemover,
  KeyRequest,
  KeyUnlocker,
  SignContext,
} from '../backend.ts';
import { throwIfCancelled } from '../cancellation.ts';
import { SingleFlight } from '../single-flight.ts';
import { UnlockedKeys } from '../unlocked-keys.ts';
import type { SqlDatabase, SqlQueries } from './database.ts';
import { DerivationThreads, derivationsAtOnce } from './derivation-threads.ts';
import { type KeyRow, KeyTable } from './key-table.ts';
import { LastUsed } from './last-used.ts';
import { RowCache } from './row-cache.ts';
import { RowReader } from './row-reader.ts';
import { checkStart } from './start-check.ts';

/** Derivations that a thread has at hand, so that it does not wait for the event loop to bring it the next one. */
const DERIVATIONS_PER_THREAD = 2;
/** Tells other daemons that a row changed; the payload is the key ID. */
const CHANNEL = 'signet_keys';

export interface SqlBackendOptions {
  readonly database: SqlDatabase;
  /** Alias of new keys. */
  readonly defaultAlias: string;
  /** The passphrase of an alias, read anew at each use; undefined if its variable is not set. The caller disposes. */
  readonly passphraseOf: (alias: string) => Secret | undefined;
  /** The variable's name, for messages. */
  readonly variableOf: (alias: string) => string;
  /** PBKDF2 iterations of new keys. */
  readonly p2c: number;
  /** How many share the processors of this machine. */
  readonly processes: number;
  readonly unlocked: { readonly max: number; readonly ttlMs: number };
  /** How long a deletion by another daemon may stay unseen, milliseconds. */
  readonly revalidateMs: number;
  /** How long uses of a key are gathered before they are written, milliseconds. */
  readonly lastUsedMs: number;
  readonly onUnreadable?: (keyId: string, error: SignetError) => void;
  readonly onError?: (what: string, error: unknown) => void;
  /** What the operator should do, though the keys can be used, and how. */
  readonly onAdvice?: (advice: string, hint: string) => void;
}

interface InsertOptions {
  /** A caller that has gone makes no key. */
  readonly context?: SignContext;
  /** A last look for a key to be used instead, while no other daemon makes one for the same owner. */
  readonly findInstead?: (queries: SqlQueries) => Promise<KeyRow | undefined>;
}

export class SqlBackend implements KeyBackend {
  readonly name = 'sql';
  readonly location: string;
  readonly generator: KeyGenerator;
  readonly importer: KeyImporter;
  readonly remover: KeyRemover;
  readonly unlocker: KeyUnlocker;

  readonly #options: SqlBackendOptions;
  readonly #database: SqlDatabase;
  readonly #table: KeyTable;
  readonly #rows: RowCache;
  readonly #unlocked: UnlockedKeys<undefined>;
  readonly #lastUsed: LastUsed;
  readonly #opening = new SingleFlight<KeyId, PrivateKey>();
  readonly #reusing = new SingleFlight<string, KeyInfo & { readonly publicKey: PublicKey }>();
  readonly #derivations: LimitFunction;
  readonly #threads: DerivationThreads;
  readonly #derive: DeriveKey = (...work) => this.#threads.derive(...work);
  #listening: AsyncDisposable | undefined;

  private constructor(options: SqlBackendOptions) {
    const { database, revalidateMs, unlocked, lastUsedMs } = options;
    this.#options = options;
    this.#database = database;
    this.location = database.location;
    this.#table = new KeyTable(database);
    const threads = derivationsAtOnce(availableParallelism(), options.processes);
    this.#derivations = pLimit(DERIVATIONS_PER_THREAD * threads);
    this.#threads = new DerivationThreads(threads);
    this.#unlocked = new UnlockedKeys(unlocked);
    this.#rows = new RowCache({
      source: new RowReader(this.#table),
      maxAgeMs: revalidateMs,
      max: unlocked.max,
      onGone: (keyId) => this.#unlocked.drop(keyId),
    });
    this.#lastUsed = new LastUsed({
      write: (keyIds) => this.#table.markUsed(keyIds, new Date()),
      intervalMs: lastUsedMs,
      onError: (error) => options.onError?.('cannot write last_used; it will be tried again', error),
    });
    this.generator = {
      algorithms: ['ecdsa', 'ed25519'],
      generate: (request, context) => this.#generate(request, context),
    };
    this.importer = {
      import: async (pkcs8, owner, context) => this.#import(PrivateKey.fromPkcs8(pkcs8), owner, context),
    };
    this.remover = { remove: (keyId) => this.#remove(keyId) };
    this.unlocker = {
      unlock: (keyId, passphrase, ttlMs) => this.#unlockFor(keyId, passphrase, ttlMs),
      lock: async (keyId) => (keyId === undefined ? this.#unlocked.clear() : Number(this.#unlocked.drop(keyId))),
      unlockedCount: async () => this.#unlocked.size,
    };
  }

  /**
   * Checks that the table is there and that its keys can be opened (`start-check.ts`).
   *
   * @throws {SignetError} CONFIGURATION, UNAVAILABLE; then the database is left to the caller
   */
  static async open(options: SqlBackendOptions): Promise<SqlBackend> {
    const backend = new SqlBackend(options);
    try {
      await checkStart({
        ...options,
        table: backend.#table,
        derive: backend.#derive,
        onAdvice: options.onAdvice ?? (() => undefined),
        onError: options.onError ?? (() => undefined),
      });
      backend.#listening = await options.database.notifications?.listen(
        CHANNEL,
        (keyId) => backend.#rows.invalidate(keyId as KeyId),
        () => backend.#rows.invalidate(),
      );
      return backend;
    } catch (error) {
      backend.#rows[Symbol.dispose]();
      backend.#unlocked[Symbol.dispose]();
      await backend.#threads[Symbol.asyncDispose]();
      throw error;
    }
  }

  async health(): Promise<BackendHealth> {
    try {
      await this.#table.probe();
      return { ready: true };
    } catch (error) {
      return { ready: false, reason: (error as Error).message };
    }
  }

  async *list(): AsyncIterable<KeyInfo> {
    for await (const row of this.#table.list(this.#options.onUnreadable ?? (() => undefined)))
      yield this.#describe(row);
  }

  count(): Promise<number> {
    return this.#table.count();
  }

  async find(keyId: KeyId): Promise<KeyInfo | undefined> {
    const row = await this.#rows.get(keyId);
    return row === undefined ? undefined : this.#describe(row);
  }

  async publicKey(keyId: KeyId): Promise<PublicKey> {
    return (await this.#row(keyId)).publicKey;
  }

  async sign(keyId: KeyId, input: SignInput, context: SignContext): Promise<Uint8Array> {
    const row = await this.#row(keyId);
    const key = this.#unlocked.get(keyId)?.key ?? (await this.#opening.run(keyId, () => this.#open(row)));
    throwIfCancelled(context);
    context.onStart?.();
    const signing = key.sign(input);
    if (row.isUsed) {
      this.#lastUsed.again(keyId);
      return signing;
    }
    const [signature, isThere] = await Promise.all([signing, this.#lastUsed.first(keyId)]);
    if (!isThere) {
      this.#rows.invalidate(keyId);
      throw this.#notFound(keyId);
    }
    this.#rows.markUsed(keyId);
    return signature;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listening?.[Symbol.asyncDispose]();
    await this.#lastUsed[Symbol.asyncDispose]();
    this.#rows[Symbol.dispose]();
    this.#unlocked[Symbol.dispose]();
    await this.#threads[Symbol.asyncDispose]();
    await this.#database[Symbol.asyncDispose]();
  }

  #describe({ keyId, role, gun, publicKey, lastUsedAt }: KeyRow): KeyInfo & { readonly publicKey: PublicKey } {
    const needs = { pin: false, touch: false, passphrase: true };
    const use = lastUsedAt === undefined ? {} : { lastUsedAt };
    return { keyId, role, gun, location: this.location, needs, publicKey, ...use };
  }

  async #row(keyId: KeyId): Promise<KeyRow> {
    const row = await this.#rows.get(keyId);
    if (row === undefined) throw this.#notFound(keyId);
    return row;
  }

  #notFound(keyId: KeyId): SignetError {
    return new SignetError('KEY_NOT_FOUND', `no key ${keyId} in ${this.location}`);
  }

  async #open(row: KeyRow): Promise<PrivateKey> {
    const { alias, keyId } = row;
    using passphrase = this.#options.passphraseOf(alias);
    if (passphrase === undefined) {
      const variable = this.#options.variableOf(alias);
      throw new SignetError(
        'PASSPHRASE_REQUIRED',
        `key ${keyId} is sealed under alias "${alias}": ${variable} is not set`,
        {
          hint: `set ${variable}`,
        },
      );
    }
    return await this.#unseal(row, passphrase, `the passphrase of alias "${alias}"`, undefined);
  }

  async #unlockFor(keyId: KeyId, passphrase: Secret, ttlMs: number | undefined): Promise<void> {
    await this.#unseal(await this.#row(keyId), passphrase, 'the passphrase', ttlMs);
  }

  async #unseal(row: KeyRow, passphrase: Secret, name: string, limitMs: number | undefined): Promise<PrivateKey> {
    let key: PrivateKey;
    try {
      key = await this.#derivations(() => openKeyJwe(row.token, passphrase, this.#derive));
    } catch (error) {
      if (!(error instanceof SignetError)) throw error;
      const message =
        error.code === 'PASSPHRASE_INCORRECT'
          ? `${name} does not open key ${row.keyId}`
          : `key ${row.keyId}: ${error.message}`;
      throw new SignetError(error.code, message, { cause: error });
    }
    if (key.keyId !== row.keyId) {
      key.dispose();
      throw new SignetError('INTEGRITY', `the row of key ${row.keyId} holds another private key`);
    }
    this.#unlocked.put(row.keyId, key, undefined, limitMs);
    return key;
  }

  async #generate(request: KeyRequest, context: SignContext): Promise<KeyInfo & { readonly publicKey: PublicKey }> {
    if (!request.reuseUnused)
      return this.#insert(await PrivateKey.generate(request.algorithm, request), request, { context });
    // Who asks for the same key at the same time shares one: what it costs, and how it ends. Nobody's giving up ends it.
    const stored = await this.#reusing.run(lockName(request), () => this.#reuseOrMake(request));
    throwIfCancelled(context);
    return stored;
  }

  /**
   * Two looks for a pending key: one that spares making a key, and one under the lock that other daemons take, too. The key is
   * made in between, because deriving takes longer than everything that must be alone.
   */
  async #reuseOrMake(request: KeyRequest): Promise<KeyInfo & { readonly publicKey: PublicKey }> {
    const pending = await this.#table.findPending(request);
    if (pending !== undefined) return this.#describe(pending);
    const findInstead = (queries: SqlQueries) => this.#table.findPending(request, queries);
    return this.#insert(await PrivateKey.generate(request.algorithm, request), request, { findInstead });
  }

  async #import(
    key: PrivateKey,
    owner: Pick<KeyInfo, 'role' | 'gun'>,
    context: SignContext,
  ): Promise<KeyInfo & { readonly publicKey: PublicKey }> {
    if (key.algorithm === 'rsa') {
      key.dispose();
      throw new SignetError('UNSUPPORTED', 'the table holds no RSA keys: notary-signer could not read them');
    }
    return this.#insert(key, owner, { context });
  }

  async #insert(
    key: PrivateKey,
    owner: Pick<KeyInfo, 'role' | 'gun'>,
    { context, findInstead }: InsertOptions,
  ): Promise<KeyInfo & { readonly publicKey: PublicKey }> {
    const { keyId, publicKey } = key;
    let kept = false;
    try {
      const alias = this.#options.defaultAlias;
      using passphrase = this.#options.passphraseOf(alias);
      if (passphrase === undefined) {
        const variable = this.#options.variableOf(alias);
        throw new SignetError('PASSPHRASE_REQUIRED', `new keys need the passphrase of alias "${alias}"`, {
          hint: `set ${variable}`,
        });
      }
      const token = await this.#derivations(() => sealKeyJwe(key, passphrase, this.#options.p2c));
      if (context !== undefined) throwIfCancelled(context);
      const row = { keyId, publicKey, alias, token, role: owner.role, gun: owner.gun };
      const stored = await this.#database.exclusively(
        lockName({ ...owner, algorithm: key.algorithm }),
        async (queries) => {
          const other = await findInstead?.(queries);
          if (other !== undefined) return other;
          await this.#table.insert(row, new Date(), queries);
          return { ...row, isUsed: false };
        },
      );
      if (stored.keyId === keyId) {
        this.#rows.put(stored);
        this.#unlocked.put(keyId, key, undefined);
        kept = true;
      }
      return this.#describe(stored);
    } finally {
      if (!kept) key.dispose();
    }
  }

  async #remove(keyId: KeyId): Promise<boolean> {
    const { notifications } = this.#database;
    try {
      if (notifications === undefined) return (await this.#table.softDelete(keyId, new Date())) > 0;
      // In one transaction: no deletion that the others are not told of.
      return await this.#database.transaction(async (queries) => {
        const removed = (await this.#table.softDelete(keyId, new Date(), queries)) > 0;
        if (removed) await notifications.notify(queries, CHANNEL, keyId);
        return removed;
      });
    } finally {
      // Also after a failure: the row may be deleted nevertheless.
      this.#rows.invalidate(keyId);
      this.#unlocked.drop(keyId);
    }
  }
}

/** Short enough for MySQL (64 characters), and without the name itself, which may be long or odd. */
function lockName(owner: { readonly role: string; readonly gun: string; readonly algorithm: string }): string {
  const digest = createHash('sha256')
    .update(JSON.stringify([owner.gun, owner.role, owner.algorithm]))
    .digest('hex');
  return `signet/${digest.slice(0, 48)}`;
}
