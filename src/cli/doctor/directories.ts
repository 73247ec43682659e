/** Directories that hold keys, the socket and secrets: whose they are, who else can enter, whether there is room. */
import { constants } from 'node:fs';
import { access, lstat, stat, statfs } from 'node:fs/promises';
import { type Finding, findings } from './finding.ts';

const found = findings('directories');
/** Keys are a few hundred bytes; below this, other programs have trouble too. */
const MIN_FREE_BYTES = 1024 * 1024;

/** @param path One that is missing is fine: it is made when it is needed. */
export async function checkDirectory(what: string, path: string): Promise<readonly Finding[]> {
  const link = await lstat(path).catch((error: NodeJS.ErrnoException) => error);
  if (link instanceof Error) {
    if (link.code === 'ENOENT') return [found.note(`the ${what} ${path} is not there yet`)];
    return [
      found.problem(`the ${what} ${path} cannot be looked at (${link.code})`, 'look at the directories above it'),
    ];
  }
  const stats = link.isSymbolicLink() ? await stat(path).catch(() => undefined) : link;
  if (stats === undefined || !stats.isDirectory()) {
    return [
      found.problem(
        `the ${what} ${path} is not a directory`,
        `move it away: mv ${quote(path)} ${quote(`${path}.old`)}`,
      ),
    ];
  }
  const result: Finding[] = [];
  const uid = process.getuid?.();
  if (uid !== undefined && stats.uid !== uid) {
    result.push(
      found.problem(`the ${what} ${path} belongs to uid ${stats.uid}`, `sudo chown -R "$USER" ${quote(path)}`),
    );
  }
  if ((stats.mode & 0o022) !== 0) {
    result.push(found.problem(`others can change the ${what} ${path}`, `chmod 700 ${quote(path)}`));
  } else if ((stats.mode & 0o055) !== 0) {
    result.push(found.warning(`others can look into the ${what} ${path}`, `chmod 700 ${quote(path)}`));
  }
  if (link.isSymbolicLink()) result.push(found.note(`the ${what} ${path} is a symbolic link`));
  const isWritable = await access(path, constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  );
  if (!isWritable)
    result.push(
      found.problem(`the ${what} ${path} cannot be written to`, `chmod u+rwx ${quote(path)}, or mount it writable`),
    );
  const { bavail, bsize } = await statfs(path);
  if (bavail * bsize < MIN_FREE_BYTES) result.push(found.problem(`the disk of ${path} is full`, 'make room on it'));
  return result.some(({ state }) => state !== 'note')
    ? result
    : [found.ok(`the ${what} ${path} is private`), ...result];
}

/** For a command to copy into a shell. */
export function quote(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
