/** A SoftHSM token of its own, and a module that makes it slow. */
import { execFile } from 'node:child_process';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

const SOFTHSM_MODULE = '/usr/lib/softhsm/libsofthsm2.so';
const SLOW_SOURCE = fileURLToPath(new URL('../test/support/faulty-module.c', import.meta.url));
const PIN = '135792468';
export const TOKEN_LABEL = 'bench';

/**
 * @typedef {object} Token
 * @property {string} modulePath SoftHSM's.
 * @property {string} slowModulePath SoftHSM behind a module that sleeps in C_Sign.
 * @property {string} pinFile
 * @property {Record<string, string>} env For processes that load either.
 * @property {(milliseconds: number) => Promise<void>} slowDown How long the slow module sleeps from now on.
 * @property {() => Promise<string>} storage The directory that is the token.
 */

/** @returns {Promise<Token>} Everything is in `directory`. */
export async function makeToken(directory) {
  const tokens = join(directory, 'tokens');
  const configuration = join(directory, 'softhsm2.conf');
  const control = join(directory, 'faults');
  const slowModulePath = join(directory, 'slow.so');
  const pinFile = join(directory, 'pin');
  await mkdir(tokens, { recursive: true, mode: 0o700 });
  await writeFile(configuration, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`);
  await writeFile(control, '');
  await writeFile(pinFile, `${PIN}\n`, { mode: 0o600 });
  const env = { SOFTHSM2_CONF: configuration, FAULTY_REAL: SOFTHSM_MODULE, FAULTY_CONTROL: control };
  const pins = ['--pin', PIN, '--so-pin', '97531864'];
  await run('softhsm2-util', ['--init-token', '--free', '--label', TOKEN_LABEL, ...pins], {
    env: { ...process.env, ...env },
  });
  const flags = ['-std=c11', '-D_GNU_SOURCE', '-shared', '-fPIC', '-O1'];
  await run('gcc', [...flags, '-o', slowModulePath, SLOW_SOURCE, '-ldl']);
  return {
    modulePath: SOFTHSM_MODULE,
    slowModulePath,
    pinFile,
    env,
    slowDown: (milliseconds) => writeFile(control, `C_Sign sleep ${milliseconds}\n`),
    storage: async () => join(tokens, (await readdir(tokens))[0]),
  };
}
