/** Programs that share a card and select what they want on it, as ykman and gpg (with `pcsc-shared`) do. */
import { runProgram } from '../processes.ts';
import type { VirtualYubikeys } from './virtual-yubikeys.ts';

/** SELECT by name, in hex. */
const SELECT = {
  oath: '00A4040007A0000005272101',
  openpgp: '00A4040006D27600012401',
  piv: '00A4040005A000000308',
} as const;

export type CardApplication = keyof typeof SELECT;

/** Selects an application of the first card and lets go of it without a reset. @throws {Error} if that fails */
export async function selectApplication(yubikeys: Pick<VirtualYubikeys, 'env'>, which: CardApplication): Promise<void> {
  await openscTool(yubikeys, '--send-apdu', SELECT[which]);
}

/** Resets the first card. @throws {Error} if that fails */
export async function resetCard(yubikeys: Pick<VirtualYubikeys, 'env'>): Promise<void> {
  await openscTool(yubikeys, '--reset', 'warm');
}

async function openscTool({ env }: Pick<VirtualYubikeys, 'env'>, ...args: readonly string[]): Promise<void> {
  const options = { env: { ...env, OPENSC_CONF: '/dev/null' } };
  const { ending, stdout, stderr } = await runProgram('opensc-tool', ['--card-driver', 'default', ...args], options);
  if (ending !== 0) throw new Error(`opensc-tool ended with ${ending}: ${stdout}${stderr}`);
}
