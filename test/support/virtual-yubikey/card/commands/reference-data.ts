/** PIN and PUK: VERIFY, CHANGE REFERENCE DATA, RESET RETRY COUNTER, and Yubico's SET PIN RETRIES. */
import type { CommandApdu } from '../apdu.ts';
import { REFERENCE_DATA_BYTES, ReferenceData, requireWellFormed } from '../reference-data.ts';
import { FACTORY_PIN, FACTORY_PUK } from '../settings.ts';
import type { CardState } from '../state.ts';
import { CommandRefused, refuse, retriesLeft } from '../status-word.ts';

/** Key references (NIST SP 800-73-4 Part 1 table 4b). */
const PIN = 0x80;
const PUK = 0x81;

/** NIST SP 800-73-4 Part 2 §3.2.1; without data it asks whether the PIN is verified and tells the tries left. */
export function verify(state: CardState, { p1, p2, data }: CommandApdu): Buffer {
  if (p2 !== PIN) refuse('REFERENCE_DATA_NOT_FOUND');
  if (p1 !== 0) refuse('WRONG_PARAMETERS');
  if (data.length === 0) {
    if (state.session.isPinVerified) return Buffer.alloc(0);
    if (state.pin.retriesLeft === 0) refuse('AUTHENTICATION_METHOD_BLOCKED');
    throw new CommandRefused(retriesLeft(state.pin.retriesLeft));
  }
  if (data.length !== REFERENCE_DATA_BYTES) refuse('WRONG_DATA');
  setVerified(state, false);
  state.pin.verify(data);
  setVerified(state, true);
  return Buffer.alloc(0);
}

/** NIST SP 800-73-4 Part 2 §3.2.2. */
export function changeReferenceData(state: CardState, { p2, data }: CommandApdu): Buffer {
  const target = p2 === PIN ? state.pin : p2 === PUK ? state.puk : refuse('REFERENCE_DATA_NOT_FOUND');
  const { first, second } = split(data);
  requireWellFormed(second);
  target.verify(first);
  target.replace(second);
  return Buffer.alloc(0);
}

/** NIST SP 800-73-4 Part 2 §3.2.3: the PUK sets a new PIN. */
export function resetRetryCounter(state: CardState, { p2, data }: CommandApdu): Buffer {
  if (p2 !== PIN) refuse('REFERENCE_DATA_NOT_FOUND');
  const { first, second } = split(data);
  requireWellFormed(second);
  state.puk.verify(first);
  state.pin.replace(second);
  return Buffer.alloc(0);
}

/** Yubico's FA: other retry counts, and with them factory PIN and PUK. */
export function setPinRetries(state: CardState, { p1, p2 }: CommandApdu): Buffer {
  if (!state.session.isManagementAuthenticated || !state.session.isPinVerified) refuse('SECURITY_STATUS_NOT_SATISFIED');
  // 63Cx has room for 15.
  if (p1 === 0 || p2 === 0 || p1 > 15 || p2 > 15) refuse('WRONG_PARAMETERS');
  state.pin = new ReferenceData(FACTORY_PIN, state.statistics.pin, p1);
  state.puk = new ReferenceData(FACTORY_PUK, state.statistics.puk, p2);
  setVerified(state, false);
  return Buffer.alloc(0);
}

function setVerified(state: CardState, isVerified: boolean): void {
  state.session.isPinVerified = isVerified;
  state.session.isPinFresh = isVerified;
}

function split(data: Buffer): { readonly first: Buffer; readonly second: Buffer } {
  if (data.length !== 2 * REFERENCE_DATA_BYTES) refuse('WRONG_DATA');
  return { first: data.subarray(0, REFERENCE_DATA_BYTES), second: data.subarray(REFERENCE_DATA_BYTES) };
}
