/** What the three normalisers of driver errors have in common. */
import { type ErrorCode, SignetError } from '../../errors.ts';

/** One kind of failure: our code, what to say, and the remedy where there is one. */
export interface Problem {
  readonly code: ErrorCode;
  readonly text: string;
  readonly hint?: string;
}

export const PROBLEM = {
  credentials: {
    code: 'CONFIGURATION',
    text: 'the database refuses the user or the password',
    hint: 'check user and password in storage.db_url',
  },
  noDatabase: { code: 'CONFIGURATION', text: 'no such database', hint: 'check the name in storage.db_url' },
  noTable: { code: 'CONFIGURATION', text: 'a table is missing' },
  noColumn: {
    code: 'CONFIGURATION',
    text: 'a column is missing',
    hint: "check the database in storage.db_url, and run notary-signer's own migrations: -migrate changes no columns",
  },
  rights: {
    code: 'CONFIGURATION',
    text: 'the user lacks a right',
    // PostgreSQL: ALL on a database is neither a right to its tables nor one to make any; indexes are the owner's.
    hint: 'grant it ALL on private_keys, on PostgreSQL on private_keys_id_seq too; run -migrate as the owner of the table',
  },
  tls: {
    code: 'CONFIGURATION',
    text: 'no trusted TLS connection',
    hint: "check the TLS parameters of storage.db_url and the server's certificate",
  },
  unique: { code: 'KEY_EXISTS', text: 'a row with the same unique key is there already' },
  value: { code: 'INVALID_ARGUMENT', text: 'the table cannot hold this value' },
  busy: { code: 'UNAVAILABLE', text: 'another transaction is in the way' },
  stale: { code: 'UNAVAILABLE', text: 'the table changed under a prepared statement' },
  timeout: { code: 'UNAVAILABLE', text: 'the statement took too long' },
  readOnly: { code: 'UNAVAILABLE', text: 'the database is read-only' },
  full: { code: 'UNAVAILABLE', text: 'the database is out of space or connections' },
  unreachable: { code: 'UNAVAILABLE', text: 'the database cannot be reached' },
  lost: { code: 'UNAVAILABLE', text: 'the connection was lost' },
  failed: { code: 'UNAVAILABLE', text: 'the database failed' },
  statement: { code: 'INTERNAL', text: 'the database does not accept the statement' },
} as const satisfies Record<string, Problem>;

/**
 * @param native The driver's or server's own code, for searching.
 * @param cause Only what cannot hold values of a statement: `cause` goes to the log.
 */
export function sqlError(location: string, problem: Problem, native: string, cause?: unknown): SignetError {
  return new SignetError(problem.code, `${location}: ${problem.text} (${native})`, {
    ...('hint' in problem && problem.hint !== undefined ? { hint: problem.hint } : {}),
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Whether a code of Node's TLS says that a certificate was refused. */
export function isCertificateError(code: string): boolean {
  return /^(?:ERR_TLS_|ERR_SSL_|ERR_OSSL_|CERT_|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA)/.test(
    code,
  );
}
