/**
 * The certificate beside a key in its slot. Labels are fixed on YubiKeys, so that it is what keeps role and GUN: self-signed
 * by the key, with Notary's extensions and the role as its common name, as Notary has it, and with both in a URI of the
 * subject's alternative name, in the form that labels of other tokens have.
 */
import { type Certificate, certificatePublicKey, isIssuedBy } from '../../crypto/certificate.ts';
import type { CertificateSigner } from '../../crypto/certificate-builder.ts';
import { subjectAltNameUri, subjectAltNameUris } from '../../crypto/certificate-extensions.ts';
import { type PublicKey, publicKeysEqual } from '../../crypto/public-key.ts';
import { buildSlotCertificate } from '../../crypto/root-certificate.ts';
import { SignetError } from '../../errors.ts';
import { formatLabel, isLabel, MAX_LABEL_BYTES, type Owner, parseLabel } from '../pkcs11/label.ts';

/** Roles that a common name may tell by itself (TUF's, and delegations). */
const ROLE = /^(root|targets|snapshot|timestamp|targets\/.+)$/;
/** Common name of a key without a role: there must be one. */
const NO_ROLE = 'signet';
/** Stands in a slot whose key was removed, beside one that nobody has the use of. */
const VACANT = 'signet: empty slot';

/** @throws {SignetError} INVALID_ARGUMENT if role and GUN are too long; whatever `sign` throws */
export async function buildOwnerCertificate(
  owner: Owner,
  publicKey: PublicKey,
  notBefore: Date,
  sign: CertificateSigner,
): Promise<Certificate> {
  const commonName = owner.role === '' ? NO_ROLE : owner.role;
  const moreExtensions = [subjectAltNameUri(ownerUri(owner))];
  return buildSlotCertificate({ publicKey, commonName, notBefore, moreExtensions }, sign);
}

/** @throws {SignetError} INVALID_ARGUMENT if role and GUN are too long */
export function ownerUri(owner: Owner): string {
  // The label has its own escapes already; what a URI must not have is escaped as a whole.
  const uri = encodeURI(formatLabel(owner).toString('utf8')).replaceAll('%25', '%');
  if (uri.length <= MAX_LABEL_BYTES) return uri;
  throw new SignetError('INVALID_ARGUMENT', `role and GUN do not fit into a certificate on the YubiKey`);
}

/**
 * Whom a key belongs to, if the certificate is one of ours: signed by the key itself. Storing a certificate takes no PIN, so
 * that any other could be anybody's.
 */
export function recordedOwner(certificate: Certificate | undefined): Owner | undefined {
  const uris = certificate === undefined || !isSelfSigned(certificate) ? [] : urisOf(certificate);
  const uri = uris.find((candidate) => isLabel(candidate));
  return uri === undefined ? undefined : parseLabel(Buffer.from(uri));
}

/** What a certificate of others says. Without a word about it, it is a root key: all that Notary kept on YubiKeys. */
export function conventionalOwner(certificate: Certificate | undefined): Owner {
  const { commonName = '' } = certificate?.subject ?? {};
  return { role: ROLE.test(commonName) ? commonName : 'root', gun: '' };
}

/** Names that cannot be read are none. */
function urisOf({ extensions }: Certificate): readonly string[] {
  try {
    return subjectAltNameUris(extensions);
  } catch (error) {
    if (error instanceof SignetError) return [];
    throw error;
  }
}

/** For the key that a removed one was overwritten with. @throws {SignetError} whatever `sign` throws */
export async function buildVacancyCertificate(
  publicKey: PublicKey,
  notBefore: Date,
  sign: CertificateSigner,
): Promise<Certificate> {
  return buildSlotCertificate({ publicKey, commonName: VACANT, notBefore }, sign);
}

/** Whether the key of this certificate, if it is still in the slot, leaves that as good as empty. */
export function marksVacancy(certificate: Certificate | undefined): boolean {
  return certificate?.subject.commonName === VACANT && isSelfSigned(certificate);
}

function isSelfSigned(certificate: Certificate): boolean {
  return isIssuedBy(certificate, certificate);
}

/** Whether a certificate is of this very key, and not left over from an earlier one of the slot. */
export function isCertificateOf(certificate: Certificate, key: PublicKey): boolean {
  try {
    return publicKeysEqual(certificatePublicKey(certificate), key);
  } catch (error) {
    if (error instanceof SignetError) return false;
    throw error;
  }
}
