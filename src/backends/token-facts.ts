/** Facts about tokens and the keys on them, and what may be asked for when a key goes there. */

/** When a token wants its PIN: for each signature, once in a session, or never. */
export const PIN_POLICIES = ['always', 'once', 'never'] as const;
export type PinPolicy = (typeof PIN_POLICIES)[number];
/** When a token wants to be touched; `cached`: not again within 15 s. */
export const TOUCH_POLICIES = ['always', 'cached', 'never'] as const;
export type TouchPolicy = (typeof TOUCH_POLICIES)[number];

/** What is known about the token that holds a key. */
export interface KeyDevice {
  /** As printed on the device or told by the module. */
  readonly serial: string;
  /** CK_TOKEN_INFO label. */
  readonly label: string;
  /** Of a YubiKey: `5.4.3`. */
  readonly firmware?: string;
  /** PIV slot, as `9c`. */
  readonly slot?: string;
  readonly pinPolicy?: PinPolicy;
  readonly touchPolicy?: TouchPolicy;
  /** Whether a certificate chain to a trusted root shows that the key was made on the device. Absent: not known. */
  readonly attested?: boolean;
  /** Published weaknesses of this firmware that concern this key, a sentence each. */
  readonly warnings?: readonly string[];
}

/** A token as people know it. */
export interface TokenIdentity {
  /** `pkcs11` or `yubikey`. */
  readonly backend: string;
  readonly label: string;
  readonly serial: string;
}

/** Which token it is, as far as tokens tell themselves apart. */
export type WhichToken = Pick<TokenIdentity, 'label' | 'serial'>;

/** Which secret of a token: the user's PIN, the security officer's PIN (PKCS#11), PIV's PUK, PIV's management key. */
export type TokenSecret = 'pin' | 'so-pin' | 'puk' | 'management-key';

/** Where on a token a key goes, and how it is guarded. A home that cannot do what is asked refuses: UNSUPPORTED. */
export interface DeviceRequest {
  /** PIV slot: `9a`, `9c`, `9d`, `9e`, `82` to `95`; undefined: the home chooses a free one. */
  readonly slot?: string;
  /** Without it an occupied slot is KEY_EXISTS. */
  readonly overwriteSlot?: boolean;
  readonly pinPolicy?: PinPolicy;
  readonly touchPolicy?: TouchPolicy;
}

/** What a token is known by, whatever its state. */
export interface TokenDescription {
  readonly identity: TokenIdentity;
  readonly manufacturer: string;
  readonly model: string;
  readonly modulePath: string;
}

export interface TokenStatus extends TokenDescription {
  readonly firmware: string | undefined;
  readonly present: boolean;
  readonly loggedIn: boolean;
  /** Undefined where it cannot be known without spending a try. */
  readonly pinTriesLeft: number | undefined;
  readonly pukTriesLeft: number | undefined;
  readonly pinLocked: boolean;
  /** For people: weaknesses of the firmware, what this library version lacks. */
  readonly warnings: readonly string[];
}
