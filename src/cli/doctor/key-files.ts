/** Key files that cannot be read, and why. */
import { lstat, opendir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { readBoundedFile } from '../../backends/durable-file.ts';
import { isKeyId } from '../../crypto/key-id.ts';
import { readKeyPem } from '../../crypto/key-pem.ts';
import { SignetError } from '../../errors.ts';
import { quote } from './directories.ts';
import { type Finding, findings } from './finding.ts';

const found = findings('key files');
const MAX_KEY_FILE_BYTES = 64 * 1024;
/** More lines than this help nobody. */
const MAX_FINDINGS = 20;
/** Directories of notary before 0.6. */
const LEGACY = ['root_keys', 'tuf_keys'];

/** @param directory The `private` folder of a trust directory. */
export async function checkKeyFiles(directory: string): Promise<readonly Finding[]> {
  const entries = await opendir(directory).catch(() => undefined);
  if (entries === undefined) return [];
  const result: Finding[] = [];
  let good = 0;
  for await (const entry of entries) {
    const path = join(directory, entry.name);
    if (entry.isDirectory() && LEGACY.includes(entry.name)) {
      result.push(found.note(`${path} is the layout of an old notary; its keys are used where they are`));
    }
    if (!entry.name.endsWith('.key')) continue;
    const finding = await checkKeyFile(path);
    if (finding === undefined) good++;
    else if (result.length < MAX_FINDINGS) result.push(finding);
  }
  return [found.ok(`${good === 1 ? 'one key file' : `${good} key files`} in ${directory} can be read`), ...result];
}

async function checkKeyFile(path: string): Promise<Finding | undefined> {
  const stats = await lstat(path).catch(() => undefined);
  if (stats === undefined) return undefined; // removed meanwhile
  const aside = `mv ${quote(path)} ${quote(`${path}.bad`)}`;
  if (!stats.isFile()) return found.warning(`${path} is not a file, so it is ignored`, aside);
  if (!isKeyId(basename(path, '.key'))) return found.warning(`${path} is ignored: its name is not a key ID`, aside);
  try {
    const bytes = await readBoundedFile(path, MAX_KEY_FILE_BYTES);
    if (bytes === undefined) return undefined;
    const { sealed, block } = readKeyPem(bytes);
    bytes.fill(0);
    block.bytes.fill(0);
    if ((stats.mode & 0o077) !== 0) return found.warning(`others can read ${path}`, `chmod 600 ${quote(path)}`);
    if (!sealed)
      return found.warning(
        `the key in ${path} has no passphrase`,
        `signet key passwd ${basename(path, '.key').slice(0, 12)}`,
      );
    return undefined;
  } catch (error) {
    const reason = error instanceof SignetError ? error.message : 'it cannot be read';
    return found.problem(`${path} is not a key: ${reason}`, `restore it from a backup, or: ${aside}`);
  }
}
