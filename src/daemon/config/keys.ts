/** The closed list of keys, with notary-signer's own among them. docs/configuration.md says what each one means. */
import { nearestWord } from '../../nearest.ts';

const USED_KEYS = [
  'server.grpc_addr',
  'server.tls_cert_file',
  'server.tls_key_file',
  'server.client_ca_file',
  'server.max_concurrent_calls',
  'server.call_timeout',
  'server.max_connections',
  'server.drain_timeout',
  'agent.socket',
  'agent.idle_timeout',
  'logging.level',
  'storage.backend',
  'storage.default_alias',
  'storage.path',
  'storage.passphrase_file',
  'storage.kdf_iterations',
  'storage.unlocked_ttl',
  'storage.unlocked_max',
  'storage.db_url',
  'storage.p2c',
  'storage.max_connections',
  'storage.statement_timeout',
  'storage.revalidate_interval',
  'storage.last_used_interval',
  'metrics.http_addr',
  'workers',
  'default_alias',
  'reporting.bugsnag.api_key',
  'reporting.bugsnag.release_stage',
  'reporting.bugsnag.endpoint',
] as const;

/** Accepted because existing files have them; without effect here. */
const UNUSED_KEYS = [
  'server.http_addr', // in the sample file of Docker's notary-signer image
  'storage.database',
  'storage.username',
  'storage.password',
  'storage.tls_ca_file',
  'storage.client_cert_file',
  'storage.client_key_file',
] as const;

/** Keys with one value. Each has an environment variable. */
export const SCALAR_KEYS = [...USED_KEYS, ...UNUSED_KEYS] as const;

export type ScalarKey = (typeof SCALAR_KEYS)[number];

/** Keys with a value of many parts. */
export type StructuredKey = 'placement' | 'tokens';

export type SectionKey = 'server' | 'agent' | 'logging' | 'storage' | 'metrics' | 'reporting' | 'reporting.bugsnag';

type Shape = 'scalar' | 'section' | 'structured';

const SHAPES: ReadonlyMap<string, Shape> = new Map<string, Shape>([
  ...SCALAR_KEYS.map((key): [string, Shape] => [key, 'scalar']),
  ...(['placement', 'tokens'] satisfies StructuredKey[]).map((key): [string, Shape] => [key, 'structured']),
  ...(
    ['server', 'agent', 'logging', 'storage', 'metrics', 'reporting', 'reporting.bugsnag'] satisfies SectionKey[]
  ).map((key): [string, Shape] => [key, 'section']),
]);

const ENVIRONMENT_PREFIX = 'NOTARY_SIGNER_';

/** @param key The lower-case path with dots. @returns undefined for an unknown key. */
export function shapeOf(key: string): Shape | undefined {
  return SHAPES.get(key);
}

/** `server.grpc_addr` → `NOTARY_SIGNER_SERVER_GRPC_ADDR`. */
export function environmentName(key: ScalarKey): string {
  return ENVIRONMENT_PREFIX + key.toUpperCase().replaceAll('.', '_');
}

/**
 * The key that was probably meant: the same name in another section, else the one with the fewest different characters.
 *
 * @param key An unknown lower-case path with dots.
 * @returns undefined if nothing is near.
 */
export function nearestKey(key: string): string | undefined {
  const candidates = [...SHAPES.keys()].filter((known) => !UNUSED_KEYS.some((unused) => unused === known));
  const leaf = `.${key.slice(key.lastIndexOf('.') + 1)}`;
  const sameName = candidates.find((known) => known.endsWith(leaf));
  if (sameName !== undefined) return sameName;
  return nearestWord(key, candidates);
}
