/** Making certificates for keys whose private half is elsewhere: on a token, in the daemon. */
import { randomBytes } from 'node:crypto';
import { SignetError } from '../errors.ts';
import { type Certificate, parseCertificate } from './certificate.ts';
import { type CertificateExtension, derExtension } from './certificate-extensions.ts';
import {
  type CertificateSignatureAlgorithm,
  defaultSignatureAlgorithm,
  signatureAlgorithmIdentifier,
  signInputOf,
  toCertificateSignature,
  verifyCertificateSignature,
} from './certificate-signature.ts';
import { derTime } from './certificate-time.ts';
import { derBitString, derEncoded, derExplicit, derSequence, derUnsigned, derUnsignedBytes, encodeDer } from './der.ts';
import type { DistinguishedName } from './distinguished-name.ts';
import { type PublicKey, toKeyObject, toSpki } from './public-key.ts';
import type { SignInput } from './sign-input.ts';

/**
 * Signs with the issuer's private key, as `KeyBackend.sign` does.
 *
 * @returns The port's encoding: r‖s for ECDSA; RSASSA-PSS, or PKCS #1 v1.5 where the template names such an algorithm.
 */
export type CertificateSigner = (input: SignInput) => Promise<Uint8Array>;

export interface CertificateTemplate {
  readonly subject: DistinguishedName;
  readonly publicKey: PublicKey;
  /** Who signs; without it, the certificate is self-signed. */
  readonly issuer?: { readonly name: DistinguishedName; readonly publicKey: PublicKey };
  /** Big-endian, 1 to 20 octets, not zero: see `randomSerialNumber`. */
  readonly serialNumber: Uint8Array;
  /** Fractions of a second are cut off. */
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** In the order they are written. */
  readonly extensions: readonly CertificateExtension[];
  /** By default the one of `defaultSignatureAlgorithm`. */
  readonly signatureAlgorithm?: CertificateSignatureAlgorithm;
}

/** 128 random bits, as Notary's. */
export function randomSerialNumber(): Uint8Array {
  return randomBytes(16);
}

/**
 * Builds a version 3 certificate, has it signed and checks the signature: a token that signs something else, or with
 * another key, is found here.
 *
 * @throws {SignetError} INVALID_ARGUMENT for a template that makes no valid certificate, INTERNAL if the signature does
 *   not verify, and whatever `sign` throws
 */
export async function buildCertificate(template: CertificateTemplate, sign: CertificateSigner): Promise<Certificate> {
  checkTemplate(template);
  const issuer = template.issuer ?? { name: template.subject, publicKey: template.publicKey };
  const algorithm = template.signatureAlgorithm ?? defaultSignatureAlgorithm(issuer.publicKey);
  const identifier = derEncoded(signatureAlgorithmIdentifier(algorithm));
  const tbs = derSequence(
    derExplicit(0, derUnsigned(2)),
    derUnsignedBytes(template.serialNumber),
    identifier,
    derEncoded(issuer.name.der),
    derSequence(derTime(template.notBefore), derTime(template.notAfter)),
    derEncoded(template.subject.der),
    derEncoded(toSpki(template.publicKey)),
    ...(template.extensions.length > 0 ? [derExplicit(3, derSequence(...template.extensions.map(derExtension)))] : []),
  );
  const message = encodeDer(tbs);
  const raw = await sign(signInputOf(algorithm, issuer.publicKey, message));
  const signature = toCertificateSignature(algorithm, raw);
  if (!verifyCertificateSignature(algorithm, toKeyObject(issuer.publicKey), message, signature)) {
    throw new SignetError(
      'INTERNAL',
      `the signature made for the certificate ${template.subject.text} does not verify`,
    );
  }
  return parseCertificate(encodeDer(derSequence(tbs, identifier, derBitString(signature))));
}

function checkTemplate({ serialNumber, notBefore, notAfter, publicKey }: CertificateTemplate): void {
  // RFC 5280 §4.1.2.2: positive, at most 20 octets, the sign's included.
  const isPositive = serialNumber.some((octet) => octet !== 0);
  const octets = serialNumber.byteLength + ((serialNumber[0] ?? 0) >= 0x80 ? 1 : 0);
  if (!isPositive || octets > 20) {
    throw new SignetError('INVALID_ARGUMENT', 'the serial number of a certificate is not 1 to 20 octets, not all zero');
  }
  if (!(notBefore.getTime() <= notAfter.getTime())) {
    throw new SignetError('INVALID_ARGUMENT', 'a certificate cannot expire before it becomes valid');
  }
  toKeyObject(publicKey);
}
