/** SoftHSM behind a module that counts logins, and dies on demand (pkcs11-shim.c). */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type OpenToken, opener } from './pkcs11-home.ts';
import { runProgram } from './processes.ts';
import { SOFTHSM_MODULE, type SoftHsm } from './softhsm.ts';

const SOURCE = fileURLToPath(new URL('pkcs11-shim.c', import.meta.url));

/** `load`: when the library is loaded, before any call. */
export type ShimCall = 'load' | 'C_Initialize' | 'C_Login' | 'C_Sign';

export interface Shim {
  readonly modulePath: string;
  readonly env: Readonly<Record<string, string>>;
  /** How often C_Login was called so far. */
  logins(): Promise<number>;
  /** The call that ends the process from now on; undefined: none. */
  crashIn(call: ShimCall | undefined): Promise<void>;
  /** The call that never returns from now on. */
  hangIn(call: ShimCall): Promise<void>;
  readonly open: OpenToken;
}

/** @returns A shim before the tokens of `hsm`, compiled into its directory. */
export async function shimBefore(hsm: SoftHsm): Promise<Shim> {
  const modulePath = join(hsm.directory, 'shim.so');
  const args = ['-x', 'c', '-shared', '-fPIC', '-o', modulePath, SOURCE, '-ldl'];
  const { ending, stderr } = await runProgram('g++', args, { env: { PATH: process.env['PATH'] ?? '' } });
  if (ending !== 0) throw new Error(`the shim does not compile: ${stderr}`);
  const log = join(hsm.directory, 'shim.log');
  const crash = join(hsm.directory, 'shim.crash');
  const env = { ...hsm.env, SHIM_MODULE: SOFTHSM_MODULE, SHIM_LOG: log, SHIM_CRASH: crash };
  return {
    modulePath,
    env,
    logins: async () => (await readFile(log, 'utf8').catch(() => '')).split('\n').length - 1,
    crashIn: (call) => writeFile(crash, call ?? ''),
    hangIn: (call) => writeFile(crash, `${call} hang`),
    open: opener({ modulePath, env }),
  };
}
