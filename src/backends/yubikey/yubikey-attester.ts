/** What a YubiKey said about the keys that it made: from the device, or from what is remembered while it is away. */
import type { AttestationAuthorities } from '../../crypto/attestation-authorities.ts';
import { type KeyId, keyIdOf } from '../../crypto/key-id.ts';
import { readYubiKeyAttestation } from '../../crypto/yubikey-attestation.ts';
import { SignetError } from '../../errors.ts';
import type { Attestation, KeyAttester, KeyBackend, KeyInfo } from '../backend.ts';
import type { KeyDevice } from '../token-facts.ts';
import { deviceOf, verifyAttestationOf } from './attested-device.ts';
import type { KeyRecord, KeyRecords } from './key-records.ts';

export interface YubikeyAttesterOptions {
  readonly home: Pick<KeyBackend, 'find' | 'location'>;
  readonly records: KeyRecords;
  /** Undefined: attestations are shown and not verified. */
  readonly authorities: AttestationAuthorities | undefined;
  readonly now: () => Date;
}

export class YubikeyAttester implements KeyAttester {
  readonly #options: YubikeyAttesterOptions;

  constructor(options: YubikeyAttesterOptions) {
    this.#options = options;
  }

  async attest(keyId: KeyId): Promise<Attestation> {
    const { home, records, authorities, now } = this.#options;
    const key = await this.#find(keyId);
    const record = records.get(keyId);
    if (key === undefined && record === undefined) {
      throw new SignetError('KEY_NOT_FOUND', `no key ${keyId} in ${home.location}`);
    }
    const [leaf] = record?.chain ?? [];
    if (record === undefined || leaf === undefined) {
      throw new SignetError('UNSUPPORTED', `key ${keyId} has no attestation: it was not made on ${home.location}`);
    }
    const claims = readYubiKeyAttestation(leaf);
    // The record is a file.
    if (keyIdOf(claims.publicKey) !== keyId)
      throw new SignetError('INTEGRITY', `the attestation is not of key ${keyId}`);
    const serial = claims.serial === undefined ? (key?.device?.serial ?? '') : String(claims.serial);
    const device = deviceOf(key?.device ?? deviceOfRecord(record, serial), claims);
    if (authorities === undefined) return { chain: record.chain, root: '', device };
    const { chain } = verifyAttestationOf(claims.publicKey, serial, record.chain, authorities, now());
    return {
      chain: chain.slice(0, -1).map(({ der }) => der),
      root: chain.at(-1)?.subject.text ?? '',
      device: { ...device, attested: true },
    };
  }

  /** @returns Undefined also while the YubiKey is away. */
  async #find(keyId: KeyId): Promise<KeyInfo | undefined> {
    try {
      return await this.#options.home.find(keyId);
    } catch (error) {
      if (error instanceof SignetError && error.code === 'TOKEN_NOT_PRESENT') return undefined;
      throw error;
    }
  }
}

function deviceOfRecord({ slot }: KeyRecord, serial: string): KeyDevice {
  return { serial, label: `YubiKey PIV #${serial}`, slot };
}
