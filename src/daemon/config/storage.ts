/** `storage`, and what depends on the backend: `placement` and `workers`. */
import { join, resolve } from 'node:path';
import type { SignetError } from '../../errors.ts';
import { defaultTrustDir } from '../../locations.ts';
import { isRecord } from './document.ts';
import { MAX_TIMER_MS } from './duration.ts';
import type { Config, FileStorageConfig } from './model.ts';
import type { Settings } from './settings.ts';

/** Bounds of `storage.kdf_iterations`: what `notary` writes, and what is still a few seconds. */
const KDF_ITERATIONS = { min: 2048, max: 10_000_000 };

const ROLE = /^[a-z0-9._/-]{1,255}$/;

const NO_SQL_HINT = 'keep notary-signer for this database, or set storage.backend to "file" or "memory"';
const UNSUPPORTED_BACKENDS: ReadonlyMap<string, { readonly problem: string; readonly hint: string }> = new Map([
  ['mysql', { problem: 'this version has no SQL storage yet: "mysql"', hint: NO_SQL_HINT }],
  ['postgres', { problem: 'this version has no SQL storage yet: "postgres"', hint: NO_SQL_HINT }],
  ['sqlite3', { problem: 'this version has no SQL storage yet: "sqlite3"', hint: NO_SQL_HINT }],
  [
    'rethinkdb',
    {
      problem: 'rethinkdb storage is not supported',
      hint: 'set storage.backend to "file", then rotate each repository\'s timestamp and snapshot keys with "notary key rotate GUN ROLE -r"',
    },
  ],
]);

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
  if (backend === 'memory') return { backend };
  if (backend !== 'file') throw unusableBackend(settings, backend);
  return {
    backend,
    path: settings.path('storage.path') ?? resolve(place.cwd, join(defaultTrustDir(place.env), 'private')),
    ...readFileOptions(settings),
  };
}

function readFileOptions(settings: Settings): Omit<FileStorageConfig, 'backend' | 'path'> {
  return {
    defaultAlias: settings.text('storage.default_alias') ?? settings.text('default_alias'),
    passphraseFile: settings.path('storage.passphrase_file'),
    kdfIterations: settings.integer('storage.kdf_iterations', KDF_ITERATIONS),
    unlockedTtlMs: settings.durationMs('storage.unlocked_ttl', { min: 0, max: MAX_TIMER_MS }) ?? 3_600_000,
    unlockedMax: settings.integer('storage.unlocked_max', { min: 1, max: 1_000_000 }) ?? 10_000,
  };
}

function unusableBackend(settings: Settings, backend: string): SignetError {
  const known = UNSUPPORTED_BACKENDS.get(backend);
  if (known !== undefined) return settings.fail('storage.backend', known.problem, known.hint);
  const problem = `${JSON.stringify(backend.slice(0, 64))} is not an allowed backend, must be one of: [file memory]`;
  return settings.fail('storage.backend', problem, 'set storage.backend to "file" or "memory"');
}

/**
 * Role → backends for its new keys. Roles that are not named go to `storage`.
 *
 * @throws {SignetError} CONFIGURATION for a backend that is not configured
 */
export function readPlacement(settings: Settings, backend: Config['storage']['backend']): Config['placement'] {
  const placement = new Map<string, readonly string[]>([['*', ['storage']]]);
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
    placement.set(role, readBackends(settings, key, backends, backend));
  }
  return placement;
}

function readBackends(settings: Settings, key: string, value: unknown, backend: string): readonly string[] {
  const isList = Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string');
  if (!isList) throw settings.fail(key, 'not a list of backends', 'write at least one name, as ["storage"]');
  const names: readonly string[] = value;
  const missing = names.find((name) => name !== 'storage' && name !== backend);
  if (missing === undefined) return names;
  const problem = `backend ${JSON.stringify(missing.slice(0, 64))} is not configured`;
  throw settings.fail(key, problem, `use "storage", which stands for "${backend}"`);
}

/** @throws {SignetError} CONFIGURATION outside 1..64, or for several workers that would each have keys of their own */
export function readWorkers(settings: Settings, backend: Config['storage']['backend']): number {
  const workers = settings.integer('workers', { min: 1, max: 64 }) ?? 1;
  if (workers === 1 || backend !== 'memory') return workers;
  const problem = 'several workers over memory storage would each have keys of their own';
  throw settings.fail('workers', problem, 'set workers to 1 or storage.backend to "file"');
}
