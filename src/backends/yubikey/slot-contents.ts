/** What is in the slots besides keys: certificates, and what the YubiKey itself says about the keys it made. */
import { type Certificate, parseCertificate } from '../../crypto/certificate.ts';
import { type AttestationClaims, readYubiKeyAttestation } from '../../crypto/yubikey-attestation.ts';
import { SignetError } from '../../errors.ts';
import { ANSWERS } from '../pkcs11/host-protocol.ts';
import type { AttachedToken } from '../pkcs11/token-connection.ts';
import { ATTESTATION_SLOT, ckaIdOfSlot, type PivSlot } from './piv-slots.ts';

/** What was found beside the key of one slot. */
export interface SlotContents {
  /** The stored one; undefined if there is none, or none that can be read. */
  readonly certificate: Certificate | undefined;
  /** Whether anything is stored as a certificate, readable or not. */
  readonly hasCertificate: boolean;
  /** Of a key that was made on the device; undefined of one that was imported. Not verified. */
  readonly claims: AttestationClaims | undefined;
  /** The attestation and the certificate of the attestation key, DER; empty without an attestation. */
  readonly chain: readonly Uint8Array[];
}

/** @throws {SignetError} TOKEN_NOT_PRESENT, UNAVAILABLE */
export async function readSlot(token: AttachedToken, slot: PivSlot): Promise<SlotContents> {
  const stored = await read(token, slot, 'stored');
  const attestation = await read(token, slot, 'attestation');
  const claims = attestation && unlessMalformed(() => readYubiKeyAttestation(attestation));
  const attester = claims && (await read(token, ATTESTATION_SLOT, 'stored'));
  return {
    certificate: stored && unlessMalformed(() => parseCertificate(stored)),
    hasCertificate: stored !== undefined,
    claims,
    chain: attestation === undefined || attester === undefined ? [] : [attestation, attester],
  };
}

async function read(token: AttachedToken, slot: PivSlot, which: 'stored' | 'attestation'): Promise<Buffer | undefined> {
  const ckaId = Buffer.from(ckaIdOfSlot(slot)).toString('hex');
  const request = { op: 'certificate', ckaId, which } as const;
  const { value, blob } = await token.host.request(request, { parse: ANSWERS.found });
  return value ? blob : undefined;
}

/** Certificates of other programs may be anything. */
function unlessMalformed<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof SignetError) return undefined;
    throw error;
  }
}
