/** Makes a card from a test's settings, as a factory and its first owner would. */
import { type Issuer, selfSigned } from './attestation.ts';
import { certificateObject } from './commands/keys.ts';
import { generateKey, keyFromPkcs8 } from './key-pair.ts';
import { ManagementKey } from './management-key.ts';
import { ReferenceData } from './reference-data.ts';
import { type CardSettings, FACTORY_PIN, FACTORY_PUK, type PresetKey } from './settings.ts';
import { type CardState, newSession, type TouchSensor } from './state.ts';
import { newStatistics } from './statistics.ts';
import { ATTESTATION_SLOT, type Firmware, SLOTS } from './tables.ts';

const DEFAULT_FIRMWARE = '5.4.3';
/** USB-A keychain. */
const DEFAULT_FORM_FACTOR = 1;

/**
 * @param attestation What goes into slot f9: see `newAttestationKey`.
 * @throws {TypeError} for settings that no card can have
 */
export async function personalise(settings: CardSettings, attestation: Issuer, touch: TouchSensor): Promise<CardState> {
  const firmware = parseFirmware(settings.firmware ?? DEFAULT_FIRMWARE);
  const statistics = newStatistics();
  const { pin = FACTORY_PIN, puk = FACTORY_PUK, pinRetries, pukRetries } = settings;
  requireRange('serial number', settings.serial, 0, 0xffff_ffff);
  requireRange('length of the PIN', pin.length, 6, 8);
  requireRange('length of the PUK', puk.length, 8, 8);
  for (const retries of [pinRetries, pukRetries]) requireRange('number of tries', retries ?? 1, 1, 15);
  const state: CardState = {
    serial: settings.serial,
    firmware,
    formFactor: settings.formFactor ?? DEFAULT_FORM_FACTOR,
    statistics,
    touch,
    pin: new ReferenceData(pin, statistics.pin, pinRetries),
    puk: new ReferenceData(puk, statistics.puk, pukRetries),
    managementKey: managementKey(settings, firmware),
    keys: new Map(),
    objects: new Map(),
    session: newSession(),
    touchedAt: 0,
    wrongSignatures: 0,
  };
  fill(state, ATTESTATION_SLOT, attestation.certificate);
  state.keys.set(ATTESTATION_SLOT, {
    pair: attestation.pair,
    origin: 'imported',
    pinPolicy: 'never',
    touchPolicy: 'never',
  });
  for (const key of settings.keys ?? []) await putKey(state, key);
  return state;
}

/** @throws {TypeError} for a slot that no card has */
export async function putKey(state: CardState, key: PresetKey): Promise<void> {
  const { slot, algorithm = 'P-256', pkcs8, certificate } = key;
  const facts = SLOTS.get(slot);
  if (facts === undefined) throw new TypeError(`a card has no slot ${slot.toString(16)}`);
  const pair = pkcs8 === undefined ? await generateKey(algorithm) : keyFromPkcs8(Buffer.from(pkcs8, 'base64'));
  const { pinPolicy = facts.pinPolicy, touchPolicy = 'never' } = key;
  state.keys.set(slot, { pair, origin: pkcs8 === undefined ? 'generated' : 'imported', pinPolicy, touchPolicy });
  if (certificate !== undefined) fill(state, slot, selfSigned(certificate, pair));
}

function fill(state: CardState, slot: number, certificate: Buffer): void {
  const tag = SLOTS.get(slot)?.certificateTag;
  if (tag !== undefined) state.objects.set(tag, certificateObject(certificate));
}

function managementKey({ managementAlgorithm, managementKey: key }: CardSettings, firmware: Firmware): ManagementKey {
  if (key === undefined) return ManagementKey.factory(firmware, managementAlgorithm);
  const made = ManagementKey.of(managementAlgorithm ?? '3DES', Buffer.from(key, 'hex'));
  if (made === undefined) throw new TypeError('the management key is not as long as its algorithm wants it');
  return made;
}

function requireRange(what: string, value: number, from: number, to: number): void {
  if (!Number.isInteger(value) || value < from || value > to) throw new TypeError(`no card has a ${what} of ${value}`);
}

function parseFirmware(text: string): Firmware {
  const [major, minor, patch] = text.split('.').map(Number);
  if (major === undefined || minor === undefined || patch === undefined || !(major >= 5)) {
    throw new TypeError(`not a firmware version from 5.0.0 on: ${text}`);
  }
  return [major, minor, patch];
}
