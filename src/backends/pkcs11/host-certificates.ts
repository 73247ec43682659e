/** X.509 certificates beside the keys of a token, under the keys' CKA_ID. */
import { CKA, CKC_X_509, CKO } from './constants.ts';
import type { Handle } from './cryptoki.ts';
import type { TokenSession } from './token-session.ts';

/** The parts of a certificate that PKCS#11 wants beside it (v2.40 §4.6.3), each DER. */
export interface CertificateParts {
  readonly value: Uint8Array;
  readonly subject: Uint8Array;
  readonly issuer: Uint8Array;
  readonly serialNumber: Uint8Array;
}

/** @returns The first one; undefined if there is none. */
export function readCertificate(
  session: TokenSession,
  id: Buffer,
  which: 'stored' | 'attestation',
): Buffer | undefined {
  const [certificate] = session.find(CKO.CERTIFICATE, [[CKA.ID, id]], which === 'stored');
  return certificate === undefined ? undefined : session.read(certificate, CKA.VALUE);
}

/** Puts a certificate in the place of those that the key has. The new one is there before the old ones go. */
export function writeCertificate(session: TokenSession, id: Buffer, label: Buffer, parts: CertificateParts): void {
  // A place has one certificate: the new one is in it.
  const old = session.profile.ckaId === 'place' ? [] : findCertificates(session, id);
  session.cryptoki.create(session.handle, [
    [CKA.CLASS, CKO.CERTIFICATE],
    [CKA.CERTIFICATE_TYPE, CKC_X_509],
    [CKA.TOKEN, true],
    ...(session.profile.refusedAtImport.includes('PRIVATE') ? [] : [[CKA.PRIVATE, false] as const]),
    [CKA.ID, id],
    [CKA.LABEL, label],
    [CKA.SUBJECT, parts.subject],
    [CKA.ISSUER, parts.issuer],
    [CKA.SERIAL_NUMBER, parts.serialNumber],
    [CKA.VALUE, parts.value],
  ]);
  for (const certificate of old) session.cryptoki.destroy(session.handle, certificate);
}

/** @returns Whether there was one. */
export function removeCertificates(session: TokenSession, id: Buffer): boolean {
  const found = findCertificates(session, id);
  for (const certificate of found) session.cryptoki.destroy(session.handle, certificate);
  return found.length > 0;
}

function findCertificates(session: TokenSession, id: Buffer): Handle[] {
  return session.find(CKO.CERTIFICATE, [[CKA.ID, id]]);
}
