/**
 * PIV attestation: the YubiKey's statement, in the form of a certificate signed by the key in slot f9, that it generated
 * a key itself (https://developers.yubico.com/PIV/Introduction/PIV_attestation.html).
 */
import { SignetError } from '../errors.ts';
import type { AttestationAuthorities } from './attestation-authorities.ts';
import { type Certificate, certificatePublicKey, isIssuedBy, parseCertificate } from './certificate.ts';
import { verifyChain } from './certificate-chain.ts';
import { EXTENSION_OID } from './certificate-extensions.ts';
import { DerReader } from './der.ts';
import type { PublicKey } from './public-key.ts';
import { type FirmwareVersion, type FirmwareWeakness, weaknessesOf } from './yubikey-weaknesses.ts';

/** Yubico's arc for PIV attestation. All values but the serial number are bare octets, not DER. */
const OID = {
  firmware: '1.3.6.1.4.1.41482.3.3',
  serialNumber: '1.3.6.1.4.1.41482.3.7',
  usagePolicy: '1.3.6.1.4.1.41482.3.8',
  formFactor: '1.3.6.1.4.1.41482.3.9',
  fipsCertified: '1.3.6.1.4.1.41482.3.10',
  cspnCertified: '1.3.6.1.4.1.41482.3.11',
} as const;

/** `match-…`: a finger instead of the PIN, on the YubiKey Bio. */
const PIN_POLICIES = ['never', 'once', 'always', 'match-once', 'match-always'] as const;
/** `cached`: one touch counts for 15 seconds. */
const TOUCH_POLICIES = ['never', 'always', 'cached'] as const;
const FORM_FACTORS = [
  'USB-A keychain',
  'USB-A nano',
  'USB-C keychain',
  'USB-C nano',
  'USB-C and Lightning',
  'USB-A bio',
  'USB-C bio',
] as const;

/** The two high bits of the form factor tell the series (FIPS 0x80, Security Key 0x40). */
const FORM_FACTOR_MASK = 0x3f;

export type PinPolicy = (typeof PIN_POLICIES)[number];
export type TouchPolicy = (typeof TOUCH_POLICIES)[number];
export type FormFactor = (typeof FORM_FACTORS)[number];

/** What a certificate says that has the form of an attestation, whoever made it. */
export interface AttestationClaims {
  readonly publicKey: PublicKey;
  /** Two hex digits, as `9c`; undefined where the certificate's name does not end in one. */
  readonly slot: string | undefined;
  /** Undefined where the firmware leaves it out, as YubiKeys before 5 may. */
  readonly serial: number | undefined;
  readonly firmware: FirmwareVersion;
  readonly pinPolicy: PinPolicy;
  readonly touchPolicy: TouchPolicy;
  /** Undefined where the firmware leaves it out or names one that is not known here. */
  readonly formFactor: FormFactor | undefined;
  /** Published weaknesses of such a key; empty is good. */
  readonly weaknesses: readonly FirmwareWeakness[];
}

/** What a YubiKey says about a key in one of its PIV slots. */
export interface YubiKeyAttestation extends AttestationClaims {
  /** Marks that Yubico put into the certificate in slot f9. */
  readonly isFipsCertified: boolean;
  readonly isCspnCertified: boolean;
  /** As verified: the attestation first, then slot f9, the root last. */
  readonly chain: readonly Certificate[];
}

export interface AttestationOptions {
  /** The time at which all certificates must be valid. */
  readonly at: Date;
  readonly authorities: AttestationAuthorities;
}

/**
 * Reads an attestation without asking who stands behind it: enough for what a person sees, for nothing that is decided.
 *
 * @param der One certificate.
 * @throws {SignetError} INVALID_ARGUMENT if it is no attestation or malformed; UNSUPPORTED for a key that Notary does not
 *   sign with
 */
export function readYubiKeyAttestation(der: Uint8Array): AttestationClaims {
  return readClaims(parseCertificate(der));
}

/**
 * Verifies an attestation and reads what it says. Whether the attested key is the one that is meant is for the caller to
 * compare (`publicKey`), and what policies are good enough as well.
 *
 * @param chain DER: the attestation, the certificate from slot f9, and possibly others of an own authority.
 * @throws {SignetError} INTEGRITY if nobody trusted stands behind it, with the reason; INVALID_ARGUMENT if it is no
 *   attestation or malformed; UNSUPPORTED for a key that Notary does not sign with
 */
export function verifyYubiKeyAttestation(
  chain: readonly Uint8Array[],
  { at, authorities }: AttestationOptions,
): YubiKeyAttestation {
  const [leaf, attester, ...others] = chain.map(parseCertificate);
  if (leaf === undefined || attester === undefined) {
    throw new SignetError('INVALID_ARGUMENT', 'an attestation needs the certificate from slot f9 with it', {
      hint: 'export it with "ykman piv certificates export f9 -"',
    });
  }
  // First, so that a certificate that is no attestation at all is called that.
  const claims = readClaims(leaf);
  const path = attester.extensions.has(EXTENSION_OID.basicConstraints)
    ? verifyChain([leaf, attester, ...others, ...authorities.intermediates], authorities.roots, at)
    : verifyOldChain(leaf, attester, authorities.roots, at);
  if (path[1]?.der !== attester.der) throw untrusted('it is not signed by the key in slot f9');

  return {
    ...claims,
    isFipsCertified: attester.extensions.has(OID.fipsCertified),
    isCspnCertified: attester.extensions.has(OID.cspnCertified),
    chain: path,
  };
}

/**
 * YubiKeys 4 have certificates in slot f9 that do not say that they are an authority. Such a one counts only right below
 * a root: anything deeper could be the attestation of a key that its owner signs with as they like.
 */
function verifyOldChain(
  leaf: Certificate,
  attester: Certificate,
  roots: readonly Certificate[],
  at: Date,
): readonly Certificate[] {
  const [, ...above] = verifyChain([attester], roots, at);
  if (above.length !== 1 || !isIssuedBy(leaf, attester)) throw untrusted('it is not signed by the key in slot f9');
  // With the certificate of slot f9 as its root, only the dates and extensions of the attestation are left to check.
  verifyChain([leaf], [leaf], at);
  return [leaf, attester, ...above];
}

function untrusted(reason: string): SignetError {
  return new SignetError('INTEGRITY', `the attestation is not trusted: ${reason}`);
}

function readClaims(leaf: Certificate): AttestationClaims {
  const firmware = octets(leaf, OID.firmware, 'firmware version', 3);
  const policy = octets(leaf, OID.usagePolicy, 'usage policy', 2);
  if (firmware === undefined || policy === undefined) {
    throw new SignetError(
      'INVALID_ARGUMENT',
      `certificate ${leaf.subject.text} is not a PIV attestation of a YubiKey`,
      {
        hint: 'make one with "ykman piv keys attest"; imported keys have none',
      },
    );
  }
  const [major = 0, minor = 0, patch = 0] = firmware;
  const [pin = 0, touch = 0] = policy;
  const formFactor = FORM_FACTORS[((octets(leaf, OID.formFactor, 'form factor', 1)?.[0] ?? 0) & FORM_FACTOR_MASK) - 1];
  const publicKey = certificatePublicKey(leaf);
  const isBio = formFactor?.endsWith('bio') === true;
  return {
    publicKey,
    slot: /^YubiKey PIV Attestation ([0-9a-f]{2})$/.exec(leaf.subject.commonName ?? '')?.[1],
    serial: readSerial(leaf),
    firmware: [major, minor, patch],
    pinPolicy: PIN_POLICIES[pin - 1] ?? malformed('unknown PIN policy'),
    touchPolicy: TOUCH_POLICIES[touch - 1] ?? malformed('unknown touch policy'),
    formFactor,
    weaknesses: weaknessesOf({ firmware: [major, minor, patch], algorithm: publicKey.algorithm, isBio }),
  };
}

function octets(leaf: Certificate, oid: string, name: string, length: number): Uint8Array | undefined {
  const value = leaf.extensions.get(oid)?.value;
  if (value !== undefined && value.byteLength !== length) malformed(`${name} has not ${length} bytes`);
  return value;
}

function readSerial(leaf: Certificate): number | undefined {
  const value = leaf.extensions.get(OID.serialNumber)?.value;
  if (value === undefined) return undefined;
  const reader = new DerReader(value, { what: 'attestation', code: 'INVALID_ARGUMENT' });
  const serial = reader.readSmallUnsigned('serial number');
  reader.end();
  return serial;
}

function malformed(problem: string): never {
  throw new SignetError('INVALID_ARGUMENT', `malformed attestation: ${problem}`);
}
