/** PEM files that people give: public keys and certificates for delegations, certificates for root keys. */
import { createPublicKey, type X509Certificate } from 'node:crypto';
import { formatPem, parsePem } from '../crypto/pem.ts';
import { publicKeyOf } from '../crypto/public-key.ts';
import { SignetError } from '../errors.ts';
import {
  bundlePublicKey,
  commonNameOf,
  isValidAt,
  MIN_RSA_BITS,
  parseCertificates,
  weaknessOf,
} from './certificate-bundle.ts';
import type { TufKey } from './tuf-key.ts';

/**
 * The key in the first PEM block: a certificate (`ecdsa-x509`, `rsa-x509`) or SubjectPublicKeyInfo (`ecdsa`, `rsa`,
 * `ed25519`). Neither the certificate's issuer nor its own signature is checked.
 *
 * @throws {SignetError} INVALID_ARGUMENT for anything else, an expired or weak certificate, and short RSA keys
 */
export function parsePublicKeyFile(pem: Uint8Array, now: Date): TufKey {
  const block = parsePem(pem);
  switch (block?.type) {
    case 'CERTIFICATE':
      return certificateKey([validCertificate(pemOf(block.bytes), now)]);
    case 'PUBLIC KEY':
      return publicKey(block.bytes);
    case undefined:
      throw invalid('no valid public key found');
    default:
      throw invalid('unsupported PEM block type, expected CERTIFICATE or PUBLIC KEY');
  }
}

/**
 * A root key for a certificate that was made elsewhere, with the chain that follows it.
 *
 * @param pem Leaf first. `rootLeafBundle` says whether clients will take it for a GUN.
 * @throws {SignetError} INVALID_ARGUMENT if there are no certificates, or the first one is expired or weak
 */
export function parseRootCertificates(pem: Uint8Array, now: Date): TufKey {
  validCertificate(pem, now);
  return certificateKey(parseCertificates(pem));
}

function validCertificate(pem: Uint8Array, now: Date): X509Certificate {
  let certificate: X509Certificate | undefined;
  try {
    [certificate] = parseCertificates(pem);
  } catch (cause) {
    throw invalid('could not parse certificate', cause);
  }
  if (certificate === undefined) throw invalid('could not parse certificate');
  const name = JSON.stringify(commonNameOf(certificate)?.slice(0, 128) ?? '');
  const weakness = weaknessOf(certificate);
  if (weakness !== undefined) throw invalid(`invalid certificate with CN ${name}: ${weakness}`);
  if (!isValidAt(certificate, now)) throw invalid(`certificate with CN ${name} is expired or not valid yet`);
  return certificate;
}

function publicKey(spki: Uint8Array): TufKey {
  try {
    const object = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
    const isRsa = object.asymmetricKeyType === 'rsa';
    if (isRsa && (object.asymmetricKeyDetails?.modulusLength ?? 0) < MIN_RSA_BITS) {
      throw invalid('RSA bit length is too short');
    }
    return publicKeyOf(object);
  } catch (cause) {
    throw cause instanceof SignetError && cause.code === 'INVALID_ARGUMENT'
      ? cause
      : invalid('unknown public key format', cause);
  }
}

/** PEM as Go writes it: key IDs cover the text. */
function certificateKey(certificates: readonly X509Certificate[]): TufKey {
  const bytes = Buffer.concat(certificates.map(({ raw }) => pemOf(raw)));
  const { algorithm } = bundlePublicKey(bytes);
  if (algorithm === 'ed25519') throw invalid('a certificate must have an ECDSA or RSA key');
  return { algorithm: `${algorithm}-x509`, bytes };
}

function pemOf(der: Uint8Array): Buffer {
  return Buffer.from(formatPem({ type: 'CERTIFICATE', headers: {}, bytes: der }));
}

function invalid(message: string, cause?: unknown): SignetError {
  return new SignetError('INVALID_ARGUMENT', message, cause === undefined ? {} : { cause });
}
