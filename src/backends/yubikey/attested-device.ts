/** Attestations as the port tells them. */
import type { AttestationAuthorities } from '../../crypto/attestation-authorities.ts';
import { type PublicKey, publicKeysEqual } from '../../crypto/public-key.ts';
import {
  type AttestationClaims,
  verifyYubiKeyAttestation,
  type YubiKeyAttestation,
} from '../../crypto/yubikey-attestation.ts';
import { SignetError } from '../../errors.ts';
import type { KeyDevice, PinPolicy } from '../token-facts.ts';
import { formatVersion } from './versions.ts';

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
export function deviceOf(
  device: KeyDevice,
  { firmware, pinPolicy, touchPolicy, weaknesses }: AttestationClaims,
): KeyDevice {
  return {
    ...device,
    firmware: formatVersion(firmware),
    pinPolicy: toPinPolicy(pinPolicy),
    touchPolicy,
    warnings: weaknesses.map(({ id, summary }) => `${id}: ${summary}`),
  };
}

/** On a YubiKey Bio a finger takes the place of the PIN; the module asks for the PIN all the same. */
export function toPinPolicy(policy: YubiKeyAttestation['pinPolicy']): PinPolicy {
  return policy === 'match-once' ? 'once' : policy === 'match-always' ? 'always' : policy;
}
