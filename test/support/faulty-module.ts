/** SoftHSM behind a module that misbehaves on demand and counts logins (faulty-module.c), compiled when it is asked for. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type OpenToken, opener } from './pkcs11-home.ts';
import { runProgram } from './processes.ts';
import type { Resources } from './resources.ts';
import { SOFTHSM_MODULE, type SoftHsm, softHsm } from './softhsm.ts';

const SOURCE = fileURLToPath(new URL('faulty-module.c', import.meta.url));

export interface FaultyModule {
  readonly modulePath: string;
  /** For the process that loads it. */
  readonly env: Readonly<Record<string, string>>;
  /** Holds from the next call on. @param faults As faulty-module.c says, `C_Sign sleep 100`; none: behaves. */
  misbehave(...faults: readonly string[]): Promise<void>;
  /** How often C_Login was called. */
  logins(): Promise<number>;
  /** The processes that have called C_Sign since `misbehave` was called. */
  signers(): Promise<ReadonlySet<number>>;
  readonly open: OpenToken;
}

/** The module's files live in the directory of `hsm`. */
export async function faultyModule(hsm: SoftHsm): Promise<FaultyModule> {
  const modulePath = join(hsm.directory, 'faulty.so');
  const control = join(hsm.directory, 'faults');
  const log = join(hsm.directory, 'logins');
  const flags = ['-std=c11', '-D_GNU_SOURCE', '-shared', '-fPIC', '-Wall', '-Wextra', '-Werror'];
  const { ending, stderr } = await runProgram('gcc', [...flags, '-o', modulePath, SOURCE, '-ldl'], {
    env: { PATH: process.env['PATH'] ?? '' },
  });
  if (ending !== 0) throw new Error(`gcc failed: ${stderr}`);
  await writeFile(control, '');
  const calls = async () => (await readFile(log, 'utf8').catch(() => '')).split('\n').filter((line) => line !== '');
  const signs = async () => (await calls()).filter((line) => line.startsWith('C_Sign '));
  let signsBefore = 0;
  const env = { ...hsm.env, FAULTY_REAL: SOFTHSM_MODULE, FAULTY_CONTROL: control, FAULTY_LOG: log };
  return {
    modulePath,
    env,
    open: opener({ modulePath, env }),
    misbehave: async (...faults) => {
      signsBefore = (await signs()).length;
      await writeFile(control, faults.map((fault) => `${fault}\n`).join(''));
    },
    logins: async () => (await calls()).filter((line) => line.startsWith('C_Login ')).length,
    signers: async () => new Set((await signs()).slice(signsBefore).map((line) => Number(line.split(' ')[1]))),
  };
}

/** A SoftHSM token "ci" behind such a module. */
export async function faultyToken(
  resources: Resources,
): Promise<{ readonly hsm: SoftHsm; readonly module: FaultyModule }> {
  const hsm = resources.use(await softHsm());
  await hsm.createToken('ci');
  return { hsm, module: await faultyModule(hsm) };
}
