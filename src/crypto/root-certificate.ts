/** The self-signed certificates that Notary makes: around root keys in metadata, and beside keys on a YubiKey. */
import { SignetError } from '../errors.ts';
import type { Certificate } from './certificate.ts';
import { buildCertificate, type CertificateSigner, randomSerialNumber } from './certificate-builder.ts';
import {
  basicConstraints,
  type CertificateExtension,
  CODE_SIGNING,
  extendedKeyUsage,
  keyUsage,
} from './certificate-extensions.ts';
import type { CertificateSignatureAlgorithm } from './certificate-signature.ts';
import { nameFromCommonName } from './distinguished-name.ts';
import type { PublicKey } from './public-key.ts';

const MS_PER_DAY = 24 * 60 * 60 * 1000;
/** Notary's ten years, leap days not counted. */
const NOTARY_VALID_DAYS = 3650;

/** In Notary's order, which its own certificates have byte for byte. */
const NOTARY_EXTENSIONS = [
  keyUsage('digitalSignature', 'keyEncipherment'),
  extendedKeyUsage(CODE_SIGNING),
  basicConstraints(false),
] as const;

export interface SelfSignedOptions {
  readonly publicKey: PublicKey;
  /** Also the start of the ten years. */
  readonly notBefore: Date;
  /** Random by default. */
  readonly serialNumber?: Uint8Array;
  readonly signatureAlgorithm?: CertificateSignatureAlgorithm;
  /** After Notary's. */
  readonly moreExtensions?: readonly CertificateExtension[];
}

/**
 * The certificate of a root key for one trusted collection, as `notary init` makes it. A root key has one per GUN.
 *
 * @throws {SignetError} UNSUPPORTED for Ed25519, of which Notary reads no certificates; otherwise as `buildCertificate`
 */
export async function buildRootCertificate(
  options: SelfSignedOptions & { readonly gun: string },
  sign: CertificateSigner,
): Promise<Certificate> {
  if (options.publicKey.algorithm === 'ed25519') {
    throw new SignetError('UNSUPPORTED', 'an ed25519 key cannot be a root key: Notary reads no such certificates', {
      hint: 'use an ecdsa key',
    });
  }
  return buildSelfSigned(options.gun, options, sign);
}

/**
 * The certificate that stands beside a key in a PIV slot and makes it visible to PKCS#11 modules.
 *
 * @param options.commonName Notary puts the role there, `root`, and reads it back as such.
 * @throws {SignetError} as `buildCertificate`
 */
export async function buildSlotCertificate(
  options: SelfSignedOptions & { readonly commonName: string },
  sign: CertificateSigner,
): Promise<Certificate> {
  return buildSelfSigned(options.commonName, options, sign);
}

async function buildSelfSigned(
  commonName: string,
  { publicKey, notBefore, serialNumber, signatureAlgorithm, moreExtensions = [] }: SelfSignedOptions,
  sign: CertificateSigner,
): Promise<Certificate> {
  return buildCertificate(
    {
      subject: nameFromCommonName(commonName),
      publicKey,
      serialNumber: serialNumber ?? randomSerialNumber(),
      notBefore,
      notAfter: new Date(notBefore.getTime() + NOTARY_VALID_DAYS * MS_PER_DAY),
      extensions: [...NOTARY_EXTENSIONS, ...moreExtensions],
      ...(signatureAlgorithm === undefined ? {} : { signatureAlgorithm }),
    },
    sign,
  );
}
