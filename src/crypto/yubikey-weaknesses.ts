/** Published weaknesses of keys that a YubiKey's firmware makes or uses, by firmware and type of key. */
import type { KeyAlgorithm } from './algorithms.ts';

/** As in 5.4.3. */
export type FirmwareVersion = readonly [major: number, minor: number, patch: number];

export interface FirmwareWeakness {
  /** Yubico's advisory, https://www.yubico.com/support/security-advisories/. */
  readonly id: 'YSA-2017-01' | 'YSA-2019-02' | 'YSA-2024-03';
  /** First affected version. */
  readonly from: FirmwareVersion;
  /** First version that is not affected any more. */
  readonly before: FirmwareVersion;
  /** The same for the YubiKey Bio, where it differs. */
  readonly beforeOnBio?: FirmwareVersion;
  readonly algorithms: readonly KeyAlgorithm[];
  /** One sentence for people, with what to do. */
  readonly summary: string;
}

/**
 * Of every weakness, the versions that can attest (4.3.0 and later) are what matters. YSA-2024-03 lists the YubiKey 5;
 * Yubico's customer notice about it says that the library is in all YubiKeys before 5.7.0.
 */
const FIRMWARE_WEAKNESSES: readonly FirmwareWeakness[] = [
  {
    id: 'YSA-2017-01',
    from: [4, 2, 6],
    before: [4, 3, 5],
    algorithms: ['rsa'],
    summary:
      'RSA keys generated on this firmware can be factored from the public key (ROCA, CVE-2017-15361): replace the key and the YubiKey',
  },
  {
    id: 'YSA-2019-02',
    from: [4, 4, 2],
    before: [4, 4, 5],
    algorithms: ['ecdsa', 'rsa'],
    summary:
      'keys and ECDSA signatures made soon after power-up of this FIPS firmware have up to 80 predictable bits: replace the key and the YubiKey',
  },
  {
    id: 'YSA-2024-03',
    from: [4, 0, 0],
    before: [5, 7, 0],
    beforeOnBio: [5, 7, 2],
    algorithms: ['ecdsa'],
    summary:
      'who holds this YubiKey for a time, with laboratory equipment, can extract ECDSA keys from it (EUCLEAK, CVE-2024-45678): keep it under control and rotate the key if it was out of sight',
  },
];

/** @returns Negative, 0 or positive, as `a` is before, equal to or after `b`. */
function compareFirmware(a: FirmwareVersion, b: FirmwareVersion): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
}

/** The weaknesses that concern a key of this type, generated and kept on a YubiKey with this firmware. */
export function weaknessesOf(key: {
  readonly firmware: FirmwareVersion;
  readonly algorithm: KeyAlgorithm;
  readonly isBio: boolean;
}): readonly FirmwareWeakness[] {
  return FIRMWARE_WEAKNESSES.filter(({ from, before, beforeOnBio, algorithms }) => {
    const end = key.isBio ? (beforeOnBio ?? before) : before;
    const isAffected = compareFirmware(key.firmware, from) >= 0 && compareFirmware(key.firmware, end) < 0;
    return isAffected && algorithms.includes(key.algorithm);
  });
}
