/** Certificates as TUF keys: a leaf, perhaps followed by intermediates, in PEM. */
import { X509Certificate } from 'node:crypto';
import { parsePemBlocks } from '../crypto/pem.ts';
import { type PublicKey, publicKeyOf } from '../crypto/public-key.ts';
import { SignetError } from '../errors.ts';
import { basicConstraintsOf, signatureAlgorithmOf } from './certificate-der.ts';

/** Longest chain of a key. */
const MAX_CHAIN = 16;
/** Notary's leeway for clocks that lag behind the issuer's. */
const NOT_BEFORE_LEEWAY_MS = 24 * 60 * 60 * 1000;
/** Notary's, for certificates, public keys and signatures. */
export const MIN_RSA_BITS = 2048;

/** Signatures over MD2, MD5 or SHA-1 (RFC 3279 §2.2). */
const WEAK_SIGNATURES: ReadonlySet<string> = new Set([
  '1.2.840.113549.1.1.2',
  '1.2.840.113549.1.1.4',
  '1.2.840.113549.1.1.5',
  '1.2.840.10040.4.3',
  '1.2.840.10045.4.1',
]);

export interface LeafBundle {
  /** The first certificate, and the only one that is no CA. */
  readonly leaf: X509Certificate;
  readonly intermediates: readonly X509Certificate[];
}

/** Reads one certificate or more, at most `max`. @throws {SignetError} METADATA_REJECTED for anything else */
export function parseCertificates(pem: Uint8Array, max: number = MAX_CHAIN): readonly X509Certificate[] {
  const blocks = parsePemBlocks(pem);
  if (blocks.length === 0) throw new SignetError('METADATA_REJECTED', 'there is no certificate in PEM');
  if (blocks.length > max) {
    throw new SignetError('METADATA_REJECTED', `more than ${max} certificates in one bundle`);
  }
  return blocks.map(({ type, bytes }) => {
    if (type !== 'CERTIFICATE') throw new SignetError('METADATA_REJECTED', 'a PEM block is no certificate');
    try {
      return new X509Certificate(bytes);
    } catch (cause) {
      throw new SignetError('METADATA_REJECTED', 'malformed certificate', { cause });
    }
  });
}

/** The public key of the first certificate. @throws {SignetError} METADATA_REJECTED, UNSUPPORTED */
export function bundlePublicKey(pem: Uint8Array): PublicKey {
  const [leaf] = parseCertificates(pem);
  try {
    if (leaf !== undefined) return publicKeyOf(leaf.publicKey);
  } catch (cause) {
    throw new SignetError('METADATA_REJECTED', 'a certificate has a public key of an unknown kind', { cause });
  }
  throw new SignetError('METADATA_REJECTED', 'there is no certificate in PEM');
}

/**
 * The bundle of a root key, if it can be one for this GUN: the first certificate and no other is a leaf, its CN is the
 * GUN or a prefix of it that ends in `*`, and it is signed over no weak hash. A certificate that is its own CA is no
 * leaf. The leaf's own signature is not checked: what is trusted is the key that root.json lists.
 *
 * @returns Undefined if it cannot
 */
export function rootLeafBundle(pem: Uint8Array, gun: string): LeafBundle | undefined {
  try {
    const [leaf, ...intermediates] = parseCertificates(pem);
    if (leaf === undefined || isCa(leaf) || !intermediates.every(isCa)) return undefined;
    const commonName = commonNameOf(leaf);
    if (commonName === undefined || !coversGun(commonName, gun) || weaknessOf(leaf) !== undefined) return undefined;
    return { leaf, intermediates };
  } catch {
    return undefined; // no certificates, or ones that OpenSSL reads in part only
  }
}

function isCa(certificate: X509Certificate): boolean {
  return basicConstraintsOf(certificate).isCa;
}

/** CN = GUN, or `<prefix>*`. */
function coversGun(commonName: string, gun: string): boolean {
  return commonName === gun || (commonName.endsWith('*') && gun.startsWith(commonName.slice(0, -1)));
}

/** @returns The last CN of the subject, as Go has it. */
export function commonNameOf(certificate: X509Certificate): string | undefined {
  const names: unknown = (certificate.toLegacyObject().subject as { CN?: unknown } | undefined)?.CN;
  const last: unknown = Array.isArray(names) ? names.at(-1) : names;
  return typeof last === 'string' ? last : undefined;
}

/** @returns Why a certificate is too weak to be used; undefined if it is not */
export function weaknessOf(certificate: X509Certificate): string | undefined {
  try {
    const { asymmetricKeyType, asymmetricKeyDetails } = certificate.publicKey;
    if (asymmetricKeyType === 'rsa' && (asymmetricKeyDetails?.modulusLength ?? 0) < MIN_RSA_BITS) {
      return 'RSA bit length is too short';
    }
    return WEAK_SIGNATURES.has(signatureAlgorithmOf(certificate)) ? 'it is signed over a weak hash' : undefined;
  } catch {
    return 'its public key is of an unknown kind';
  }
}

/** Whether `now` is between notBefore, with a day of leeway as Notary gives, and notAfter. */
export function isValidAt(certificate: X509Certificate, now: Date): boolean {
  const notBefore = Date.parse(certificate.validFrom);
  const notAfter = Date.parse(certificate.validTo);
  return notBefore - NOT_BEFORE_LEEWAY_MS <= now.getTime() && now.getTime() <= notAfter;
}
