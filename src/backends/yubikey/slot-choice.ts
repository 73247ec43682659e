/** Where on the YubiKey a new key goes, and how it is guarded. */
import type { FirmwareVersion } from '../../crypto/yubikey-weaknesses.ts';
import { SignetError } from '../../errors.ts';
import type { ExtraAttribute } from '../pkcs11/host-protocol.ts';
import type { DeviceRequest, PinPolicy, TouchPolicy } from '../token-facts.ts';
import { knowsPolicies } from './library.ts';
import { type PivSlot, parseKeySlot, SLOTS_BY_PREFERENCE } from './piv-slots.ts';

/** How a key is guarded. */
export interface KeyPolicies {
  readonly pinPolicy: PinPolicy;
  readonly touchPolicy: TouchPolicy;
}

/** CKA_YUBICO_TOUCH_POLICY and CKA_YUBICO_PIN_POLICY (ykcs11.h, since 2.3.0). */
const CKA_YUBICO = { TOUCH_POLICY: 0xd9554201, PIN_POLICY: 0xd9554202 };
/** YKPIV_TOUCHPOLICY_…, YKPIV_PINPOLICY_… (ykpiv.h). */
const TOUCH_POLICY: Record<TouchPolicy, number> = { never: 1, always: 2, cached: 3 };
const PIN_POLICY: Record<PinPolicy, number> = { never: 1, once: 2, always: 3 };

/**
 * @param isFree Looks into a slot.
 * @throws {SignetError} INVALID_ARGUMENT; KEY_EXISTS for a slot that has something in it; TOKEN_FULL
 */
export async function chooseSlot(
  { slot: wanted, overwriteSlot = false }: DeviceRequest,
  isFree: (slot: PivSlot) => Promise<boolean>,
): Promise<PivSlot> {
  if (wanted !== undefined) {
    const slot = parseKeySlot(wanted);
    if (overwriteSlot || (await isFree(slot))) return slot;
    throw new SignetError('KEY_EXISTS', `slot ${slot} is not empty`, {
      hint: 'name another one; overwriting destroys what is there for good (--really-overwrite-slot)',
    });
  }
  if (overwriteSlot) {
    throw new SignetError('INVALID_ARGUMENT', 'a slot is overwritten only if it is named', { hint: 'name the slot' });
  }
  for (const slot of SLOTS_BY_PREFERENCE) {
    if (await isFree(slot)) return slot;
  }
  throw new SignetError('TOKEN_FULL', `slots ${SLOTS_BY_PREFERENCE.join(', ')} are not empty`, {
    hint: 'name a retired slot, 82 to 95, or remove a key',
  });
}

/** The policies of a request that a slot does not have by itself. */
export function policiesBeside(
  slot: PivSlot,
  { pinPolicy, touchPolicy }: DeviceRequest,
): Pick<DeviceRequest, 'pinPolicy' | 'touchPolicy'> {
  const own = policiesOf(slot, {});
  return {
    ...(pinPolicy === undefined || pinPolicy === own.pinPolicy ? {} : { pinPolicy }),
    ...(touchPolicy === undefined || touchPolicy === own.touchPolicy ? {} : { touchPolicy }),
  };
}

/** How a new key in the slot is guarded. */
export function policiesOf(slot: PivSlot, { pinPolicy, touchPolicy }: DeviceRequest): KeyPolicies {
  const ownPin: PinPolicy = slot === '9c' ? 'always' : slot === '9e' ? 'never' : 'once';
  return { pinPolicy: pinPolicy ?? ownPin, touchPolicy: touchPolicy ?? 'never' };
}

/** For C_GenerateKeyPair and C_CreateObject. @returns Undefined if this version of the library cannot say it. */
export function policyAttributes(
  { pinPolicy, touchPolicy }: Pick<DeviceRequest, 'pinPolicy' | 'touchPolicy'>,
  library: FirmwareVersion | undefined,
): readonly ExtraAttribute[] | undefined {
  const attributes: ExtraAttribute[] = [
    ...(touchPolicy === undefined ? [] : [[CKA_YUBICO.TOUCH_POLICY, TOUCH_POLICY[touchPolicy]] as const]),
    ...(pinPolicy === undefined ? [] : [[CKA_YUBICO.PIN_POLICY, PIN_POLICY[pinPolicy]] as const]),
  ];
  return attributes.length === 0 || knowsPolicies(library) ? attributes : undefined;
}
