/**
 * What the daemon and a token host say to each other, over a socketpair that nobody else holds.
 *
 * A frame is its length (4 bytes, big-endian), the request's number (4), the length of the header (4), the header (JSON)
 * and then a blob: the message to sign, the signature, a PIN. Neither side trusts the other's lengths and shapes: what
 * runs in the host is a vendor's library.
 */

import type { SignatureHash } from '../../crypto/algorithms.ts';
import { type ErrorCode, isErrorCode, SignetError } from '../../errors.ts';
import { count, isRecord, list, record, text, violation } from './answer-shapes.ts';
import type { KeyKind, MechanismRange } from './key-kinds.ts';
import type { ModuleFacts, ModuleProfile } from './profile.ts';

/** More than any message to sign (4 MiB over gRPC) and any listing. */
export const MAX_FRAME_BYTES = 16 * 1024 * 1024;
const PREFIX_BYTES = 4;
const NUMBER_BYTES = 4;
const FIXED_BYTES = 2 * NUMBER_BYTES;

/** Facts about a token in a slot, trimmed. */
export interface TokenFacts {
  /** CK_SLOT_ID as a decimal number. */
  readonly slotId: string;
  readonly label: string;
  readonly manufacturer: string;
  readonly model: string;
  readonly serial: string;
  /** CKF_… of CK_TOKEN_INFO. */
  readonly flags: number;
  readonly slotDescription: string;
  readonly slotManufacturer: string;
  /** `major.minor` of CK_VERSION, in numbers that each module has its own way with. */
  readonly firmware: string;
}

/** A public key object; byte strings in base64. */
export interface KeyFacts {
  readonly ckaId: string;
  readonly label: string;
  readonly keyType: number;
  readonly ecParams?: string | undefined;
  readonly ecPoint?: string | undefined;
  readonly modulus?: string | undefined;
  readonly publicExponent?: string | undefined;
  /** Whether a private key has the same CKA_ID; null where that cannot be seen without a login. */
  readonly hasPrivate: boolean | null;
  /** CKA_ALWAYS_AUTHENTICATE of the private half; undefined where that was not looked at. */
  readonly alwaysAuthenticate?: boolean | undefined;
}

/** The attached token now. */
export interface TokenState {
  readonly flags: number;
  readonly loggedIn: boolean;
}

/** What a token is like when it is attached. */
export interface AttachedFacts extends TokenState {
  readonly mechanisms: readonly MechanismRange[];
}

/** The private half, and the public key that says which one: hex CKA_ID, and Notary's key ID. */
export interface KeyName {
  readonly ckaId: string;
  readonly keyId: string;
}

export type SignScheme = 'ecdsa' | 'eddsa' | { readonly pss: SignatureHash };

/** A vendor's attribute of a private key. */
export type ExtraAttribute = readonly [type: number, value: number | boolean];

/**
 * In the order of a token's life. `blob` says what travels beside the header; several byte strings as blob-parts.ts joins
 * them. Where a security officer's PIN is empty, the user writes.
 */
export type HostRequest =
  | { readonly op: 'load'; readonly modulePath: string; readonly parameters?: string | undefined }
  /** fresh: start the module again first, as some look for tokens only then. */
  | { readonly op: 'tokens'; readonly fresh: boolean }
  /** The slots without a token that can be used. */
  | { readonly op: 'emptySlots' }
  | ({ readonly op: 'attach'; readonly profile: ModuleProfile } & TokenName)
  /** blob: the security officer's PIN and the new user's PIN. Detaches the token. */
  | ({ readonly op: 'initialise'; readonly newLabel: string } & TokenName)
  | { readonly op: 'state' }
  /** blob: the PIN, UTF-8. */
  | { readonly op: 'login' }
  | { readonly op: 'logout' }
  | { readonly op: 'keys'; readonly ifChanged: boolean }
  /** place: CKA_ID, where the token has places. blob: the security officer's PIN. */
  | {
      readonly op: 'generate';
      readonly kind: KeyKind;
      readonly label: string;
      readonly place?: string | undefined;
      readonly extra?: readonly ExtraAttribute[] | undefined;
    }
  /** blob: the security officer's PIN, then the private numbers. */
  | {
      readonly op: 'import';
      readonly key: Omit<KeyFacts, 'hasPrivate'>;
      readonly extra?: readonly ExtraAttribute[] | undefined;
    }
  /** blob: the security officer's PIN. */
  | ({ readonly op: 'remove' } & KeyName)
  | ({ readonly op: 'relabel'; readonly label: string } & KeyName)
  /** blob: the PIN, where the key wants it for each signature, and what the mechanism signs; just one after the other. */
  | ({
      readonly op: 'sign';
      readonly scheme: SignScheme;
      readonly pinBytes: number;
      /** Whether the key is known to want no touch. */
      readonly isTouchless: boolean;
      /** Whether the key is known to want no PIN beside the login, whatever the module says. */
      readonly isPinless: boolean;
    } & KeyName)
  /** attestation: the one that the module shows beside the key's own, which is not stored on the token. */
  | { readonly op: 'certificate'; readonly ckaId: string; readonly which: 'stored' | 'attestation' }
  /** blob: the security officer's PIN, certificate, subject, issuer, serial number. */
  | { readonly op: 'putCertificate'; readonly ckaId: string; readonly label: string }
  /** blob: the security officer's PIN. */
  | { readonly op: 'removeCertificate'; readonly ckaId: string }
  /** Whether the security officer's PIN is right. blob: that PIN. */
  | { readonly op: 'checkWriter' }
  /** puk: as the module wants PIV's PUK to be said. blob: the old and the new PIN. */
  | { readonly op: 'changePin'; readonly user: 'user' | 'so' | 'puk' }
  /** blob: the security officer's PIN and the new user's PIN. */
  | { readonly op: 'setUserPin' }
  | { readonly op: 'cancel'; readonly id: number };

type TokenName = Pick<TokenFacts, 'slotId' | 'serial' | 'label'>;

/** What the requests answer beside a blob. */
export interface HostAnswers {
  readonly module: ModuleFacts;
  readonly tokens: readonly TokenFacts[];
  readonly attached: AttachedFacts;
  readonly state: TokenState;
  /** Undefined: as at the last time. */
  readonly keys: readonly KeyFacts[] | undefined;
  readonly key: KeyFacts;
  /** Whether there was such a thing. */
  readonly found: boolean;
}

export type HostReply =
  | { readonly ok: true; readonly value: unknown }
  | {
      readonly ok: false;
      readonly code: ErrorCode;
      readonly message: string;
      readonly hint?: string | undefined;
      readonly retriesLeft?: number | undefined;
      /** The token is not there any more: the host is of no use. */
      readonly lost: boolean;
    };

export interface Frame {
  readonly id: number;
  readonly header: Readonly<Record<string, unknown>>;
  readonly blob: Buffer;
}

/** @returns A fresh buffer, which the caller may zero. @throws {SignetError} INVALID_ARGUMENT if it would be too long */
export function encodeFrame(id: number, header: object, blob: Uint8Array = Buffer.alloc(0)): Buffer {
  const json = Buffer.from(JSON.stringify(header));
  const length = FIXED_BYTES + json.length + blob.byteLength;
  if (length > MAX_FRAME_BYTES) {
    throw new SignetError('INVALID_ARGUMENT', `more than ${MAX_FRAME_BYTES} bytes for a token`);
  }
  const frame = Buffer.alloc(PREFIX_BYTES + length);
  frame.writeUInt32BE(length, 0);
  frame.writeUInt32BE(id, PREFIX_BYTES);
  frame.writeUInt32BE(json.length, PREFIX_BYTES + NUMBER_BYTES);
  json.copy(frame, PREFIX_BYTES + FIXED_BYTES);
  frame.set(blob, PREFIX_BYTES + FIXED_BYTES + json.length);
  return frame;
}

/** Numbers a frame that was encoded before its number was known. @returns The same frame */
export function setFrameId(frame: Buffer, id: number): Buffer {
  frame.writeUInt32BE(id, PREFIX_BYTES);
  return frame;
}

/** Cuts a stream into frames. Takes over the chunks and zeroes what it has read; holds at most one incomplete frame. */
export class FrameReader {
  #chunks: Buffer[] = [];
  #buffered = 0;

  /**
   * @returns The frames that are complete now; blobs are copies of their own.
   * @throws {SignetError} INTERNAL for anything that is no frame: the stream is then of no use
   */
  push(chunk: Buffer): Frame[] {
    this.#chunks.push(chunk);
    this.#buffered += chunk.length;
    const frames: Frame[] = [];
    for (let length = this.#nextLength(); length !== undefined; length = this.#nextLength()) {
      if (this.#buffered < PREFIX_BYTES + length) break;
      const bytes = this.#joined();
      frames.push(parseFrame(bytes.subarray(PREFIX_BYTES, PREFIX_BYTES + length)));
      bytes.fill(0, 0, PREFIX_BYTES + length); // it may have held a PIN
      const rest = bytes.subarray(PREFIX_BYTES + length);
      this.#chunks = rest.length === 0 ? [] : [rest];
      this.#buffered = rest.length;
    }
    return frames;
  }

  #nextLength(): number | undefined {
    if (this.#buffered < PREFIX_BYTES) return undefined;
    const [first] = this.#chunks;
    const length = (first !== undefined && first.length >= PREFIX_BYTES ? first : this.#joined()).readUInt32BE(0);
    if (length < FIXED_BYTES || length > MAX_FRAME_BYTES) throw violation(`a frame of ${length} bytes`);
    return length;
  }

  #joined(): Buffer {
    const [first] = this.#chunks;
    const joined = this.#chunks.length === 1 && first !== undefined ? first : Buffer.concat(this.#chunks);
    this.#chunks = [joined];
    return joined;
  }
}

function parseFrame(bytes: Buffer): Frame {
  const headerEnd = FIXED_BYTES + bytes.readUInt32BE(NUMBER_BYTES);
  if (headerEnd > bytes.length) throw violation('a header longer than its frame');
  let header: unknown;
  try {
    header = JSON.parse(bytes.toString('utf8', FIXED_BYTES, headerEnd));
  } catch {
    throw violation('a header that is not JSON');
  }
  if (!isRecord(header)) throw violation('a header that is no object');
  return { id: bytes.readUInt32BE(0), header, blob: Buffer.alloc(bytes.length - headerEnd, bytes.subarray(headerEnd)) };
}

/** @throws {SignetError} INTERNAL */
export function parseReply(header: Frame['header']): HostReply {
  if (header['ok'] === true) return { ok: true, value: header['value'] };
  const { code, message, hint, retriesLeft, lost } = header;
  if (header['ok'] !== false || typeof code !== 'string' || !isErrorCode(code)) throw violation('an unknown reply');
  return {
    ok: false,
    code,
    message: text(message),
    hint: hint === undefined ? undefined : text(hint),
    retriesLeft: retriesLeft === undefined ? undefined : count(retriesLeft),
    lost: lost === true,
  };
}

/** The answers, checked. Each throws INTERNAL for anything else. */
export const ANSWERS = {
  module: (value: unknown): ModuleFacts => {
    const { manufacturer, description, version } = record(value);
    return { manufacturer: text(manufacturer), description: text(description), version: text(version) };
  },
  tokens: (value: unknown): HostAnswers['tokens'] => list(value, MAX_SLOTS).map(tokenFacts),
  emptySlots: (value: unknown): readonly string[] => list(value, MAX_SLOTS).map(text),
  attached: (value: unknown): AttachedFacts => ({
    ...tokenState(value),
    mechanisms: list(record(value)['mechanisms'], MAX_MECHANISMS).map(mechanismRange),
  }),
  state: (value: unknown): TokenState => tokenState(value),
  keys: (value: unknown): HostAnswers['keys'] =>
    value === null || value === undefined ? undefined : list(value, MAX_KEYS).map(keyFacts),
  key: (value: unknown): KeyFacts => keyFacts(value),
  found: (value: unknown): boolean => value === true,
  none: (): undefined => undefined,
} as const;

const MAX_SLOTS = 1024;
const MAX_MECHANISMS = 64;
/** Also what a host reads from a token. */
export const MAX_KEYS = 20_000;

function tokenFacts(value: unknown): TokenFacts {
  const facts = record(value);
  return {
    slotId: text(facts['slotId']),
    label: text(facts['label']),
    manufacturer: text(facts['manufacturer']),
    model: text(facts['model']),
    serial: text(facts['serial']),
    flags: count(facts['flags']),
    slotDescription: text(facts['slotDescription']),
    slotManufacturer: text(facts['slotManufacturer']),
    firmware: text(facts['firmware']),
  };
}

function tokenState(value: unknown): TokenState {
  const { flags, loggedIn } = record(value);
  return { flags: count(flags), loggedIn: loggedIn === true };
}

function mechanismRange(value: unknown): MechanismRange {
  const { mechanism, minBits, maxBits } = record(value);
  return { mechanism: count(mechanism), minBits: count(minBits), maxBits: count(maxBits) };
}

function keyFacts(value: unknown): KeyFacts {
  const { ckaId, label, keyType, ecParams, ecPoint, modulus, publicExponent, hasPrivate, alwaysAuthenticate } =
    record(value);
  const optional = (field: unknown) => (field === undefined ? undefined : text(field));
  return {
    ckaId: text(ckaId),
    label: text(label),
    keyType: count(keyType),
    ecParams: optional(ecParams),
    ecPoint: optional(ecPoint),
    modulus: optional(modulus),
    publicExponent: optional(publicExponent),
    hasPrivate: typeof hasPrivate === 'boolean' ? hasPrivate : null,
    alwaysAuthenticate: typeof alwaysAuthenticate === 'boolean' ? alwaysAuthenticate : undefined,
  };
}
