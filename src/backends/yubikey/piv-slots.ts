/** PIV's slots for keys (NIST SP 800-73-4 part 1, table 4b; Yubico's f9), and how libykcs11 2 numbers them. */
import { SignetError } from '../../errors.ts';

/** Two hex digits: the key reference. */
export type PivSlot = string;

/** CKA_ID is the place in this list, counted from 1; 1.x counted in another way. */
const SLOTS: readonly PivSlot[] = [
  '9a', // PIV authentication
  '9c', // digital signature: wants the PIN for each signature unless made otherwise
  '9d', // key management
  '9e', // card authentication: wants no PIN unless made otherwise
  ...Array.from({ length: 20 }, (_, index) => (0x82 + index).toString(16)), // retired key management
  'f9', // attestation
];

/** Of the key that attests all others. Signet reads its certificate and never writes there. */
export const ATTESTATION_SLOT: PivSlot = 'f9';

/**
 * Where new keys go by themselves, as Notary has it with today's numbering. 9e is not among them, because whoever holds the
 * YubiKey can sign with it; the retired slots are for those who name one.
 */
export const SLOTS_BY_PREFERENCE: readonly PivSlot[] = ['9c', '9a', '9d'];

/** Everything that a key can be made in. */
export const KEY_SLOTS: readonly PivSlot[] = SLOTS.filter((slot) => slot !== ATTESTATION_SLOT);

/** @throws {SignetError} INTERNAL for what is no slot */
export function ckaIdOfSlot(slot: PivSlot): Uint8Array {
  const index = SLOTS.indexOf(slot);
  if (index < 0) throw new SignetError('INTERNAL', `${slot} is no PIV slot`);
  return Uint8Array.of(index + 1);
}

/** @returns Undefined for an ID that libykcs11 gives to no slot. */
export function slotOfCkaId(ckaId: Uint8Array): PivSlot | undefined {
  const [number = 0] = ckaId;
  return ckaId.byteLength === 1 ? SLOTS[number - 1] : undefined;
}

/** @throws {SignetError} INVALID_ARGUMENT for text that names no slot, or the one of the attestation key */
export function parseKeySlot(text: string): PivSlot {
  const slot = text.toLowerCase();
  if (KEY_SLOTS.includes(slot)) return slot;
  if (slot === ATTESTATION_SLOT) {
    throw new SignetError('INVALID_ARGUMENT', 'slot f9 holds the attestation key: nothing is ever written there', {
      hint: `use ${SLOTS_BY_PREFERENCE.join(', ')}, 9e or 82 to 95`,
    });
  }
  throw new SignetError('INVALID_ARGUMENT', `${JSON.stringify(text.slice(0, 16))} is no PIV slot for keys`, {
    hint: `use ${SLOTS_BY_PREFERENCE.join(', ')}, 9e or 82 to 95`,
  });
}
