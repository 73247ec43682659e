/** Errors of mysql2 and of MySQL and MariaDB servers → `SignetError`. */
import { SignetError } from '../../errors.ts';
import { isCertificateError, PROBLEM, type Problem, sqlError } from './native-error.ts';

/** Server error numbers (https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html, MariaDB's: 1900 on). */
const PROBLEM_OF_NUMBER: ReadonlyMap<number, Problem> = new Map<number, Problem>([
  ...pairs([1044, 1045, 1130, 1251, 1698, 1820, 1862, 3118, 3955], PROBLEM.credentials),
  ...pairs([1049], PROBLEM.noDatabase),
  ...pairs([1054], PROBLEM.noColumn),
  ...pairs([1146], PROBLEM.noTable),
  ...pairs([1142, 1143, 1227, 1370], PROBLEM.rights),
  ...pairs([1193, 1231, 1232, 1238], {
    code: 'CONFIGURATION',
    text: 'the server does not accept a system variable',
    hint: 'check the parameters of storage.db_url',
  }),
  ...pairs([1062, 1169, 1586], PROBLEM.unique),
  // 1267, 1270, 1271: a comparison with text that the column's character set does not have.
  ...pairs([1264, 1265, 1267, 1270, 1271, 1366, 1406, 1300, 3854, 3988], PROBLEM.value),
  ...pairs([1205, 1213, 1614, 3572, 3058], PROBLEM.busy),
  ...pairs([1317, 1969, 3024], PROBLEM.timeout),
  ...pairs([1290, 1792, 1836], PROBLEM.readOnly),
  ...pairs([1020, 1021, 1037, 1038, 1040, 1041, 1114, 1135, 1203, 1226, 1461], PROBLEM.full),
  ...pairs([1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1243, 1927, 3169, 4031], PROBLEM.lost),
  ...pairs([3, 14, 23, 1023, 1024, 1026, 1028, 1030, 1033, 1034, 1035, 1105, 1180, 1181, 1194, 1195], PROBLEM.failed),
]);

/** After these the connection is of no use, though the server still talks on it: it is going away, or has been replaced. */
const IS_LAST = new Set<Problem>([PROBLEM.lost, PROBLEM.readOnly]);

function pairs(numbers: readonly number[], problem: Problem): (readonly [number, Problem])[] {
  return numbers.map((number) => [number, problem]);
}

interface NativeError {
  readonly code?: string;
  readonly errno?: number;
  readonly sqlState?: string;
  readonly fatal?: boolean;
}

/** Server errors carry an SQLSTATE; mysql2's own and Node's do not. */
function isFromServer(error: NativeError): error is NativeError & { readonly errno: number } {
  return typeof error.errno === 'number' && error.errno > 0 && typeof error.sqlState === 'string';
}

/**
 * @param error Anything that mysql2 gives; a `SignetError` passes through.
 * @param isConnecting Whether no statement can be under way yet.
 */
export function fromMysqlError(error: unknown, location: string, isConnecting = false): SignetError {
  if (error instanceof SignetError) return error;
  const native = (error ?? {}) as NativeError;
  const code = native.code ?? native.errno?.toString() ?? 'unknown';
  // The text of a server error repeats values ("Duplicate entry 'x' for key …"), so it is no cause.
  if (isFromServer(native)) return sqlError(location, PROBLEM_OF_NUMBER.get(native.errno) ?? PROBLEM.statement, code);
  if (code === 'HANDSHAKE_NO_SSL_SUPPORT' || code === 'HANDSHAKE_SSL_ERROR' || isCertificateError(code)) {
    return sqlError(location, PROBLEM.tls, code, error);
  }
  if (code === 'AUTH_SWITCH_PLUGIN_ERROR') return sqlError(location, PROBLEM.credentials, code);
  return sqlError(location, isConnecting ? PROBLEM.unreachable : PROBLEM.lost, code, networkCause(error));
}

/** mysql2 hangs the statement on errors; what the network said is enough. */
function networkCause(error: unknown): unknown {
  return error instanceof Error ? new Error(error.message) : undefined;
}

/** Whether the connection that an error came from must not be used again. */
export function isLastMysqlError(error: unknown): boolean {
  const native = (error ?? {}) as NativeError;
  if (!isFromServer(native) || native.fatal === true) return true;
  const problem = PROBLEM_OF_NUMBER.get(native.errno);
  return problem !== undefined && IS_LAST.has(problem);
}
