/**
 * A TPM in software with PKCS#11 tokens on it: the one module here that really locks. Behind a resource manager, as the
 * kernel has one: a TPM alone has room for three objects.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { waitFor } from './conditions.ts';
import { MULTIARCH, type OpenToken, opener, type Pkcs11Home, writePinFile } from './pkcs11-home.ts';
import { runProgram, startProgram } from './processes.ts';
import { Resources } from './resources.ts';
import { temporaryDirectory } from './temp.ts';

export const TPM2_MODULE = `${MULTIARCH}/libtpm2_pkcs11.so.1`;
const TPM_PIN = '135792468';
const SO_PIN = '97531864';
const RESOURCE_MANAGER = 'tabrmd:bus_type=session';

export interface Tpm extends Pkcs11Home, AsyncDisposable {
  readonly pin: string;
  readonly soPin: string;
  createToken(label: string): Promise<void>;
  pinFile(pin?: string): Promise<string>;
  /** Wrong PINs since the last right one, as the TPM counts them. */
  wrongPins(): Promise<number>;
  /** Wrong PINs until it locks. */
  setMaxWrongPins(count: number): Promise<void>;
  readonly open: OpenToken;
}

/** @returns A new TPM without tokens. */
export async function tpm(): Promise<Tpm> {
  const resources = new Resources();
  const { path: directory } = resources.use(await temporaryDirectory());
  const store = join(directory, 'store');
  const env = {
    PATH: `${process.env['PATH'] ?? ''}:/usr/sbin`,
    DBUS_SESSION_BUS_ADDRESS: `unix:path=${join(directory, 'bus')}`,
    TPM2_PKCS11_STORE: store,
    TPM2_PKCS11_TCTI: RESOURCE_MANAGER,
    TPM2_PKCS11_LOG_LEVEL: '0',
    TPM2TOOLS_TCTI: RESOURCE_MANAGER,
  };
  await mkdir(store);
  try {
    await startTpm(resources, directory, env);
  } catch (error) {
    await resources[Symbol.asyncDispose]();
    throw error;
  }
  const run = async (command: string, ...args: readonly string[]) => {
    const { ending, stdout, stderr } = await runProgram(command, args, { env });
    if (ending !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${stderr}`);
    return stdout;
  };
  return {
    directory,
    modulePath: TPM2_MODULE,
    env,
    pin: TPM_PIN,
    soPin: SO_PIN,
    createToken: async (label) => {
      const tool = (...args: readonly string[]) => run('pkcs11-tool', '--module', TPM2_MODULE, ...args);
      const slots = await tool('-L');
      const blank = [...slots.matchAll(/^Slot (\d+) .*\n\s+token state:\s+uninitialized/gm)].at(-1)?.[1] ?? '0';
      await tool('--init-token', '--slot-index', blank, '--label', label, '--so-pin', SO_PIN);
      const so = ['--token-label', label, '--login', '--login-type', 'so', '--so-pin', SO_PIN];
      await tool(...so, '--init-pin', '--pin', TPM_PIN);
    },
    pinFile: (pin = TPM_PIN) => writePinFile(directory, pin),
    wrongPins: async () => {
      const properties = await run('tpm2_getcap', 'properties-variable');
      return Number(/TPM2_PT_LOCKOUT_COUNTER: (0x[0-9a-fA-F]+)/.exec(properties)?.[1]);
    },
    setMaxWrongPins: async (count) => {
      await run('tpm2_dictionarylockout', '-s', '-n', String(count), '-t', '1000', '-l', '1000');
    },
    open: opener({ modulePath: TPM2_MODULE, env }),
    [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
  };
}

/** The TPM, a message bus of its own, and the resource manager on it. */
async function startTpm(
  resources: Resources,
  directory: string,
  env: Readonly<Record<string, string>> & { readonly DBUS_SESSION_BUS_ADDRESS: string },
): Promise<void> {
  const socket = join(directory, 's');
  const state = join(directory, 'state');
  await mkdir(state);
  const start = async (command: string, ...args: readonly string[]) =>
    resources.use(await startProgram(command, args, { env }));
  await start(
    'swtpm',
    ...['socket', '--tpm2', '--tpmstate', `dir=${state}`, '--flags', 'not-need-init,startup-clear'],
    ...['--server', `type=unixio,path=${socket}`, '--ctrl', `type=unixio,path=${socket}.ctrl`],
  );
  await start('dbus-daemon', '--session', '--nofork', '--nopidfile', `--address=${env.DBUS_SESSION_BUS_ADDRESS}`);
  await waitFor('the message bus and the TPM', async () => {
    const { ending } = await runProgram('tpm2_getcap', ['properties-fixed', '-T', `swtpm:path=${socket}`], { env });
    return ending === 0;
  });
  await start('tpm2-abrmd', '--session', '--allow-root', `--tcti=swtpm:path=${socket}`);
  await waitFor('the resource manager', async () => {
    const { ending } = await runProgram('tpm2_getcap', ['properties-fixed'], { env });
    return ending === 0;
  });
}
