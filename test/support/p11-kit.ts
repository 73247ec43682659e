/** SoftHSM behind p11-kit's remoting: every process that uses it has a `p11-kit-remote` of its own. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MULTIARCH, type OpenToken, opener, type Pkcs11Home } from './pkcs11-home.ts';
import { startProgram } from './processes.ts';
import { SOFTHSM_MODULE, type SoftHsm, softHsm } from './softhsm.ts';

export const P11_KIT_MODULE = `${MULTIARCH}/pkcs11/p11-kit-client.so`;

export interface P11Kit extends Pkcs11Home, AsyncDisposable {
  readonly hsm: SoftHsm;
  /** The processes that the module behind it runs in now. */
  remotes(): Promise<readonly number[]>;
  readonly open: OpenToken;
}

/** @returns A server for every token of a new SoftHSM. */
export async function p11Kit(): Promise<P11Kit> {
  const hsm = await softHsm();
  const socket = join(hsm.directory, 'p11-kit');
  const server = await startProgram(
    'p11-kit',
    ['server', '--foreground', '--name', socket, '--provider', SOFTHSM_MODULE, 'pkcs11:'],
    { env: hsm.env },
    { output: /P11_KIT_SERVER_ADDRESS/ },
  );
  const env = { ...hsm.env, P11_KIT_SERVER_ADDRESS: `unix:path=${socket}` };
  return {
    directory: hsm.directory,
    modulePath: P11_KIT_MODULE,
    env,
    hsm,
    remotes: () => descendants(server.pid),
    open: opener({ modulePath: P11_KIT_MODULE, env }),
    [Symbol.asyncDispose]: async () => {
      await server.stop();
      await hsm[Symbol.asyncDispose]();
    },
  };
}

/** Children and theirs, leaves only: the server forks before it executes. */
async function descendants(pid: number): Promise<number[]> {
  const tasks = await readdir(`/proc/${pid}/task`).catch(() => []);
  const children = await Promise.all(
    tasks.map((task) => readFile(`/proc/${pid}/task/${task}/children`, 'utf8').catch(() => '')),
  );
  const pids = children
    .join(' ')
    .split(' ')
    .filter((text) => text.trim() !== '')
    .map(Number);
  const below = await Promise.all(pids.map(async (child) => [child, ...(await descendants(child))]));
  return below.flat();
}
