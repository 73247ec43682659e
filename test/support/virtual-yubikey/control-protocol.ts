/**
 * What a test and the simulator's process say to each other: JSON, one object per line, over a Unix socket. Every order
 * carries a number that its answer repeats.
 */
import type { CardSettings, KeyFacts, PresetKey } from './card/settings.ts';
import type { KeyAlgorithm } from './card/tables.ts';
import type { Target } from './process/faults.ts';
import type { TouchMode } from './process/touch.ts';

/** Into the reader and out of it. Answers when pcscd, if it runs, has noticed. */
export interface PlaceVerb {
  readonly verb: 'insert' | 'remove';
}

/** Orders to one card, wherever it is. */
export type CardVerb =
  | { readonly verb: 'clearFaults' | 'factoryReset' | 'clearStatistics' }
  /** Answers true if the card was waiting for it. */
  | { readonly verb: 'touch' }
  | { readonly verb: 'touchMode'; readonly touch: TouchMode }
  | { readonly verb: 'touchTimeout'; readonly timeoutMs: number }
  | { readonly verb: 'delay'; readonly instruction: Target; readonly delayMs: number }
  | { readonly verb: 'answer'; readonly instruction: Target; readonly statusWord: number; readonly times: number }
  | { readonly verb: 'wrongSignatures'; readonly times: number }
  | { readonly verb: 'putKey'; readonly key: PresetKey }
  /** Answers `Statistics`. */
  | { readonly verb: 'statistics' }
  /** Answers `CardStatus`. */
  | { readonly verb: 'status' };

/** Orders to the machine around the cards. */
export type MachineVerb =
  /** Answers when clients can connect and all cards that are in have been found. */
  | { readonly verb: 'startPcscd' }
  /** Answers when it has ended. */
  | { readonly verb: 'stopPcscd' }
  | { readonly verb: 'plugUsb' | 'unplugUsb'; readonly device: UsbDevice };

/** @property card Its place in the settings. */
export type CardOrder = { readonly card: number } & (PlaceVerb | CardVerb);

export type Order = { readonly id: number } & (MachineVerb | CardOrder);

export type Answer =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: string };

/** A YubiKey as the USB bus shows it. */
export interface UsbDevice {
  /** Of the bus' only hub. */
  readonly port: number;
  /** 0x1050, Yubico, by default. */
  readonly vendorId?: number;
  /** 0x0407, OTP+FIDO+CCID, by default. */
  readonly productId?: number;
}

/** A card as it is now. */
export interface CardStatus {
  readonly isInserted: boolean;
  readonly isAwaitingTouch: boolean;
  readonly pinRetriesLeft: number;
  readonly pukRetriesLeft: number;
  /** By key reference, f9 among them; `spki` is base64. */
  readonly keys: readonly (KeyFacts & {
    readonly slot: number;
    readonly algorithm: KeyAlgorithm;
    readonly spki: string;
  })[];
}

/** What the process finds in `FILES.settings`. */
export interface MachineSettings {
  readonly cards: readonly CardSettings[];
  /** False for a machine without USB, as /sys tells it. */
  readonly hasUsb: boolean;
}

/** Names in the directory that the process is given and that its starter removes. */
export const FILES = {
  settings: 'settings.json',
  control: 'control.sock',
  /** What pcscd sees as /run/pcscd. */
  pcscd: 'pcscd',
  readers: 'readers',
  /** DER, self-signed: the root of all attestations. */
  attestationRoot: 'attestation-root.der',
} as const;
