/** The password file of PostgreSQL's clients (PostgreSQL documentation, "The Password File"), as lib/pq reads it. */
import { stat } from 'node:fs/promises';
import { SignetError } from '../../errors.ts';
import { readBoundedFile } from '../durable-file.ts';
import type { Endpoint } from './data-source-name.ts';

const MAX_FILE_BYTES = 256 * 1024;
/** host:port:database:user:password */
const FIELDS = 5;

/**
 * Looks a password up; read anew for each connection, so that a changed one counts at once.
 *
 * @returns `''` if there is no such file, if this user may not read it, or if no line fits.
 * @throws {SignetError} CONFIGURATION if others may access the file (lib/pq passes over it without a word), or it is too
 *   large; never with anything of its content
 */
export async function passwordFromFile(
  path: string,
  endpoint: Endpoint,
  { user, database }: { readonly user: string; readonly database: string },
): Promise<string> {
  const file = await stat(path).catch(() => undefined);
  if (!file?.isFile()) return '';
  if ((file.mode & 0o077) !== 0) {
    throw new SignetError('CONFIGURATION', `the password file ${path} is open to others`, {
      hint: `run: chmod 600 ${path}`,
    });
  }
  const content = await readBoundedFile(path, MAX_FILE_BYTES, 'follow').catch((cause: unknown) => {
    if (!(cause instanceof SignetError) || cause.code !== 'INTEGRITY') return undefined;
    throw new SignetError('CONFIGURATION', `the password file ${cause.message}`, { cause });
  });
  const wanted = [...addressOf(endpoint), [database], [user]];
  for (const line of content?.toString('utf8').split(/\r?\n/) ?? []) {
    const fields = fieldsOf(line);
    if (line.startsWith('#') || fields.length !== FIELDS) continue;
    if (wanted.every((names, at) => fields[at] === '*' || names.includes(fields[at] ?? ''))) return fields[4] ?? '';
  }
  return '';
}

/** What a line may call host and port. A Unix socket is known by its directory, and as localhost. */
function addressOf(endpoint: Endpoint): readonly [readonly string[], readonly string[]] {
  if (!('socketPath' in endpoint)) return [[endpoint.host], [String(endpoint.port)]];
  const [, directory = '', port = ''] = /^(.*)\/\.s\.PGSQL\.(\d+)$/.exec(endpoint.socketPath) ?? [];
  return [[directory, 'localhost'], [port]];
}

/** A backslash takes the next character for what it is. */
function fieldsOf(line: string): readonly string[] {
  const fields = line.match(/(?:^|:)(?:[^\\:]|\\.)*/gsu) ?? [];
  return fields.map((field, at) => field.slice(at === 0 ? 0 : 1).replaceAll(/\\(.)/gsu, '$1'));
}
