/**
 * Whose attestations are believed. Signet ships no vendor's certificates: the operator names a file with those of
 * https://developers.yubico.com/PKI/, which are known here by the SHA-256 of their DER.
 */

import { SignetError } from '../errors.ts';
import { type Certificate, certificateFingerprint, isIssuedBy, parseCertificatesPem } from './certificate.ts';

export interface AttestationAuthorities {
  readonly roots: readonly Certificate[];
  /** Between the roots and the certificates in slot f9; not trusted by themselves. */
  readonly intermediates: readonly Certificate[];
}

/**
 * Yubico's authorities for keys in PIV slots; the first root attests firmware before 5.7.4, the second one from then on.
 * Yubico's preview authorities and those of FIDO, OpenPGP, Secure Domain and YubiHSM are none.
 */
export const YUBICO_PIV_AUTHORITIES: ReadonlyMap<string, string> = new Map([
  ['Yubico PIV Root CA Serial 263751', '63ece914e54dd87915f34033c85af4c0696ba1512f8add66ced738331207b546'],
  ['Yubico Attestation Root 1', '62760c6a6ef91679f454c8902b80fd009825b3f25da90f1fbace2ec6586cd5a8'],
  ['Yubico Attestation Intermediate A 1', '4698a1d3389c3ec60016c216250f1d0439922832d65142327436376dc2942b55'],
  ['Yubico Attestation Intermediate B 1', 'd4cc3f456fdaf4e7812a21aab1dfe9d8e27d24e2fd2d6f21c9940109f0daa754'],
  ['Yubico PIV Attestation A 1', '6de693f05376f5d8ca29069261e1c8626c75d503bd2edbfd75354cad1f722870'],
  ['Yubico PIV Attestation B 1', '2d55b7998f4e42569d6d8fa382b6dc77d1dacf07358b19701163892922b17052'],
  ['Yubico PIV Attestation B2 1', '0c90b7d184a36edf50a35f9be935f0c5689bfdcfe5bdd073366cafb49061a440'],
]);

/**
 * Reads the authorities that an operator chose. Self-issued certificates are roots, the others intermediates.
 *
 * @param pem One or more `CERTIFICATE` blocks.
 * @throws {SignetError} INVALID_ARGUMENT without a root or if malformed; INTEGRITY for a certificate that has the name of
 *   one of Yubico's and is another
 */
export function readAttestationAuthorities(pem: Uint8Array): AttestationAuthorities {
  const roots: Certificate[] = [];
  const intermediates: Certificate[] = [];
  for (const certificate of parseCertificatesPem(pem)) {
    checkName(certificate);
    (isIssuedBy(certificate, certificate) ? roots : intermediates).push(certificate);
  }
  if (roots.length === 0) {
    throw new SignetError('INVALID_ARGUMENT', 'there is no root among the attestation authorities', {
      hint: "add the vendor's self-signed certificate, https://developers.yubico.com/PKI/",
    });
  }
  return { roots, intermediates };
}

function checkName(certificate: Certificate): void {
  const name = certificate.subject.commonName;
  const expected = name === undefined ? undefined : YUBICO_PIV_AUTHORITIES.get(name);
  if (expected === undefined || certificateFingerprint(certificate) === expected) return;
  throw new SignetError('INTEGRITY', `the certificate "${name}" is not Yubico's: its SHA-256 is another`, {
    hint: 'take it from https://developers.yubico.com/PKI/',
  });
}
