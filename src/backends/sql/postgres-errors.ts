/** Errors of pg and of PostgreSQL servers → `SignetError`. */
import { SignetError } from '../../errors.ts';
import { isCertificateError, PROBLEM, type Problem, sqlError } from './native-error.ts';

/** SQLSTATEs and their classes (PostgreSQL documentation, appendix A); the longest that fits counts. */
const PROBLEM_OF_STATE: Readonly<Record<string, Problem>> = {
  '08': PROBLEM.lost,
  '0A000': PROBLEM.statement,
  '22': PROBLEM.value,
  '23505': PROBLEM.unique,
  '25006': PROBLEM.readOnly,
  '25P03': PROBLEM.timeout,
  '26000': PROBLEM.lost, // a prepared statement that a proxy or DISCARD ALL took away
  '28': PROBLEM.credentials,
  '3D000': PROBLEM.noDatabase,
  '3F000': PROBLEM.noTable,
  '40': PROBLEM.busy,
  '42501': PROBLEM.rights,
  '42703': PROBLEM.noColumn,
  '42P01': PROBLEM.noTable,
  '42704': { code: 'CONFIGURATION', text: 'the server does not know a parameter' },
  '53': PROBLEM.full,
  '55P03': PROBLEM.busy,
  '57014': PROBLEM.timeout,
  '57': PROBLEM.lost,
  '57P03': PROBLEM.unreachable,
  '58': PROBLEM.failed,
  XX: PROBLEM.failed,
};

/** After these the connection is of no use, though the server still talks on it. */
const IS_LAST = new Set<Problem>([PROBLEM.lost, PROBLEM.readOnly]);

interface NativeError {
  readonly code?: string;
  readonly severity?: string;
  readonly routine?: string;
  readonly message?: string;
}

/** Server errors carry a severity; pg's own and Node's do not. */
function isFromServer(error: NativeError): error is NativeError & { readonly code: string } {
  return typeof error.severity === 'string' && typeof error.code === 'string';
}

function problemOf(state: string): Problem {
  return PROBLEM_OF_STATE[state] ?? PROBLEM_OF_STATE[state.slice(0, 2)] ?? PROBLEM.statement;
}

/**
 * @param error Anything that pg gives; a `SignetError` passes through.
 * @param isConnecting Whether no statement can be under way yet.
 */
export function fromPostgresError(error: unknown, location: string, isConnecting = false): SignetError {
  if (error instanceof SignetError) return error;
  const native = (error ?? {}) as NativeError;
  // The text and detail of a server error repeat values ("Key (key_id)=(x) already exists"), so it is no cause.
  if (isFromServer(native)) return sqlError(location, problemOf(native.code), native.code);
  const code = native.code ?? 'connection';
  if (isCertificateError(code)) return sqlError(location, PROBLEM.tls, code, error);
  if (/SSL connection/.test(native.message ?? '')) return sqlError(location, PROBLEM.tls, 'no SSL', error);
  if (/^SASL/.test(native.message ?? '')) return sqlError(location, PROBLEM.credentials, 'SASL');
  return sqlError(location, isConnecting ? PROBLEM.unreachable : PROBLEM.lost, code, error);
}

/** Whether the connection that an error came from must not be used again. */
export function isLastPostgresError(error: unknown): boolean {
  const native = (error ?? {}) as NativeError;
  return !isFromServer(native) || native.severity === 'FATAL' || IS_LAST.has(problemOf(native.code));
}

/**
 * Whether a prepared statement was refused before it ran, because the table changed under it or because something
 * between us and the server forgot it. The same text works when it is prepared anew.
 */
export function isStaleStatement(error: unknown): boolean {
  const { code, routine } = (error ?? {}) as NativeError;
  return code === '26000' || (code === '0A000' && routine === 'RevalidateCachedQuery');
}
