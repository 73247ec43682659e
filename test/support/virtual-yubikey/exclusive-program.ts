/** A program that wants a card for itself: exclusive-client.mjs. */
import { fileURLToPath } from 'node:url';
import { startProgram } from '../processes.ts';
import type { VirtualYubikeys } from './virtual-yubikeys.ts';

const PROGRAM = fileURLToPath(new URL('exclusive-client.mjs', import.meta.url));
/** pcscd's name for the first reader. */
const FIRST_READER = 'Yubico YubiKey OTP+FIDO+CCID 00 00';
/** SCARD_E_SHARING_VIOLATION, winscard.h. */
export const SHARING_VIOLATION = '0x8010000b';

/**
 * Takes the first card as SCARD_SHARE_EXCLUSIVE does.
 *
 * @returns The program that holds it until it is disposed of, or the code of PC/SC's refusal.
 */
export async function takeExclusively({ env }: Pick<VirtualYubikeys, 'env'>): Promise<AsyncDisposable | string> {
  const program = await startProgram(process.execPath, [PROGRAM, FIRST_READER], { env }, { output: /^(taken|0x.*)$/m });
  const answer = program.stdout.trim();
  const letGo = async () => {
    const { ending, stderr } = await program.stop();
    if (ending !== 0) throw new Error(`the program did not let go of the card: ${ending} ${stderr}`);
  };
  if (answer === 'taken') return { [Symbol.asyncDispose]: letGo };
  await letGo();
  return answer;
}

/** As `takeExclusively`. @throws {Error} if PC/SC refuses */
export async function takeExclusivelyOrThrow(yubikeys: Pick<VirtualYubikeys, 'env'>): Promise<AsyncDisposable> {
  const taken = await takeExclusively(yubikeys);
  if (typeof taken === 'string') throw new Error(`PC/SC refuses the card: ${taken}`);
  return taken;
}
