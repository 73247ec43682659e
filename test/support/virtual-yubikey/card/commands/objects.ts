/** GET DATA and PUT DATA (NIST SP 800-73-4 Part 2 §3.1.2 and §3.3.2). */
import type { CommandApdu } from '../apdu.ts';
import type { CardState } from '../state.ts';
import { refuse } from '../status-word.ts';
import { findTlv, parseTlvs, requireTlv, tlv } from '../tlv.ts';

const TAG_LIST = 0x5c;
const DATA = 0x53;
/** Discovery Object (NIST SP 800-73-4 Part 1 §3.3.2): the application's AID, and that its PIN is the card's only one. */
const DISCOVERY = 0x7e;
const DISCOVERY_OBJECT = Buffer.from('7e124f0ba0000003080000100001005f2f024000', 'hex');
/** Printed information, fingerprints, face, iris: for holders of the PIN (Part 1 table 3). */
const PIN_PROTECTED: ReadonlySet<number> = new Set([0x5fc109, 0x5fc103, 0x5fc108, 0x5fc121]);
/** The most that a YubiKey stores in one object. */
const MAX_OBJECT_BYTES = 3063;
/** P1 and P2: the current application. */
const CURRENT_APPLICATION = 0x3fff;

/** @returns The object inside tag 53. */
export function getData(state: CardState, command: CommandApdu): Buffer {
  requireCurrentApplication(command);
  const tag = readTag(requireTlv(parseTlvs(command.data), TAG_LIST));
  if (tag === DISCOVERY) return DISCOVERY_OBJECT;
  if (PIN_PROTECTED.has(tag) && !state.session.isPinVerified) refuse('SECURITY_STATUS_NOT_SATISFIED');
  return tlv(DATA, state.objects.get(tag) ?? refuse('FILE_NOT_FOUND'));
}

/** Empty data removes the object. */
export function putData(state: CardState, command: CommandApdu): Buffer {
  requireCurrentApplication(command);
  if (!state.session.isManagementAuthenticated) refuse('SECURITY_STATUS_NOT_SATISFIED');
  const objects = parseTlvs(command.data);
  const tag = readTag(requireTlv(objects, TAG_LIST));
  const data = findTlv(objects, DATA) ?? refuse('WRONG_DATA');
  if (data.length > MAX_OBJECT_BYTES) refuse('NOT_ENOUGH_MEMORY');
  if (data.length === 0) state.objects.delete(tag);
  else state.objects.set(tag, Buffer.from(data));
  return Buffer.alloc(0);
}

function requireCurrentApplication({ p1, p2 }: CommandApdu): void {
  if (p1 * 0x100 + p2 !== CURRENT_APPLICATION) refuse('WRONG_PARAMETERS');
}

/** One octet for the discovery object, else 5Fxxxx. */
function readTag(list: Buffer): number {
  if (list.length === 1) return list.readUInt8();
  if (list.length !== 3 || list[0] !== 0x5f) refuse('FILE_NOT_FOUND');
  return list.readUIntBE(0, 3);
}
