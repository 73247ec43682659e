/** All that a card remembers: across power cuts (`CardState`) and until the next one (`Session`). */
import type { KeyPair } from './key-pair.ts';
import { ManagementKey } from './management-key.ts';
import { ReferenceData } from './reference-data.ts';
import { FACTORY_PIN, FACTORY_PUK, type KeyFacts } from './settings.ts';
import type { Statistics } from './statistics.ts';
import { ATTESTATION_SLOT, type Firmware, SLOTS } from './tables.ts';

export interface SlotKey extends KeyFacts {
  readonly pair: KeyPair;
}

/** What opens the card's secrets to a host, and is lost with power or when another application is selected. */
export interface Session {
  application: 'piv' | 'management' | 'oath' | 'openpgp' | undefined;
  isPinVerified: boolean;
  /** A PIN that no private key has used yet: what the PIN policy `always` asks for. */
  isPinFresh: boolean;
  isManagementAuthenticated: boolean;
  /** What the card sent last in a mutual (witness) or single (challenge) authentication. */
  witness: Buffer | undefined;
  challenge: Buffer | undefined;
}

/** The finger on the card. */
export interface TouchSensor {
  /** @returns True once touched, false if nobody did in time or somebody refused. */
  touched(): Promise<boolean>;
}

export interface CardState {
  readonly serial: number;
  readonly firmware: Firmware;
  readonly formFactor: number;
  readonly statistics: Statistics;
  readonly touch: TouchSensor;
  pin: ReferenceData;
  puk: ReferenceData;
  managementKey: ManagementKey;
  readonly keys: Map<number, SlotKey>;
  /** By tag, without the tag 53 around them. */
  readonly objects: Map<number, Buffer>;
  session: Session;
  /** When the card was last touched for a key of touch policy `cached`; Unix time in ms. */
  touchedAt: number;
  /** So many of the next signatures are over something else. */
  wrongSignatures: number;
}

/** The state right after power-on. */
export function newSession(): Session {
  return {
    application: undefined,
    isPinVerified: false,
    isPinFresh: false,
    isManagementAuthenticated: false,
    witness: undefined,
    challenge: undefined,
  };
}

/** What RESET (FB) does: factory PIN, PUK and management key; only the attestation key and its certificate stay. */
export function resetToFactory(state: CardState): void {
  state.pin = new ReferenceData(FACTORY_PIN, state.statistics.pin);
  state.puk = new ReferenceData(FACTORY_PUK, state.statistics.puk);
  state.managementKey = ManagementKey.factory(state.firmware);
  const attestationCertificate = SLOTS.get(ATTESTATION_SLOT)?.certificateTag;
  for (const slot of state.keys.keys()) if (slot !== ATTESTATION_SLOT) state.keys.delete(slot);
  for (const tag of state.objects.keys()) if (tag !== attestationCertificate) state.objects.delete(tag);
  state.session = { ...newSession(), application: state.session.application };
}
