/** PostgreSQL connection strings, URL or `key=value`, with lib/pq's defaults, environment and meaning of `sslmode`. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  badDataSource,
  describeServer,
  type Endpoint,
  emptyDataSource,
  type PostgresDataSource,
  parsePort,
  quoteName,
  splitHostPort,
  type TlsRequirement,
} from './data-source-name.ts';

const DEFAULT_PORT = '5432';
const APPLICATION_NAME = 'signet';
const MAX_CONNECT_TIMEOUT_S = 3600;

/** lib/pq's own settings; every other name goes to the server as a run-time parameter. */
const DRIVER_SETTINGS = new Set([
  'host',
  'port',
  'user',
  'password',
  'dbname',
  'options',
  'sslmode',
  'sslcert',
  'sslkey',
  'sslrootcert',
  'connect_timeout',
  'application_name',
  'fallback_application_name',
  'client_encoding',
  'datestyle',
  'target_session_attrs',
]);
/** About how lib/pq moves values and names the server in TLS, neither of which shows here. */
const HARMLESS = new Set(['binary_parameters', 'disable_prepared_binary_result', 'sslsni', 'extra_float_digits']);
const UNSUPPORTED = new Set([
  'hostaddr',
  'krbspn',
  'krbsrvname',
  'passfile',
  'replication',
  'service',
  'servicefile',
  'sslcrl',
  'sslinline',
  'sslpassword',
]);

/** lib/pq's environment (libpq's, as far as lib/pq knows it). */
const SETTING_OF_VARIABLE: Readonly<Record<string, string>> = {
  PGHOST: 'host',
  PGPORT: 'port',
  PGDATABASE: 'dbname',
  PGUSER: 'user',
  PGPASSWORD: 'password',
  PGOPTIONS: 'options',
  PGAPPNAME: 'application_name',
  PGSSLMODE: 'sslmode',
  PGSSLCERT: 'sslcert',
  PGSSLKEY: 'sslkey',
  PGSSLROOTCERT: 'sslrootcert',
  PGCONNECT_TIMEOUT: 'connect_timeout',
  PGTZ: 'timezone',
  PGGEQO: 'geqo',
};
/** lib/pq refuses to run with these, rather than go to another server than libpq would. */
const REFUSED_VARIABLES = ['PGHOSTADDR', 'PGSERVICE', 'PGREQUIRESSL', 'PGSSLCRL', 'PGREQUIREPEER'];

export interface PostgresDefaults {
  readonly env: NodeJS.ProcessEnv;
  /** Of the process: the user where nothing names one. Undefined where the system does not know it. */
  readonly userName: string | undefined;
  /** That user's, where client certificates are found. */
  readonly homeDirectory?: string | undefined;
}

type Settings = Map<string, string>;

const fail = (why: string, hint?: string) => badDataSource('postgres', why, hint);

/**
 * @param text As in `storage.db_url`. A comma list of hosts, which lib/pq does not know, is for fail-over.
 * @throws {SignetError} CONFIGURATION; never repeats a value
 */
export function parsePostgresDataSource(text: string, defaults: PostgresDefaults): PostgresDataSource {
  if (text === '') throw emptyDataSource('postgres');
  const settings: Settings = new Map([
    ...readEnvironment(defaults.env),
    ...(/^postgres(?:ql)?:\/\//.test(text) ? readUrl(text) : readKeyValues(text)),
  ]);
  const runtimeParameters = readRuntimeParameters(settings);
  const user = settings.get('user') ?? (defaults.userName || defaults.env['USER']);
  if (!user) throw fail('no user is named', 'add user=…');
  const database = settings.get('dbname') ?? user;
  const endpoints = readEndpoints(settings.get('host') ?? 'localhost', settings.get('port') ?? DEFAULT_PORT);
  return {
    endpoints,
    user,
    password: settings.get('password'),
    passwordFile: settings.has('password') ? undefined : passwordFileOf(defaults),
    database,
    tls: readTls(settings, defaults.homeDirectory),
    connectTimeoutMs: readConnectTimeout(settings.get('connect_timeout')),
    applicationName: settings.get('application_name') ?? settings.get('fallback_application_name') ?? APPLICATION_NAME,
    mustBeWritable: readTarget(settings.get('target_session_attrs'), endpoints.length),
    options: settings.get('options'),
    runtimeParameters,
    location: describeServer('postgres', endpoints, database),
  };
}

function passwordFileOf({ env, homeDirectory }: PostgresDefaults): string | undefined {
  const home = env['HOME'] || homeDirectory;
  return env['PGPASSFILE'] || (home && join(home, '.pgpass'));
}

function readEnvironment(env: NodeJS.ProcessEnv): Settings {
  const refused = REFUSED_VARIABLES.find((name) => env[name]);
  if (refused !== undefined) throw fail(`the variable ${refused} is not supported`, `unset ${refused}`);
  const settings: Settings = new Map();
  for (const [variable, name] of Object.entries(SETTING_OF_VARIABLE)) {
    const value = env[variable];
    if (value) settings.set(name, value);
  }
  return settings;
}

/** `postgres://[user[:password]@][host[:port][,…]][/database][?name=value&…]` (RFC 3986, but for the list). */
function readUrl(text: string): Settings {
  const [beforeFragment = ''] = text.slice(text.indexOf('://') + 3).split('#', 1);
  const question = beforeFragment.indexOf('?');
  const hierarchy = question < 0 ? beforeFragment : beforeFragment.slice(0, question);
  const slash = hierarchy.indexOf('/');
  const authority = slash < 0 ? hierarchy : hierarchy.slice(0, slash);
  const at = authority.lastIndexOf('@');
  const credentials = authority.slice(0, Math.max(at, 0));
  const colon = credentials.indexOf(':');
  const addresses = authority
    .slice(at + 1)
    .split(',')
    .map((address) => splitHostPort(decode(address), fail));
  const settings: Settings = new Map();
  const accrue = (name: string, value: string) => value !== '' && settings.set(name, value);
  accrue('user', decode(colon < 0 ? credentials : credentials.slice(0, colon)));
  accrue('password', colon < 0 ? '' : decode(credentials.slice(colon + 1)));
  accrue('host', addresses.map(({ host }) => host).join(','));
  if (addresses.some(({ port }) => port !== undefined)) {
    accrue('port', addresses.map(({ port }) => String(port ?? DEFAULT_PORT)).join(','));
  }
  accrue('dbname', slash < 0 ? '' : decode(hierarchy.slice(slash + 1)));
  const query = question < 0 ? '' : beforeFragment.slice(question + 1);
  for (const pair of query.split('&').reverse()) {
    // Reversed: the first of several counts, as in Go.
    const equals = pair.indexOf('=');
    if (equals > 0) accrue(decodeQuery(pair.slice(0, equals)), decodeQuery(pair.slice(equals + 1)));
  }
  return settings;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw fail('malformed percent-encoding in the URL', 'write special characters of the password as %40, %2F, …');
  }
}

function decodeQuery(text: string): string {
  return decode(text.replaceAll('+', ' '));
}

/** `name=value name='quoted \' value'`, blanks around `=` allowed; a backslash escapes in both forms. */
function readKeyValues(text: string): Settings {
  const settings: Settings = new Map();
  const token = /\s*([^\s=]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)(?:[^\s\\]|\\.)*)?)(?=\s|$)/sy;
  while (token.lastIndex < text.trimEnd().length) {
    const [, name, quoted, bare] = token.exec(text) ?? [];
    if (name === undefined) throw fail('malformed connection string', "write name=value, and quote values as 'value'");
    settings.set(name, (quoted ?? bare ?? '').replaceAll(/\\(.)/gs, '$1'));
  }
  return settings;
}

/** Checks every name, too. */
function readRuntimeParameters(settings: Settings): ReadonlyMap<string, string> {
  if (settings.has('client_encoding') && !/^["' ]*utf-?8["' ]*$/i.test(settings.get('client_encoding') ?? '')) {
    throw fail('"client_encoding" must be UTF8', 'remove it');
  }
  const parameters = new Map<string, string>();
  for (const [name, value] of settings) {
    if (DRIVER_SETTINGS.has(name) || HARMLESS.has(name)) continue;
    if (UNSUPPORTED.has(name)) throw fail(`unsupported parameter "${name}"`, 'remove it');
    if (!/^[A-Za-z_][A-Za-z0-9_.]{0,62}$/.test(name)) throw fail(`unknown parameter ${quoteName(name)}`);
    parameters.set(name, value);
  }
  return parameters;
}

function readEndpoints(hostList: string, portList: string): readonly [Endpoint, ...Endpoint[]] {
  const hosts = hostList.split(',');
  const ports = portList.split(',').map((port) => parsePort(port, fail));
  if (ports.length !== 1 && ports.length !== hosts.length) throw fail('hosts and ports differ in number');
  const endpoint = (host: string, index: number): Endpoint => {
    const port = ports[index] ?? ports[0] ?? Number(DEFAULT_PORT);
    if (host.startsWith('/')) return { socketPath: `${host.replace(/\/$/, '')}/.s.PGSQL.${port}` };
    const isBracketed = host.startsWith('[') && host.endsWith(']');
    const address = isBracketed ? host.slice(1, -1) : host;
    if (/[\s[\]/@]/.test(address)) throw fail('malformed host');
    return { host: address === '' ? 'localhost' : address, port };
  };
  const [first = '', ...rest] = hosts;
  return [endpoint(first, 0), ...rest.map((host, index) => endpoint(host, index + 1))];
}

/**
 * lib/pq's `require`, which is also its default, takes any certificate; with an `sslrootcert` that exists it means
 * `verify-ca`.
 */
function readTls(settings: Settings, homeDirectory: string | undefined): TlsRequirement | undefined {
  const caFile = settings.get('sslrootcert') || undefined;
  const base = { use: 'required', caFile, certificate: readClientCertificate(settings, homeDirectory) } as const;
  switch (settings.get('sslmode') || 'require') {
    case 'disable':
      return undefined;
    case 'require':
      return caFile !== undefined && existsSync(caFile)
        ? { ...base, verify: 'chain' }
        : { ...base, caFile: undefined, verify: 'nothing' };
    case 'verify-ca':
      return { ...base, verify: 'chain' };
    case 'verify-full':
      return { ...base, verify: 'chain-and-name' };
    default:
      throw fail(
        'unsupported sslmode; only "require" (default), "verify-full", "verify-ca", and "disable" supported',
        'add sslmode=verify-full, or sslmode=disable for a server without TLS',
      );
  }
}

/** libpq's files in the home directory stand in for what is not named, if the certificate is there. */
function readClientCertificate(settings: Settings, homeDirectory: string | undefined): TlsRequirement['certificate'] {
  const standIn = (name: string) => homeDirectory && join(homeDirectory, '.postgresql', name);
  const certFile = settings.get('sslcert') || standIn('postgresql.crt');
  const keyFile = settings.get('sslkey') || standIn('postgresql.key');
  if (!settings.get('sslcert') && !(certFile && existsSync(certFile))) {
    if (settings.get('sslkey')) throw fail('"sslcert" and "sslkey" go together');
    return undefined;
  }
  if (!certFile || !keyFile) throw fail('"sslcert" and "sslkey" go together');
  return { certFile, keyFile };
}

/** @returns Undefined for 0, lib/pq's "wait for ever": then our bound holds. */
function readConnectTimeout(text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined;
  const seconds = /^\d{1,6}$/.test(text) ? Number(text) : MAX_CONNECT_TIMEOUT_S + 1;
  if (seconds > MAX_CONNECT_TIMEOUT_S) {
    throw fail(`"connect_timeout" is not 0 to ${MAX_CONNECT_TIMEOUT_S}`, 'write whole seconds');
  }
  return seconds === 0 ? undefined : seconds * 1000;
}

/** libpq's parameter. Of several servers the one that can be written to is meant, if nothing else is said. */
function readTarget(text: string | undefined, hosts: number): boolean {
  switch (text) {
    case undefined:
      return hosts > 1;
    case 'any':
      return false;
    case 'read-write':
    case 'primary':
      return true;
    default:
      throw fail('unsupported "target_session_attrs"', 'use any, read-write or primary');
  }
}
