/** Making, importing, describing and attesting keys: NIST's GENERATE and Yubico's extensions. */
import type { CommandApdu } from '../apdu.ts';
import { attest as attestKey } from '../attestation.ts';
import { generateKey, importKey } from '../key-pair.ts';
import { ManagementKey, managementAlgorithm } from '../management-key.ts';
import type { ReferenceData } from '../reference-data.ts';
import { FACTORY_PIN, FACTORY_PUK, type KeyFacts } from '../settings.ts';
import type { CardState } from '../state.ts';
import { refuse } from '../status-word.ts';
import {
  ATTESTATION_SLOT,
  isAtLeast,
  KEY_ALGORITHMS,
  type KeyAlgorithm,
  keyAlgorithm,
  MANAGEMENT_KEY_SLOT,
  nameOf,
  ORIGINS,
  type Origin,
  PIN_POLICIES,
  SLOTS,
  TOUCH_POLICIES,
} from '../tables.ts';
import { findTlv, parseTlvs, requireTlv, type Tlv, tlv } from '../tlv.ts';

/** GENERATE's control reference template, the key it answers with, and the policies of both ways to fill a slot. */
const CONTROL = 0xac;
const ALGORITHM = 0x80;
const PUBLIC_KEY = 0x7f49;
const PIN_POLICY = 0xaa;
const TOUCH_POLICY = 0xab;
/** A YubiKey's certificate object: the certificate, and that it is not compressed (Part 1 appendix A). */
const CERTIFICATE = 0x70;

/** NIST SP 800-73-4 Part 2 §3.3.1 with Yubico's policies. */
export async function generateAsymmetric(state: CardState, { p2, data }: CommandApdu): Promise<Buffer> {
  requireManagement(state);
  const control = parseTlvs(requireTlv(parseTlvs(data), CONTROL));
  const algorithm = requireAlgorithm(state, requireTlv(control, ALGORITHM)[0]);
  const facts = readFacts(p2, control, 'generated');
  const { session } = state;
  const pair = await generateKey(algorithm);
  if (state.session !== session) refuse('CONDITIONS_NOT_SATISFIED'); // power was lost: nothing may change any more
  state.keys.set(p2, { ...facts, pair });
  return tlv(PUBLIC_KEY, pair.publicObjects);
}

/** Yubico's FE: P1 algorithm, P2 slot. */
export function importAsymmetric(state: CardState, { p1, p2, data }: CommandApdu): Buffer {
  requireManagement(state);
  const algorithm = requireAlgorithm(state, p1);
  const objects = parseTlvs(data);
  const facts = readFacts(p2, objects, 'imported');
  state.keys.set(p2, { ...facts, pair: importKey(algorithm, objects) });
  return Buffer.alloc(0);
}

/** Yubico's F6 since firmware 5.7: P1 the new slot or FF for none, P2 the old one. */
export function moveKey(state: CardState, { p1, p2 }: CommandApdu): Buffer {
  if (!isAtLeast(state.firmware, 5, 7)) refuse('INSTRUCTION_NOT_SUPPORTED');
  requireManagement(state);
  const key = state.keys.get(p2) ?? refuse('REFERENCE_DATA_NOT_FOUND');
  if (p1 !== 0xff) {
    if (!SLOTS.has(p1) || p1 === ATTESTATION_SLOT || p2 === ATTESTATION_SLOT) refuse('WRONG_PARAMETERS');
    if (state.keys.has(p1)) refuse('CONDITIONS_NOT_SATISFIED');
    state.keys.set(p1, key);
  }
  state.keys.delete(p2);
  return Buffer.alloc(0);
}

/** Yubico's F9: P1 slot. */
export function attest(state: CardState, { p1 }: CommandApdu): Buffer {
  const key = state.keys.get(p1) ?? refuse('REFERENCE_DATA_NOT_FOUND');
  const issuer = state.keys.get(ATTESTATION_SLOT)?.pair;
  const object = state.objects.get(SLOTS.get(ATTESTATION_SLOT)?.certificateTag ?? 0);
  if (key.origin !== 'generated' || issuer === undefined || object === undefined) refuse('WRONG_DATA');
  try {
    return attestKey(state, p1, key, { pair: issuer, certificate: requireTlv(parseTlvs(object), CERTIFICATE) });
  } catch {
    return refuse('WRONG_DATA'); // somebody put another thing than a certificate into f9
  }
}

/** Yubico's FF: P2 says whether the key will want a touch; data is algorithm, 9B, length, key. */
export function setManagementKey(state: CardState, { p1, p2, data }: CommandApdu): Buffer {
  requireManagement(state);
  if (p1 !== 0xff || (p2 !== 0xff && p2 !== 0xfe)) refuse('WRONG_PARAMETERS');
  const [algorithmId, reference, length] = data;
  const key = data.subarray(3);
  const algorithm = managementAlgorithm(algorithmId ?? 0, state.firmware) ?? refuse('WRONG_DATA');
  if (reference !== MANAGEMENT_KEY_SLOT || length !== key.length) refuse('WRONG_DATA');
  state.managementKey = ManagementKey.of(algorithm, key, p2 === 0xfe) ?? refuse('WRONG_DATA');
  return Buffer.alloc(0);
}

/** Yubico's F7 since firmware 5.3: P2 slot, or the reference of PIN, PUK or management key. */
export function getMetadata(state: CardState, { p2 }: CommandApdu): Buffer {
  if (!isAtLeast(state.firmware, 5, 3)) refuse('INSTRUCTION_NOT_SUPPORTED');
  const { pin, puk, managementKey } = state;
  switch (p2) {
    case 0x80:
      return referenceMetadata(pin, FACTORY_PIN);
    case 0x81:
      return referenceMetadata(puk, FACTORY_PUK);
    case MANAGEMENT_KEY_SLOT:
      return Buffer.concat([
        tlv(0x01, Buffer.of(managementKey.algorithmId)),
        tlv(0x02, Buffer.of(0, managementKey.needsTouch ? TOUCH_POLICIES.always : TOUCH_POLICIES.never)),
        tlv(0x05, flag(managementKey.isFactory)),
      ]);
    default: {
      const key = state.keys.get(p2) ?? refuse('REFERENCE_DATA_NOT_FOUND');
      return Buffer.concat([
        tlv(0x01, Buffer.of(KEY_ALGORITHMS[key.pair.algorithm].id)),
        tlv(0x02, Buffer.of(PIN_POLICIES[key.pinPolicy], TOUCH_POLICIES[key.touchPolicy])),
        tlv(0x03, Buffer.of(ORIGINS[key.origin])),
        tlv(0x04, key.pair.publicObjects),
      ]);
    }
  }
}

/** The object that GET DATA answers for a slot with this certificate. */
export function certificateObject(certificate: Buffer): Buffer {
  return Buffer.concat([tlv(CERTIFICATE, certificate), tlv(0x71, Buffer.of(0)), tlv(0xfe)]);
}

function referenceMetadata(data: ReferenceData, factoryValue: string): Buffer {
  return Buffer.concat([
    tlv(0x01, Buffer.of(0xff)),
    tlv(0x05, flag(data.is(factoryValue))),
    tlv(0x06, Buffer.of(data.retriesTotal, data.retriesLeft)),
  ]);
}

function flag(isSet: boolean): Buffer {
  return Buffer.of(isSet ? 1 : 0);
}

function requireManagement({ session }: CardState): void {
  if (!session.isManagementAuthenticated) refuse('SECURITY_STATUS_NOT_SATISFIED');
}

function requireAlgorithm(state: CardState, id: number | undefined): KeyAlgorithm {
  return keyAlgorithm(id ?? 0, state.firmware) ?? refuse('WRONG_DATA');
}

/** Checks the slot as well. A policy octet of 0 is as good as none. */
function readFacts(slot: number, objects: readonly Tlv[], origin: Origin): KeyFacts {
  const { pinPolicy } = SLOTS.get(slot) ?? refuse('WRONG_PARAMETERS');
  const [pin = 0] = findTlv(objects, PIN_POLICY) ?? [];
  const [touch = 0] = findTlv(objects, TOUCH_POLICY) ?? [];
  return {
    origin,
    pinPolicy: pin === 0 ? pinPolicy : (nameOf(PIN_POLICIES, pin) ?? refuse('WRONG_DATA')),
    touchPolicy: touch === 0 ? 'never' : (nameOf(TOUCH_POLICIES, touch) ?? refuse('WRONG_DATA')),
  };
}
