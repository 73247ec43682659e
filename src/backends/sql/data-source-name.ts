/** notary-signer's `storage.db_url` → a description that says nothing of drivers. */
import { isIPv6 } from 'node:net';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SignetError } from '../../errors.ts';

export type Endpoint = { readonly host: string; readonly port: number } | { readonly socketPath: string };

/** How a connection is to be encrypted. Files are PEM and read anew for each connection, so that they can be renewed. */
export interface TlsRequirement {
  /** `preferred`: in clear if the server offers no TLS. */
  readonly use: 'required' | 'preferred';
  readonly verify: 'nothing' | 'chain' | 'chain-and-name';
  /** Undefined: the system's certificates. */
  readonly caFile: string | undefined;
  readonly certificate: { readonly certFile: string; readonly keyFile: string } | undefined;
}

/** A database server as both dialects describe it. */
export interface ServerDataSource {
  /** One at least; tried in this order. */
  readonly endpoints: readonly [Endpoint, ...Endpoint[]];
  readonly user: string;
  readonly database: string;
  /** Undefined: in clear. */
  readonly tls: TlsRequirement | undefined;
  /** Undefined: our default. */
  readonly connectTimeoutMs: number | undefined;
  /** Whether a server that only reads, such as a standby, is passed over. */
  readonly mustBeWritable: boolean;
  readonly location: string;
}

export interface MysqlDataSource extends ServerDataSource {
  /** `''` for none. Never for a message. */
  readonly password: string;
  /** Undefined: our default. */
  readonly statementTimeoutMs: number | undefined;
  readonly allowCleartextPasswords: boolean;
  /** System variable → the SQL expression for `SET`, as the operator wrote it. */
  readonly sessionVariables: ReadonlyMap<string, string>;
}

export interface PostgresDataSource extends ServerDataSource {
  /** Never for a message. Undefined: `passwordFile` may have it. */
  readonly password: string | undefined;
  /** libpq's password file, which need not be there; undefined where there is no home directory. */
  readonly passwordFile: string | undefined;
  readonly applicationName: string;
  /** `options` of the startup message (`-c name=value …`). */
  readonly options: string | undefined;
  /** Run-time parameter → value. */
  readonly runtimeParameters: ReadonlyMap<string, string>;
}

export interface SqliteDataSource {
  /** Absolute. */
  readonly path: string;
  readonly location: string;
}

/** @param backend As in `storage.backend`. */
export function emptyDataSource(backend: 'mysql' | 'postgres' | 'sqlite3'): SignetError {
  return new SignetError('CONFIGURATION', `must provide a non-empty database source for ${backend}`, {
    hint: 'set storage.db_url',
  });
}

/** @param why Never holds a value from the data source: anything may be the password. */
export function badDataSource(backend: 'mysql' | 'postgres' | 'sqlite3', why: string, hint?: string): SignetError {
  const message = `failed to parse the database source for ${backend}: ${why}`;
  return new SignetError('CONFIGURATION', message, hint === undefined ? {} : { hint });
}

/** Names are shown only where they look like one: a badly quoted password can end up as a name. */
export function quoteName(name: string): string {
  return /^[A-Za-z_][A-Za-z0-9_.]{0,63}$/.test(name) ? `"${name}"` : '(not a name)';
}

/** @throws {SignetError} CONFIGURATION, from `fail`, outside 1 to 65535 */
export function parsePort(text: string, fail: (why: string) => SignetError): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65535) throw fail('a port is not 1 to 65535');
  return port;
}

/**
 * Splits `host`, `host:port`, `[IPv6]`, `[IPv6]:port`; an IPv6 address without brackets has no port.
 *
 * @throws {SignetError} CONFIGURATION, from `fail`
 */
export function splitHostPort(
  text: string,
  fail: (why: string) => SignetError,
): { readonly host: string; readonly port: number | undefined } {
  if (isIPv6(text)) return { host: text, port: undefined };
  const [, host, port] = /^\[([^\]]*)\](?::(.*))?$/.exec(text) ?? /^([^:]*)(?::([^:]*))?$/.exec(text) ?? [];
  if (host === undefined || /[\s[\]/@]/.test(host)) throw fail('malformed host');
  return { host, port: port === undefined ? undefined : parsePort(port, fail) };
}

/** For people: `mysql://[::1]:3306,b.example:3306/keys`. */
export function describeServer(dialect: string, endpoints: readonly Endpoint[], database: string): string {
  return `${dialect}://${endpoints.map(describeEndpoint).join(',')}/${database}`;
}

/** For people: `db.example:3306`, or `unix(/run/mysqld/mysqld.sock)`. */
export function describeEndpoint(endpoint: Endpoint): string {
  if ('socketPath' in endpoint) return `unix(${endpoint.socketPath})`;
  const { host, port } = endpoint;
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/**
 * Reads a path, or a `file:` URL without parameters.
 *
 * @param baseDirectory Where relative paths start.
 * @throws {SignetError} CONFIGURATION
 */
export function parseSqliteDataSource(text: string, baseDirectory: string): SqliteDataSource {
  if (text === '') throw emptyDataSource('sqlite3');
  if (text === ':memory:' || text.startsWith('file::memory:')) {
    throw badDataSource('sqlite3', 'a database in memory keeps no keys', 'set storage.backend to "memory" for that');
  }
  if (text.includes('\0')) throw badDataSource('sqlite3', 'malformed path');
  const path = text.startsWith('file:') ? pathOfUrl(text) : text;
  const absolute = resolve(baseDirectory, path);
  return { path: absolute, location: `sqlite:${absolute}` };
}

/** SQLite's own URLs may be relative (`file:keys.db`), which URLs are not. */
function pathOfUrl(text: string): string {
  const [beforeFragment = ''] = text.split('#', 1);
  const [location = '', query = ''] = beforeFragment.split('?', 2);
  if (query !== '') {
    const name = query.split(/[=&]/, 1)[0] ?? '';
    throw badDataSource('sqlite3', `unsupported parameter ${quoteName(name)}`, 'remove everything after the "?"');
  }
  try {
    return location.startsWith('file:/') ? fileURLToPath(location) : decodeURIComponent(location.slice('file:'.length));
  } catch {
    throw badDataSource('sqlite3', 'malformed file URL', 'write file:///absolute/path');
  }
}
