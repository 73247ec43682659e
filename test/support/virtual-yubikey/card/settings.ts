/** What a test says about a card before it is made; plain data that crosses the process border as JSON. */
import type { KeyAlgorithm, Origin, PinPolicy, TouchPolicy } from './tables.ts';

/** Yubico's factory values. */
export const FACTORY_PIN = '123456';
export const FACTORY_PUK = '12345678';
export const FACTORY_MANAGEMENT_KEY = '010203040506070801020304050607080102030405060708';

/** Management key algorithms. */
export type ManagementAlgorithm = '3DES' | 'AES-128' | 'AES-192' | 'AES-256';

/** A key that is in the card from the start. */
export interface PresetKey {
  /** Key reference: 0x9a, 0x9c, 0x9d, 0x9e, 0x82 to 0x95. */
  readonly slot: number;
  /** P-256 by default; with `pkcs8`, that key's own. */
  readonly algorithm?: KeyAlgorithm;
  /** A PrivateKeyInfo (DER, base64) to be imported; without it the card makes the key. */
  readonly pkcs8?: string;
  /** The slot's default by default. */
  readonly pinPolicy?: PinPolicy;
  /** `never` by default. */
  readonly touchPolicy?: TouchPolicy;
  /** The common name of a self-signed certificate in the slot's data object; without it the object is absent. */
  readonly certificate?: string;
}

export interface CardSettings {
  /** In every label of the card; below 2^32. */
  readonly serial: number;
  /** From 5.0 on; 5.4.3 by default. */
  readonly firmware?: string;
  /** As attestations tell it; 1, USB-A keychain, by default. */
  readonly formFactor?: number;
  /** 6 to 8 characters. */
  readonly pin?: string;
  /** 8 characters. */
  readonly puk?: string;
  /** Wrong PINs and PUKs that the card bears; 3 by default. */
  readonly pinRetries?: number;
  readonly pukRetries?: number;
  /** 3DES, since firmware 5.7 AES-192. */
  readonly managementAlgorithm?: ManagementAlgorithm;
  /** Hex; by default Yubico's, shortened or repeated to the algorithm's length. */
  readonly managementKey?: string;
  readonly keys?: readonly PresetKey[];
  /** False for a card that lies on the table at first. */
  readonly isInserted?: boolean;
  /** The reader that it goes into, 0 or 1; by default each card has its own. */
  readonly reader?: number;
}

/** A key's origin and policies as they hold, none of them a default. */
export interface KeyFacts {
  readonly origin: Origin;
  readonly pinPolicy: PinPolicy;
  readonly touchPolicy: TouchPolicy;
}
