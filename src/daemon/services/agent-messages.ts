/** Between the agent's messages and our own types. What clients send is checked here. */
import type { KeyRequest } from '../../backends/backend.ts';
import { type DeviceRequest, type KeyDevice, PIN_POLICIES, TOUCH_POLICIES } from '../../backends/token-facts.ts';
import { DIGEST_BYTES, type SignatureHash } from '../../crypto/algorithms.ts';
import { Secret } from '../../crypto/secret.ts';
import type { SignInput } from '../../crypto/sign-input.ts';
import { SignetError } from '../../errors.ts';
import type { LocatedKey } from '../../keyring/keyring.ts';
import type { Target } from '../../keyring/target.ts';
import type { AgentKey, DeviceMessage, GenerateKeyRequest, PlaceMessage, SignRequest } from '../../rpc/messages.ts';
import { tokenNameOf } from './token-name.ts';

const CURVES = ['P-256', 'P-384'] as const;
const MODULUS_BITS = [2048, 3072, 4096] as const;
/** PIV key references of keys: NIST SP 800-73-4 part 1, table 4b. */
const PIV_SLOT = /^(?:9[acde]|8[2-9a-f]|9[0-5])$/;

/** @param passedOver Homes that come first in `placement`, and make no such keys. */
export function keyMessage({ info, backend }: LocatedKey, passedOver: readonly string[] = []): AgentKey {
  return {
    key_id: info.keyId,
    role: info.role,
    gun: info.gun,
    location: info.location,
    backend: backend.name,
    needs_pin: info.needs.pin,
    needs_touch: info.needs.touch,
    needs_passphrase: info.needs.passphrase,
    public_key: info.publicKey ?? null,
    last_used_ms: info.lastUsedAt ?? 0,
    device: info.device === undefined ? null : deviceMessage(info.device),
    passed_over: passedOver,
  };
}

export function deviceMessage(device: KeyDevice): DeviceMessage {
  const { serial, label, firmware = '', slot = '', pinPolicy = '', touchPolicy = '', attested, warnings = [] } = device;
  const known = attested === undefined ? '' : attested ? 'yes' : 'no';
  return {
    serial,
    label,
    firmware,
    slot,
    pin_policy: pinPolicy,
    touch_policy: touchPolicy,
    attested: known,
    warnings,
  };
}

/** @returns Takes over the bytes; undefined for none. */
export function secretOf(bytes: Uint8Array | undefined): Secret | undefined {
  return bytes === undefined || bytes.byteLength === 0 ? undefined : new Secret(bytes);
}

/** @throws {SignetError} INVALID_ARGUMENT */
export function targetOf(request: PlaceMessage & Pick<GenerateKeyRequest, 'require_hardware'>): Target {
  return {
    backend: request.backend || undefined,
    serial: request.serial || undefined,
    token: tokenNameOf(request.token),
    requireHardware: request.require_hardware ?? false,
  };
}

/** @returns No member if the client asks for nothing. @throws {SignetError} INVALID_ARGUMENT */
export function deviceRequestOf(request: PlaceMessage): Pick<KeyRequest, 'device'> {
  const { slot = '', overwrite_slot: overwriteSlot = false, pin_policy: pin = '', touch_policy: touch = '' } = request;
  if (slot === '' && !overwriteSlot && pin === '' && touch === '') return {};
  if (slot !== '' && !PIV_SLOT.test(slot)) {
    throw new SignetError('INVALID_ARGUMENT', 'no such PIV slot', { hint: 'use 9a, 9c, 9d, 9e, or 82 to 95' });
  }
  const pinPolicy = oneOf(PIN_POLICIES, pin, 'PIN policy');
  const touchPolicy = oneOf(TOUCH_POLICIES, touch, 'touch policy');
  const device: DeviceRequest = {
    ...(slot !== '' && { slot }),
    overwriteSlot,
    ...(pinPolicy && { pinPolicy }),
    ...(touchPolicy && { touchPolicy }),
  };
  return { device };
}

/** @throws {SignetError} INVALID_ARGUMENT */
export function keySizeOf(request: GenerateKeyRequest): Pick<KeyRequest, 'curve' | 'modulusBits'> {
  const { algorithm, curve: curveName = '', modulus_bits: bits = 0 } = request;
  const curve = oneOf(CURVES, curveName, 'curve');
  const modulusBits = oneOf(MODULUS_BITS, bits, 'modulus length');
  if (curve !== undefined && algorithm !== 'ecdsa') {
    throw new SignetError('INVALID_ARGUMENT', 'only ecdsa keys have a curve to choose');
  }
  if (modulusBits !== undefined && algorithm !== 'rsa') {
    throw new SignetError('INVALID_ARGUMENT', 'only rsa keys have a modulus');
  }
  return { ...(curve && { curve }), ...(modulusBits && { modulusBits }) };
}

/** @returns Undefined for proto3's default. @throws {SignetError} INVALID_ARGUMENT */
export function oneOf<T extends string | number>(allowed: readonly T[], value: string | number, what: string) {
  if (value === '' || value === 0) return undefined;
  const known = allowed.find((candidate) => candidate === value);
  if (known !== undefined) return known;
  throw new SignetError('INVALID_ARGUMENT', `unknown ${what}`, { hint: `use one of ${allowed.join(', ')}` });
}

/** @throws {SignetError} INVALID_ARGUMENT */
export function signInputOf(request: SignRequest): SignInput {
  if (request.input === 'message' && request.message !== undefined) return { message: request.message };
  if (request.input !== 'digest' || request.digest === undefined) {
    throw new SignetError('INVALID_ARGUMENT', 'the request has neither a message nor a digest');
  }
  const { hash, value } = request.digest;
  if (!Object.hasOwn(DIGEST_BYTES, hash)) {
    throw new SignetError('INVALID_ARGUMENT', 'unknown digest', {
      hint: `use one of ${Object.keys(DIGEST_BYTES).join(', ')}`,
    });
  }
  return { digest: value, hash: hash as SignatureHash };
}
