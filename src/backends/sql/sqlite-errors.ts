/** Errors of better-sqlite3 → `SignetError`. */
import { SignetError } from '../../errors.ts';
import { PROBLEM, type Problem, sqlError } from './native-error.ts';

/** Result codes (https://www.sqlite.org/rescode.html), with or without their extension; the longest that fits counts. */
const PROBLEM_OF_CODE: Readonly<Record<string, Problem>> = {
  SQLITE_CONSTRAINT_UNIQUE: PROBLEM.unique,
  SQLITE_CONSTRAINT_PRIMARYKEY: PROBLEM.unique,
  SQLITE_CONSTRAINT: PROBLEM.statement,
  SQLITE_TOOBIG: PROBLEM.value,
  SQLITE_MISMATCH: PROBLEM.value,
  SQLITE_BUSY: PROBLEM.busy,
  SQLITE_LOCKED: PROBLEM.busy,
  SQLITE_READONLY: PROBLEM.readOnly,
  SQLITE_FULL: PROBLEM.full,
  SQLITE_NOMEM: PROBLEM.full,
  SQLITE_IOERR: PROBLEM.failed,
  SQLITE_CORRUPT: PROBLEM.failed,
  SQLITE_PROTOCOL: PROBLEM.failed,
  SQLITE_CANTOPEN: PROBLEM.unreachable,
  SQLITE_NOTADB: { code: 'CONFIGURATION', text: 'the file is not an SQLite database' },
  SQLITE_AUTH: PROBLEM.rights,
  SQLITE_PERM: PROBLEM.rights,
};

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? code : '';
}

/** @param error Anything that better-sqlite3 throws; a `SignetError` passes through. */
export function fromSqliteError(error: unknown, location: string): SignetError {
  if (error instanceof SignetError) return error;
  const code = codeOf(error);
  // The general code covers what is missing and a mistake of ours; only the text tells them apart.
  const text = code === 'SQLITE_ERROR' ? (error as Error).message : '';
  if (/no such table/.test(text)) return sqlError(location, PROBLEM.noTable, code);
  if (/no such column|has no column/.test(text)) return sqlError(location, PROBLEM.noColumn, code);
  const general = code.split('_', 2).join('_');
  const problem = PROBLEM_OF_CODE[code] ?? PROBLEM_OF_CODE[general] ?? PROBLEM.statement;
  return sqlError(location, problem, code === '' ? 'unknown' : code);
}

/** Whether another connection has the lock that a statement needs: nothing was done, so it may be tried again. */
export function isSqliteBusy(error: unknown): boolean {
  return codeOf(error).startsWith('SQLITE_BUSY');
}
