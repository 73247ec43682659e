/** Whether there is a key in a slot, asked of the card itself: for libraries that do not see every key. */
import { SignetError } from '../../errors.ts';
import type { TokenFacts } from '../pkcs11/host-protocol.ts';
import { sendToCard } from './opensc-tool.ts';
import type { PivSlot } from './piv-slots.ts';
import {
  CARD_TIMEOUT_MS,
  GET_SERIAL,
  getMetadata,
  isSerial,
  REFERENCED_DATA_NOT_FOUND,
  SUCCESS,
} from './yubico-commands.ts';

export interface SlotKeyRequest {
  /** Which YubiKey, as the library knows it. */
  readonly token: Pick<TokenFacts, 'serial' | 'slotDescription'>;
  readonly env: NodeJS.ProcessEnv;
}

/**
 * Selects nothing, so that whoever is logged in stays so.
 *
 * @throws {SignetError} UNSUPPORTED without opensc-tool; UNAVAILABLE if the card does not tell: another one answers, another
 *   application is selected, or it has no such command
 */
export async function hasKey(slot: PivSlot, { token, env }: SlotKeyRequest): Promise<boolean> {
  const commands = [GET_SERIAL, getMetadata(slot)];
  const { serial, slotDescription: reader } = token;
  const [number, metadata] = await sendToCard({ reader, commands, env, timeoutMs: CARD_TIMEOUT_MS });
  // 6A88 says something else in other applications.
  if (isSerial(number, serial)) {
    if (metadata?.statusWord === SUCCESS) return true;
    if (metadata?.statusWord === REFERENCED_DATA_NOT_FOUND) return false;
  }
  throw new SignetError('UNAVAILABLE', 'the card did not tell opensc-tool');
}
