/** `storage`, and what depends on the backend: `placement` and `workers`. */
import { join, resolve } from 'node:path';
import { MAX_TIMER_MS } from '../../duration.ts';
import type { SignetError } from '../../errors.ts';
import { DEFAULT_PLACEMENT } from '../../keyring/placement.ts';
import { defaultTrustDir } from '../../locations.ts';
import { isRecord } from './document.ts';
import type { Config, FileStorageConfig, SqlStorageConfig } from './model.ts';
import type { Settings } from './settings.ts';

/** Bounds of `storage.kdf_iterations`: what `notary` writes, and what is still a few seconds. */
const KDF_ITERATIONS = { min: 2048, max: 10_000_000 };

const ROLE = /^[a-z0-9._/-]{1,255}$/;

/** Bounds of `storage.p2c`: what notary-signer writes, and what the JWE reader accepts. */
const P2C = { min: 8192, max: 1_000_000 };

const RETHINKDB_HINT =
  'set storage.backend to another one, then rotate each repository\'s timestamp and snapshot keys with "notary key rotate GUN ROLE -r"';

/**
 * @param place Who supplies the defaults: the environment, and the directory where a relative `DOCKER_CONFIG` starts.
 * @param isDropIn True with a `server` section: then notary-signer demands a backend, and so do we, lest a mistyped
 *   section puts a server's keys into a home directory.
 * @throws {SignetError} CONFIGURATION
 */
export function readStorage(
  settings: Settings,
  place: { readonly env: NodeJS.ProcessEnv; readonly cwd: string },
  isDropIn: boolean,
): Config['storage'] {
  const backend = settings.text('storage.backend') ?? (isDropIn ? '' : 'file');
  switch (backend) {
    case 'memory':
      return { backend };
    case 'mysql':
    case 'postgres':
    case 'sqlite3':
      return readSqlOptions(settings, backend, place.env);
    case 'file':
      return {
        backend,
        path: settings.path('storage.path') ?? resolve(place.cwd, join(defaultTrustDir(place.env), 'private')),
        defaultAlias: readAlias(settings),
        passphraseFile: settings.path('storage.passphrase_file'),
        kdfIterations: settings.integer('storage.kdf_iterations', KDF_ITERATIONS),
        ...readUnlockedBounds(settings),
      };
    default:
      throw unusableBackend(settings, backend);
  }
}

function readSqlOptions(
  settings: Settings,
  backend: SqlStorageConfig['backend'],
  env: NodeJS.ProcessEnv,
): SqlStorageConfig {
  const dbUrl = settings.text('storage.db_url');
  if (dbUrl === undefined) {
    const hint = 'set storage.db_url to the data source that notary-signer used';
    throw settings.fail('storage.db_url', `must provide a non-empty database source for ${backend}`, hint);
  }
  const defaultAlias = readAlias(settings);
  if (defaultAlias === undefined) {
    const hint = 'set storage.default_alias to the alias of the passphrase for new keys';
    throw settings.fail('storage.default_alias', 'must provide a default alias for the key DB', hint);
  }
  return {
    backend,
    dbUrl,
    baseDirectory: settings.baseDirectory,
    env,
    defaultAlias,
    p2c: settings.integer('storage.p2c', P2C) ?? P2C.min,
    maxConnections: settings.integer('storage.max_connections', { min: 1, max: 1000 }) ?? 8,
    statementTimeoutMs: settings.durationMs('storage.statement_timeout', { min: 100, max: MAX_TIMER_MS }),
    revalidateMs: settings.durationMs('storage.revalidate_interval', { min: 0, max: MAX_TIMER_MS }) ?? 5000,
    lastUsedMs: settings.durationMs('storage.last_used_interval', { min: 0, max: MAX_TIMER_MS }) ?? 1000,
    ...readUnlockedBounds(settings),
  };
}

function readAlias(settings: Settings): string | undefined {
  return settings.text('storage.default_alias') ?? settings.text('default_alias');
}

function readUnlockedBounds(settings: Settings): Pick<FileStorageConfig, 'unlockedTtlMs' | 'unlockedMax'> {
  return {
    unlockedTtlMs: settings.durationMs('storage.unlocked_ttl', { min: 0, max: MAX_TIMER_MS }) ?? 3_600_000,
    unlockedMax: settings.integer('storage.unlocked_max', { min: 1, max: 1_000_000 }) ?? 10_000,
  };
}

function unusableBackend(settings: Settings, backend: string): SignetError {
  if (backend === 'rethinkdb') {
    return settings.fail('storage.backend', 'rethinkdb storage is not supported', RETHINKDB_HINT);
  }
  const name = JSON.stringify(backend.slice(0, 64));
  const problem = `${name} is not an allowed backend, must be one of: [file memory mysql postgres sqlite3]`;
  return settings.fail('storage.backend', problem, 'set storage.backend to one of them');
}

/**
 * Role → backends for its new keys. Roles that are not named go to `storage`.
 *
 * @param tokens Names of the token backends that are configured.
 * @throws {SignetError} CONFIGURATION for a backend that is not configured
 */
export function readPlacement(
  settings: Settings,
  backend: Config['storage']['backend'],
  tokens: readonly string[],
): Config['placement'] {
  const placement = new Map(DEFAULT_PLACEMENT);
  const table = settings.structured('placement') ?? {};
  const form = 'write roles with lists of backends, as {"root": ["storage"], "*": ["storage"]}';
  if (!isRecord(table)) throw settings.fail('placement', 'not an object', form);
  const seen = new Set<string>();
  for (const [name, backends] of Object.entries(table)) {
    const role = name.toLowerCase();
    if (role !== '*' && !ROLE.test(role)) throw settings.fail('placement', 'not the name of a role', form);
    const key = `placement.${role}`;
    if (seen.has(role)) throw settings.fail(key, 'key given twice', 'keep one: upper and lower case are the same');
    seen.add(role);
    placement.set(role, readBackends(settings, key, backends, [homeOf(backend), ...tokens]));
  }
  return placement;
}

function readBackends(
  settings: Settings,
  key: string,
  value: unknown,
  [storage, ...tokens]: readonly string[],
): readonly string[] {
  const isList = Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string');
  if (!isList) throw settings.fail(key, 'not a list of backends', 'write at least one name, as ["storage"]');
  const names: readonly string[] = value;
  const missing = names.find((name) => ![...tokens, storage, 'storage'].includes(name));
  if (missing === undefined) return names;
  const problem = `backend ${JSON.stringify(missing.slice(0, 64))} is not configured`;
  if (missing === 'pkcs11' || missing === 'yubikey')
    throw settings.fail(key, problem, `add ${missing === 'pkcs11' ? 'a token' : 'a YubiKey'} to "tokens"`);
  const others = tokens.map((name) => `, or "${name}"`).join('');
  throw settings.fail(key, problem, `use "storage", which stands for "${storage}"${others}`);
}

/** The name of a backend in `placement`: the three databases are one kind of home. */
function homeOf(backend: string): string {
  return ['mysql', 'postgres', 'sqlite3'].includes(backend) ? 'sql' : backend;
}

/** @throws {SignetError} CONFIGURATION outside 1..64, or for several workers over what they cannot share */
export function readWorkers(settings: Settings, backend: Config['storage']['backend'], hasTokens: boolean): number {
  const workers = settings.integer('workers', { min: 1, max: 64 }) ?? 1;
  if (workers === 1) return workers;
  if (hasTokens) {
    const problem = 'each of several workers would spend a try of a wrong PIN';
    throw settings.fail('workers', problem, 'set workers to 1, or run the daemon that has the tokens by itself');
  }
  if (backend !== 'memory') return workers;
  const problem = 'several workers over memory storage would each have keys of their own';
  throw settings.fail('workers', problem, 'set workers to 1 or storage.backend to "file"');
}
