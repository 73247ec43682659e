/** What is known about the keys of one YubiKey beside their public halves. */

import type { AttestationAuthorities } from '../../crypto/attestation-authorities.ts';
import { type PublicKey, publicKeysEqual } from '../../crypto/public-key.ts';
import { verifyYubiKeyAttestation, type YubiKeyAttestation } from '../../crypto/yubikey-attestation.ts';
import { type FirmwareVersion, weaknessesOf } from '../../crypto/yubikey-weaknesses.ts';
import { SignetError } from '../../errors.ts';
import type { KeyDevice, KeyInfo, PinPolicy } from '../backend.ts';
import type { KeyFacts } from '../pkcs11/host-protocol.ts';
import type { AttachedToken } from '../pkcs11/token-connection.ts';
import { checkLibraryVersion } from './library.ts';
import { ATTESTATION_SLOT, type PivSlot, slotOfCkaId } from './piv-slots.ts';
import { isCertificateOf, marksVacancy, ownerOf } from './slot-certificate.ts';
import { readSlot, type SlotContents } from './slot-contents.ts';
import { formatVersion, parseYubicoVersion } from './versions.ts';

export interface KeyDescriptionsOptions {
  /** Whose attestations are believed; undefined: they are shown, and nothing is said about whether they are true. */
  readonly authorities: AttestationAuthorities | undefined;
  /** For the dates of certificates. */
  readonly now: () => Date;
}

export class KeyDescriptions {
  readonly #options: KeyDescriptionsOptions;
  #slots = new Map<PivSlot, SlotContents>();
  #serial = '';
  #firmware: FirmwareVersion | undefined;

  constructor(options: KeyDescriptionsOptions) {
    this.#options = options;
  }

  /** Reads the slots of all keys. @throws {SignetError} TOKEN_NOT_PRESENT, UNAVAILABLE */
  async prepare(token: AttachedToken, keys: readonly KeyFacts[]): Promise<void> {
    checkLibraryVersion(parseYubicoVersion(token.library.version));
    const slots = new Map<PivSlot, SlotContents>();
    for (const facts of keys) {
      const slot = slotOf(facts);
      if (slot !== undefined && !slots.has(slot)) slots.set(slot, await readSlot(token, slot));
    }
    this.#slots = slots;
    this.#serial = token.facts.serial;
    this.#firmware = parseYubicoVersion(token.facts.firmware);
  }

  /** Whether there is nothing in a slot, or what stands in the place of a key that was removed. */
  async isFree(token: AttachedToken, slot: PivSlot): Promise<boolean> {
    const { hasCertificate, claims, certificate } = await readSlot(token, slot);
    // A key without a certificate shows in the last listing, or by its attestation.
    return marksVacancy(certificate) || !(hasCertificate || claims !== undefined || this.#slots.has(slot));
  }

  /** @returns Undefined for the attestation key, and for what stands in a slot whose key was removed. */
  describe(info: KeyInfo, facts: KeyFacts): KeyInfo | undefined {
    const slot = slotOf(facts);
    const { publicKey, device } = info;
    if (slot === undefined || publicKey === undefined || device === undefined) return undefined;
    const contents = this.#slots.get(slot);
    const certificate = certificateOf(contents, publicKey);
    if (marksVacancy(certificate)) return undefined;
    const claims = claimsOf(contents, publicKey, this.#serial);
    const touchPolicy = claims?.touchPolicy;
    const pinPolicy = claims === undefined ? device.pinPolicy : toPinPolicy(claims.pinPolicy);
    const firmware = claims?.firmware ?? this.#firmware;
    const attested = this.#isAttested(contents, publicKey);
    return {
      ...info,
      ...ownerOf(certificate),
      needs: { ...info.needs, touch: touchPolicy !== undefined && touchPolicy !== 'never' },
      device: {
        ...device,
        slot,
        warnings: warningsOf(publicKey, claims?.weaknesses, firmware),
        ...(firmware === undefined ? {} : { firmware: formatVersion(firmware) }),
        ...(pinPolicy === undefined ? {} : { pinPolicy }),
        ...(touchPolicy === undefined ? {} : { touchPolicy }),
        ...(attested === undefined ? {} : { attested }),
      },
    };
  }

  /** The attestation of a key and the certificate behind it; undefined if the YubiKey has none. */
  chainOf({ publicKey, device }: KeyInfo): readonly Uint8Array[] | undefined {
    const contents = device?.slot === undefined ? undefined : this.#slots.get(device.slot);
    if (publicKey === undefined || claimsOf(contents, publicKey, this.#serial) === undefined) return undefined;
    return contents?.chain.length === 0 ? undefined : contents?.chain;
  }

  #isAttested(contents: SlotContents | undefined, publicKey: PublicKey): boolean | undefined {
    const { authorities, now } = this.#options;
    if (authorities === undefined || contents === undefined) return undefined;
    if (contents.chain.length === 0) return false;
    try {
      verifyAttestationOf(publicKey, this.#serial, contents.chain, authorities, now());
      return true;
    } catch (error) {
      if (error instanceof SignetError) return false;
      throw error;
    }
  }
}

/**
 * Verifies that a YubiKey with this serial number made this very key.
 *
 * @throws {SignetError} INTEGRITY with the reason, INVALID_ARGUMENT
 */
export function verifyAttestationOf(
  publicKey: PublicKey,
  serial: string,
  chain: readonly Uint8Array[],
  authorities: AttestationAuthorities,
  at: Date,
): YubiKeyAttestation {
  const attestation = verifyYubiKeyAttestation(chain, { at, authorities });
  if (!publicKeysEqual(attestation.publicKey, publicKey)) {
    throw new SignetError('INTEGRITY', 'the attestation is not trusted: it is of another key');
  }
  if (attestation.serial !== undefined && String(attestation.serial) !== serial) {
    throw new SignetError('INTEGRITY', 'the attestation is not trusted: it is of another YubiKey');
  }
  return attestation;
}

/** What an attestation says, in the port's words. */
export function deviceOf(device: KeyDevice, { firmware, pinPolicy, touchPolicy, weaknesses }: YubiKeyAttestation) {
  return {
    ...device,
    firmware: formatVersion(firmware),
    pinPolicy: toPinPolicy(pinPolicy),
    touchPolicy,
    attested: true,
    warnings: weaknesses.map(({ id, summary }) => `${id}: ${summary}`),
  } satisfies KeyDevice;
}

function slotOf({ ckaId }: KeyFacts): PivSlot | undefined {
  const slot = slotOfCkaId(Buffer.from(ckaId, 'base64'));
  return slot === ATTESTATION_SLOT ? undefined : slot;
}

/** A certificate that was left over from an earlier key of the slot says nothing about this one. */
function certificateOf(contents: SlotContents | undefined, publicKey: PublicKey) {
  const certificate = contents?.certificate;
  return certificate !== undefined && isCertificateOf(certificate, publicKey) ? certificate : undefined;
}

function claimsOf(contents: SlotContents | undefined, publicKey: PublicKey, serial: string) {
  const claims = contents?.claims;
  if (claims === undefined || !publicKeysEqual(claims.publicKey, publicKey)) return undefined;
  return claims.serial === undefined || String(claims.serial) === serial ? claims : undefined;
}

/** On a YubiKey Bio a finger takes the place of the PIN; the module asks for the PIN all the same. */
function toPinPolicy(policy: YubiKeyAttestation['pinPolicy']): PinPolicy {
  return policy === 'match-once' ? 'once' : policy === 'match-always' ? 'always' : policy;
}

function warningsOf(
  { algorithm }: PublicKey,
  attested: YubiKeyAttestation['weaknesses'] | undefined,
  firmware: FirmwareVersion | undefined,
): readonly string[] {
  const weaknesses = attested ?? (firmware === undefined ? [] : weaknessesOf({ firmware, algorithm, isBio: false }));
  return weaknesses.map(({ id, summary }) => `${id}: ${summary}`);
}
