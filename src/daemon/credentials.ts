/** systemd's credentials (systemd.exec(5), "LoadCredential=") in the place of notary-signer's variables. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readSecret } from '../backends/secret-file.ts';
import { SignetError } from '../errors.ts';

/** What notary-signer's settings and passphrases begin with. */
const PREFIX = 'NOTARY_SIGNER_';

/**
 * Lays credentials that are named like a variable, for example `NOTARY_SIGNER_ALIAS1`, under the environment: a variable
 * that is set wins. A copy, so that no child process inherits them.
 *
 * @param env With `CREDENTIALS_DIRECTORY`, where systemd puts them; each holds one value of at most 4 KiB.
 * @throws {SignetError} CONFIGURATION if one cannot be read; never with anything of its content
 */
export async function withCredentials(env: NodeJS.ProcessEnv): Promise<NodeJS.ProcessEnv> {
  const directory = env['CREDENTIALS_DIRECTORY'];
  if (!directory) return env;
  const merged = { ...env };
  for (const name of await namesIn(directory)) {
    if (!name.startsWith(PREFIX) || merged[name]) continue;
    using value = await readSecret(join(directory, name), 'follow').catch((cause: unknown) => {
      throw unreadable(`the credential ${name}`, cause);
    });
    if (value !== undefined) merged[name] = Buffer.from(value.bytes()).toString();
  }
  return merged;
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw unreadable(`the credentials directory ${directory}`, cause);
  }
}

function unreadable(what: string, cause: unknown): SignetError {
  const message = `${what} cannot be read: ${(cause as Error).message}`;
  return new SignetError('CONFIGURATION', message, { hint: 'check LoadCredential= of the unit', cause });
}
