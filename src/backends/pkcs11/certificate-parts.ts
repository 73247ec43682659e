/** The parts of an X.509 certificate that PKCS#11 wants beside it. */
import { X509Certificate } from 'node:crypto';
import { contextTag, DER_TAG, DerReader, encodeDer } from '../../crypto/der.ts';
import { type PublicKey, publicKeyOf, publicKeysEqual } from '../../crypto/public-key.ts';
import { SignetError } from '../../errors.ts';
import type { CertificateParts } from './host-certificates.ts';

const SUBJECT = { what: 'certificate', code: 'INVALID_ARGUMENT' } as const;

/**
 * @param der An X.509 certificate (RFC 5280 §4.1), neither kept nor changed.
 * @param key The key that it must certify.
 * @throws {SignetError} INVALID_ARGUMENT if it is none, or of another key
 */
export function certificateParts(der: Uint8Array, key: PublicKey): CertificateParts {
  let certified: PublicKey;
  try {
    certified = publicKeyOf(new X509Certificate(der).publicKey);
  } catch (cause) {
    throw new SignetError('INVALID_ARGUMENT', 'not an X.509 certificate of a key that is supported', { cause });
  }
  if (!publicKeysEqual(certified, key)) {
    throw new SignetError('INVALID_ARGUMENT', 'the certificate is for another key');
  }
  const certificate = new DerReader(der, SUBJECT);
  const fields = certificate.readSequence('Certificate').readSequence('TBSCertificate');
  certificate.end();
  fields.readOptional(contextTag(0, 'constructed'), 'version');
  const serialNumber = element(DER_TAG.INTEGER, fields.read(DER_TAG.INTEGER, 'serialNumber'));
  fields.read(DER_TAG.SEQUENCE, 'signature');
  const issuer = element(DER_TAG.SEQUENCE, fields.read(DER_TAG.SEQUENCE, 'issuer'));
  fields.read(DER_TAG.SEQUENCE, 'validity');
  const subject = element(DER_TAG.SEQUENCE, fields.read(DER_TAG.SEQUENCE, 'subject'));
  return { value: der, subject, issuer, serialNumber };
}

function element(tag: number, content: Uint8Array): Buffer {
  return encodeDer({ tag, content });
}
