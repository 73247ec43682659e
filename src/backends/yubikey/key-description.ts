/** What is known about the keys of one YubiKey beside their public halves. */

import type { AttestationAuthorities } from '../../crypto/attestation-authorities.ts';
import { type KeyId, keyIdOf } from '../../crypto/key-id.ts';
import { type PublicKey, publicKeysEqual } from '../../crypto/public-key.ts';
import type { YubiKeyAttestation } from '../../crypto/yubikey-attestation.ts';
import { type FirmwareVersion, weaknessesOf } from '../../crypto/yubikey-weaknesses.ts';
import { SignetError } from '../../errors.ts';
import type { KeyInfo } from '../backend.ts';
import type { KeyFacts } from '../pkcs11/host-protocol.ts';
import { canSign, type MechanismRange } from '../pkcs11/key-kinds.ts';
import { decodeAttributes, publicKeyFromAttributes } from '../pkcs11/public-object.ts';
import type { AttachedToken } from '../pkcs11/token-connection.ts';
import { toPinPolicy, verifyAttestationOf } from './attested-device.ts';
import type { KeyRecord, KeyRecords } from './key-records.ts';
import { checkLibraryVersion, mayNotBeEmpty, seesEveryKey } from './library.ts';
import { ATTESTATION_SLOT, type PivSlot, slotOfCkaId } from './piv-slots.ts';
import { conventionalOwner, isCertificateOf, marksVacancy, recordedOwner } from './slot-certificate.ts';
import type { KeyPolicies } from './slot-choice.ts';
import { readSlot, type SlotContents } from './slot-contents.ts';
import { hasKey } from './slot-key.ts';
import { formatVersion, parseYubicoVersion } from './versions.ts';

export interface KeyDescriptionsOptions {
  /** Whose attestations are believed; undefined: they are shown, and nothing is said about whether they are true. */
  readonly authorities: AttestationAuthorities | undefined;
  /** What is remembered beside what the device tells. */
  readonly records: KeyRecords;
  /** For the dates of certificates. */
  readonly now: () => Date;
  /** For programs that are run. */
  readonly env: NodeJS.ProcessEnv;
}

export class KeyDescriptions {
  readonly #options: KeyDescriptionsOptions;
  readonly #records: KeyRecords;
  #slots = new Map<PivSlot, SlotContents>();
  /** What the last listing had in each slot; undefined for a key that cannot be read. */
  #keys = new Map<PivSlot, PublicKey | undefined>();
  /** Of keys that are being imported. */
  readonly #imported = new Map<KeyId, KeyPolicies>();
  #serial = '';
  #firmware: FirmwareVersion | undefined;
  #mechanisms: readonly MechanismRange[] = [];

  constructor(options: KeyDescriptionsOptions) {
    this.#options = options;
    this.#records = options.records;
  }

  /** Before a key is imported, how it will be guarded: the device does not tell. */
  noteImport(keyId: KeyId, policies: KeyPolicies): void {
    this.#imported.set(keyId, policies);
  }

  /** Reads the slots of all keys. @throws {SignetError} TOKEN_NOT_PRESENT, UNAVAILABLE */
  async prepare(token: AttachedToken, keys: readonly KeyFacts[]): Promise<void> {
    checkLibraryVersion(parseYubicoVersion(token.module.version));
    const slots = new Map<PivSlot, SlotContents>();
    const publicKeys = new Map<PivSlot, PublicKey | undefined>();
    for (const facts of keys) {
      const slot = slotOf(facts);
      if (slot === undefined) continue;
      publicKeys.set(slot, publicKeyOrNone(facts));
      if (!slots.has(slot)) slots.set(slot, await readSlot(token, slot));
    }
    this.#slots = slots;
    this.#keys = publicKeys;
    this.#serial = token.facts.serial;
    this.#firmware = parseYubicoVersion(token.facts.firmware);
    this.#mechanisms = token.mechanisms;
    await this.#remember(keys);
  }

  /** The device is right about what it tells; of keys that it still has, older knowledge is kept. */
  async #remember(keys: readonly KeyFacts[]): Promise<void> {
    const known = await this.#records.load(this.#serial);
    const records = new Map<KeyId, KeyRecord>();
    for (const facts of keys) {
      const slot = slotOf(facts);
      const publicKey = publicKeyOrNone(facts);
      if (slot === undefined || publicKey === undefined) continue;
      const contents = this.#slots.get(slot);
      const certificate = certificateOf(contents, publicKey);
      if (marksVacancy(certificate)) continue;
      const keyId = keyIdOf(publicKey);
      const before = known.get(keyId);
      const chain = claimsOf(contents, publicKey, this.#serial) === undefined ? [] : (contents?.chain ?? []);
      const owner = recordedOwner(certificate) ?? before?.owner;
      const policies = this.#imported.get(keyId) ?? before?.policies;
      this.#imported.delete(keyId);
      records.set(keyId, { slot, owner, chain: isStillShown(before?.chain, chain) ? before.chain : chain, policies });
    }
    await this.#records.save(this.#serial, records);
  }

  /**
   * Whether there is nothing in a slot, or what stands in the place of a key that was removed.
   *
   * @throws {SignetError} UNSUPPORTED if neither the library nor the card can tell; TOKEN_NOT_PRESENT, UNAVAILABLE
   */
  async isFree(token: AttachedToken, slot: PivSlot): Promise<boolean> {
    const { hasCertificate, claims, certificate } = await readSlot(token, slot);
    // What stands in the place of a removed key was imported, so that it has no attestation. Another program may have made
    // a key over it and left our certificate there.
    if (claims !== undefined) return false;
    if (certificate !== undefined && marksVacancy(certificate)) {
      if (this.#keys.has(slot)) {
        const key = this.#keys.get(slot);
        return key !== undefined && isCertificateOf(certificate, key);
      }
    } else if (hasCertificate || this.#slots.has(slot)) {
      return false; // a key without a certificate shows in the last listing
    }
    return seesEveryKey(token) || !(await this.#hasUnseenKey(token, slot));
  }

  /** @throws {SignetError} UNSUPPORTED if the card cannot be asked */
  async #hasUnseenKey(token: AttachedToken, slot: PivSlot): Promise<boolean> {
    try {
      return await hasKey(slot, { token: token.facts, env: this.#options.env });
    } catch (error) {
      throw error instanceof SignetError ? mayNotBeEmpty(slot, token, error) : error;
    }
  }

  /**
   * @returns Undefined for the attestation key, and for what stands in a slot whose key was removed.
   * @throws {SignetError} UNSUPPORTED for a key that another program made and the library does not know
   */
  describe(info: KeyInfo, facts: KeyFacts): KeyInfo | undefined {
    const slot = slotOf(facts);
    const { publicKey, device } = info;
    if (slot === undefined || publicKey === undefined || device === undefined) return undefined;
    if (!canSign(publicKey, this.#mechanisms)) {
      throw new SignetError('UNSUPPORTED', `this version of libykcs11 cannot sign with the key in slot ${slot}`, {
        hint: 'install version 2.5 or later',
      });
    }
    const contents = this.#slots.get(slot);
    const certificate = certificateOf(contents, publicKey);
    if (marksVacancy(certificate)) return undefined;
    const claims = claimsOf(contents, publicKey, this.#serial);
    const record = this.#records.get(info.keyId);
    const asImported = claims === undefined && record?.slot === slot ? record.policies : undefined;
    const touchPolicy = claims?.touchPolicy ?? asImported?.touchPolicy;
    const pinPolicy =
      claims === undefined ? (asImported?.pinPolicy ?? device.pinPolicy) : toPinPolicy(claims.pinPolicy);
    const firmware = claims?.firmware ?? this.#firmware;
    const attested = this.#isAttested(contents, publicKey);
    return {
      ...info,
      ...(recordedOwner(certificate) ?? record?.owner ?? conventionalOwner(certificate)),
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

/** Each attestation of a key is another certificate, and says the same as long as the key in f9 is the same. */
function isStillShown<T extends readonly Uint8Array[]>(before: T | undefined, now: readonly Uint8Array[]): before is T {
  const [leaf, attester] = before ?? [];
  if (leaf === undefined || attester === undefined) return false;
  return now[1] === undefined || Buffer.compare(attester, now[1]) === 0;
}

function publicKeyOrNone(facts: KeyFacts): PublicKey | undefined {
  try {
    return publicKeyFromAttributes(decodeAttributes(facts));
  } catch (error) {
    if (error instanceof SignetError) return undefined; // told by the index
    throw error;
  }
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

function warningsOf(
  { algorithm }: PublicKey,
  attested: YubiKeyAttestation['weaknesses'] | undefined,
  firmware: FirmwareVersion | undefined,
): readonly string[] {
  const weaknesses = attested ?? (firmware === undefined ? [] : weaknessesOf({ firmware, algorithm, isBio: false }));
  return weaknesses.map(({ id, summary }) => `${id}: ${summary}`);
}
