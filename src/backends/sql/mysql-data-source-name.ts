/** `[user[:password]@][net[(address)]]/database[?parameter=value&…]`, read as go-sql-driver/mysql reads it. */
import { parseDuration } from '../../duration.ts';
import {
  badDataSource,
  describeServer,
  type Endpoint,
  emptyDataSource,
  type MysqlDataSource,
  quoteName,
  splitHostPort,
  type TlsRequirement,
} from './data-source-name.ts';

const DEFAULT_PORT = 3306;
/** Where go-sql-driver looks when `unix` has no address. */
const DEFAULT_SOCKET = '/tmp/mysql.sock';

/** go-sql-driver's own parameters that change nothing here: about Go's types, its buffers, or always on. */
const HARMLESS = new Set([
  'parseTime', // notary-signer forces it on; times never leave the database here
  'loc',
  'timeTruncate',
  'clientFoundRows', // always on here
  'columnsWithAlias',
  'checkConnLiveness', // always on here
  'rejectReadOnly', // always on here
  'allowNativePasswords',
  'interpolateParams',
  'maxAllowedPacket',
  'connectionAttributes',
  'allowFallbackToPlaintext',
  'compress',
  'charset', // what the column can store decides; the connection is always utf8mb4
  'collation',
  'writeTimeout',
]);

const TLS_OF: Readonly<Record<string, Pick<TlsRequirement, 'use' | 'verify'> | undefined>> = {
  true: { use: 'required', verify: 'chain-and-name' },
  'skip-verify': { use: 'required', verify: 'nothing' },
  preferred: { use: 'preferred', verify: 'nothing' },
  false: undefined,
};
const MAX_TIMEOUT_MS = 3_600_000;

/** Go's spellings of the two truth values. */
const TRUE = new Set(['1', 'true', 'TRUE', 'True']);
const FALSE = new Set(['0', 'false', 'FALSE', 'False']);

const fail = (why: string, hint?: string) => badDataSource('mysql', why, hint);

/**
 * @param text As in `storage.db_url`. The password is taken as it is: any character but what ends it.
 * @throws {SignetError} CONFIGURATION; never repeats a value
 * @remarks A comma list of addresses, which go-sql-driver does not know, is for fail-over.
 */
export function parseMysqlDataSource(text: string): MysqlDataSource {
  if (text === '') throw emptyDataSource('mysql');
  const slash = text.lastIndexOf('/');
  if (slash < 0)
    throw fail('missing the slash separating the database name', 'write user:password@tcp(host:3306)/database');
  const { user, password, net, address } = readLeft(text.slice(0, slash));
  const [name = '', ...query] = text.slice(slash + 1).split('?');
  const database = decodePercent(name, 'malformed database name');
  if (database === '') throw fail('the database name is missing', 'write it after the last slash');
  const endpoints = readEndpoints(net, address);
  return {
    endpoints,
    user,
    password,
    database,
    // Of several servers one replicates the other, and is read-only meanwhile.
    mustBeWritable: endpoints.length > 1,
    location: describeServer('mysql', endpoints, database),
    ...readParameters(query.join('?')),
  };
}

/** `[user[:password]@][net[(address)]]`: the last `@` ends the password, the first `:` begins it. */
function readLeft(left: string): { user: string; password: string; net: string; address: string } {
  const at = left.lastIndexOf('@');
  const credentials = left.slice(0, Math.max(at, 0));
  const colon = credentials.indexOf(':');
  const network = left.slice(at + 1);
  const bracket = network.indexOf('(');
  if (bracket >= 0 && !network.endsWith(')')) {
    throw fail('the network address is not terminated', 'write tcp(host:3306), and %2F for "/" in parameters');
  }
  return {
    user: colon < 0 ? credentials : credentials.slice(0, colon),
    password: colon < 0 ? '' : credentials.slice(colon + 1),
    net: bracket < 0 ? network : network.slice(0, bracket),
    address: bracket < 0 ? '' : network.slice(bracket + 1, -1),
  };
}

function readEndpoints(net: string, address: string): readonly [Endpoint, ...Endpoint[]] {
  if (net === 'unix') return [{ socketPath: address === '' ? DEFAULT_SOCKET : address }];
  if (!['', 'tcp', 'tcp4', 'tcp6'].includes(net)) {
    throw fail('unsupported network', 'write tcp(host:port) or unix(/path/to/socket)');
  }
  const [first = '', ...rest] = address.split(',');
  return [readEndpoint(first), ...rest.map(readEndpoint)];
}

function readEndpoint(text: string): Endpoint {
  const { host, port } = splitHostPort(text, fail);
  return { host: host === '' ? '127.0.0.1' : host, port: port ?? DEFAULT_PORT };
}

function decodePercent(text: string, problem: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw fail(problem);
  }
}

type Parameters = Pick<
  MysqlDataSource,
  'tls' | 'connectTimeoutMs' | 'statementTimeoutMs' | 'allowCleartextPasswords' | 'sessionVariables'
>;

function readParameters(query: string): Parameters {
  const sessionVariables = new Map<string, string>();
  let tls: TlsRequirement | undefined;
  let connectTimeoutMs: number | undefined;
  let statementTimeoutMs: number | undefined;
  let allowCleartextPasswords = false;
  for (const parameter of query.split('&')) {
    const equals = parameter.indexOf('=');
    if (equals < 0) continue; // as in Go
    const name = parameter.slice(0, equals);
    const value = parameter.slice(equals + 1);
    if (HARMLESS.has(name)) continue;
    switch (name) {
      case 'tls':
        tls = readTls(value);
        break;
      case 'timeout':
        connectTimeoutMs = readDuration(name, value);
        break;
      case 'readTimeout':
        statementTimeoutMs = readDuration(name, value);
        break;
      case 'allowCleartextPasswords':
        allowCleartextPasswords = readBoolean(name, value);
        break;
      case 'allowAllFiles':
      case 'allowOldPasswords':
      case 'multiStatements':
        if (readBoolean(name, value)) throw fail(`unsupported parameter "${name}"`, 'remove it');
        break;
      case 'serverPubKey':
      case 'strict':
        throw fail(`unsupported parameter "${name}"`, 'remove it');
      default:
        sessionVariables.set(readVariableName(name), decodePercent(value.replaceAll('+', ' '), `malformed ${name}`));
    }
  }
  return { tls, connectTimeoutMs, statementTimeoutMs, allowCleartextPasswords, sessionVariables };
}

/** Everything that is not go-sql-driver's is a system variable of the server. */
function readVariableName(name: string): string {
  if (!/^[A-Za-z][A-Za-z0-9_]{0,63}$/.test(name)) throw fail(`unknown parameter ${quoteName(name)}`);
  return name;
}

function readTls(value: string): TlsRequirement | undefined {
  const mode = TRUE.has(value)
    ? 'true'
    : FALSE.has(value)
      ? 'false'
      : decodePercent(value, 'malformed tls').toLowerCase();
  if (!Object.hasOwn(TLS_OF, mode)) {
    throw fail('unknown value of "tls"', 'use true, skip-verify, preferred or false');
  }
  const base = TLS_OF[mode];
  return base && { ...base, caFile: undefined, certificate: undefined };
}

function readBoolean(name: string, value: string): boolean {
  if (!TRUE.has(value) && !FALSE.has(value)) throw fail(`"${name}" is not a boolean`, 'use true or false');
  return TRUE.has(value);
}

/** @returns Undefined for 0, which is Go's "no limit": then ours holds. @throws {SignetError} CONFIGURATION */
function readDuration(name: string, value: string): number | undefined {
  const milliseconds = parseDuration(value);
  if (milliseconds === undefined || milliseconds > MAX_TIMEOUT_MS) {
    throw fail(`"${name}" is not a duration up to 1h`, 'write it as 5s or 1500ms');
  }
  return milliseconds === 0 ? undefined : milliseconds;
}
