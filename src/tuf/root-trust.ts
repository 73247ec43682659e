/** Why a root is believed: because it is pinned or the first one, because the last one signed it, or because we kept it. */
import { SignetError } from '../errors.ts';
import { isValidAt, rootLeafBundle } from './certificate-bundle.ts';
import type { ReceivedMetadata } from './metadata.ts';
import { baseAuthority, type Root } from './root.ts';
import { pinCheckFor, type RootCertificate, type TrustPinning } from './trust-pinning.ts';
import { isCertificateKey } from './tuf-key.ts';
import { verifySignatures } from './verify.ts';

/**
 * Believes the first root of a collection.
 *
 * @throws {SignetError} METADATA_REJECTED, `could not validate the path to a trusted root: …`; CONFIGURATION
 */
export function verifyFirstRoot(root: ReceivedMetadata<Root>, gun: string, pinning: TrustPinning, now: Date): void {
  const valid = certificatesOf(root.signed, gun).filter(({ bundle }) => isValidAt(bundle.leaf, now));
  if (valid.length === 0) throw untrusted('unable to retrieve valid leaf certificates');
  const isPinned = pinCheckFor(pinning, gun, now);
  const pinned = valid.filter(isPinned);
  if (pinned.length === 0) throw untrusted('unable to match any certificates to trust_pinning config');
  verifyIntegrity(root, pinned);
}

/**
 * Believes the root that follows a trusted one: both must have signed it, each with its own threshold. Certificates may
 * have expired, because there may be a newer root; `verifyUsableRoot` looks at that.
 *
 * @throws {SignetError} METADATA_REJECTED
 */
export function verifyNextRoot(root: ReceivedMetadata<Root>, trusted: Root, gun: string): void {
  const { version } = root.signed;
  if (version < trusted.version) throw lowVersion(version, trusted.version);
  if (version !== trusted.version + 1) {
    throw new SignetError('METADATA_REJECTED', `root version ${version} does not follow version ${trusted.version}`);
  }
  try {
    verifySignatures(root, authorityOf(trusted, certificatesOf(trusted, gun)));
  } catch (cause) {
    throw new SignetError(
      'METADATA_REJECTED',
      'could not rotate trust to a new trusted root: failed to validate data with current trusted certificates',
      { cause },
    );
  }
  verifyKeptRoot(root, gun);
}

/**
 * Believes a root that was verified before, and kept: it must be whole and for this GUN.
 *
 * @throws {SignetError} METADATA_REJECTED, `could not validate the path to a trusted root: …`
 */
export function verifyKeptRoot(root: ReceivedMetadata<Root>, gun: string): void {
  const certificates = certificatesOf(root.signed, gun);
  if (certificates.length === 0) throw untrusted('unable to retrieve valid leaf certificates');
  verifyIntegrity(root, certificates);
}

/**
 * Whether a trusted root may vouch for other metadata now: neither it nor the certificates that it needs have expired.
 *
 * @throws {SignetError} METADATA_REJECTED
 */
export function verifyUsableRoot(root: ReceivedMetadata<Root>, gun: string, now: Date): void {
  requireUnexpired(root.signed, 'root', now);
  const valid = certificatesOf(root.signed, gun).filter(({ bundle }) => isValidAt(bundle.leaf, now));
  if (valid.length === 0) throw untrusted('unable to retrieve valid leaf certificates');
  verifyIntegrity(root, valid);
}

/** @throws {SignetError} METADATA_REJECTED if the metadata has expired */
export function requireUnexpired(
  { expires }: { readonly expires: { readonly text: string; readonly milliseconds: number } },
  role: string,
  now: Date,
): void {
  if (now.getTime() < expires.milliseconds) return;
  throw new SignetError('METADATA_REJECTED', `${role} expired at ${expires.text}`);
}

/** The error for a roll-back, in Notary's words. */
export function lowVersion(version: number, current: number): SignetError {
  return new SignetError('METADATA_REJECTED', `version ${version} is lower than current version ${current}`);
}

/** The root keys that are certificates for the GUN. */
function certificatesOf(root: Root, gun: string): RootCertificate[] {
  return baseAuthority(root, 'root').keys.flatMap((key) => {
    const bundle = isCertificateKey(key) ? rootLeafBundle(key.bytes, gun) : undefined;
    return bundle === undefined ? [] : [{ key, bundle }];
  });
}

function authorityOf(root: Root, certificates: readonly RootCertificate[]) {
  return { name: 'root', keys: certificates.map(({ key }) => key), threshold: root.roles.root.threshold };
}

function verifyIntegrity(root: ReceivedMetadata<Root>, certificates: readonly RootCertificate[]): void {
  try {
    verifySignatures(root, authorityOf(root.signed, certificates));
  } catch (cause) {
    throw untrusted('failed to validate integrity of roots', cause);
  }
}

function untrusted(reason: string, cause?: unknown): SignetError {
  const message = `could not validate the path to a trusted root: ${reason}`;
  return new SignetError('METADATA_REJECTED', message, cause === undefined ? {} : { cause });
}
