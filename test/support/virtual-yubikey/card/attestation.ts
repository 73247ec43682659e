/** Yubico's PIV attestation: a certificate, signed by the key in f9, that says where and how a key was made. */
import { encodeDer } from '../../../../src/crypto/der.ts';
import { authority, commonName, type Extension, issueCertificate, subjectOf } from './certificate.ts';
import { derInteger } from './ecdsa.ts';
import { generateKey, type KeyPair } from './key-pair.ts';
import type { CardState, SlotKey } from './state.ts';
import { PIN_POLICIES, TOUCH_POLICIES } from './tables.ts';

/** Yubico's extensions. Firmware, policies and form factor are bare octets, not DER; the serial number is an INTEGER. */
const OID = {
  firmware: '1.3.6.1.4.1.41482.3.3',
  serial: '1.3.6.1.4.1.41482.3.7',
  policies: '1.3.6.1.4.1.41482.3.8',
  formFactor: '1.3.6.1.4.1.41482.3.9',
} as const;

const VALIDITY = { notBefore: new Date('2016-03-14T00:00:00Z'), notAfter: new Date('2052-04-17T00:00:00Z') };

/** A key that issues certificates, and its own. */
export interface Issuer {
  readonly pair: KeyPair;
  /** DER. */
  readonly certificate: Buffer;
}

/** Makes a root of its own that vouches for cards as Yubico's does; RSA 2048 like that. */
export async function newMaker(): Promise<Issuer> {
  const pair = await generateKey('RSA-2048');
  const name = commonName('Virtual YubiKey PIV Root');
  const content = { ...VALIDITY, issuer: name, subject: name, spki: pair.spki, extensions: [authority(1)] };
  return { pair, certificate: issueCertificate(content, pair) };
}

/** @returns What every card has in slot f9 when it leaves the maker. */
export async function newAttestationKey(maker: Issuer): Promise<Issuer> {
  const pair = await generateKey('RSA-2048');
  const content = {
    ...VALIDITY,
    issuer: subjectOf(maker.certificate),
    subject: commonName('Yubico PIV Attestation'),
    spki: pair.spki,
    extensions: [authority(0)],
  };
  return { pair, certificate: issueCertificate(content, maker.pair) };
}

/**
 * Attests a key.
 *
 * @param slot Key reference, for the subject's name.
 * @throws {SignetError} INVALID_ARGUMENT if what f9 holds is no certificate
 */
export function attest(card: CardState, slot: number, key: SlotKey, issuer: Issuer): Buffer {
  const extensions: readonly Extension[] = [
    { oid: OID.firmware, value: Buffer.from(card.firmware) },
    { oid: OID.serial, value: encodeDer(derInteger(BigInt(card.serial))) },
    { oid: OID.policies, value: Buffer.of(PIN_POLICIES[key.pinPolicy], TOUCH_POLICIES[key.touchPolicy]) },
    { oid: OID.formFactor, value: Buffer.of(card.formFactor) },
  ];
  const content = {
    ...VALIDITY,
    issuer: subjectOf(issuer.certificate),
    subject: commonName(`YubiKey PIV Attestation ${slot.toString(16)}`),
    spki: key.pair.spki,
    extensions,
  };
  return issueCertificate(content, issuer.pair);
}

/** @returns The DER of a certificate that a key issues to itself. */
export function selfSigned(name: string, pair: KeyPair): Buffer {
  const subject = commonName(name);
  return issueCertificate({ ...VALIDITY, issuer: subject, subject, spki: pair.spki, extensions: [] }, pair);
}
