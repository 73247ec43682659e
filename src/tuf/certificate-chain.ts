/** Path validation for pinned CAs (RFC 5280 §6.1), as far as a root certificate needs it. */
import type { X509Certificate } from 'node:crypto';
import { isStrong, isValidAt, type LeafBundle } from './certificate-bundle.ts';
import { extensionsOf, pathLengthOf } from './certificate-der.ts';

const BASIC_CONSTRAINTS = '2.5.29.19';
/** Critical extensions that are taken into account, or that say nothing about the path (RFC 5280 §4.2.1). */
const KNOWN_CRITICAL: ReadonlySet<string> = new Set([
  BASIC_CONSTRAINTS,
  '2.5.29.15', // keyUsage: checkIssued looks at it
  '2.5.29.37', // extKeyUsage
  '2.5.29.17', // subjectAltName
  '2.5.29.32', // certificatePolicies
]);

/**
 * Whether a chain leads from the leaf over the intermediates to one of the anchors. Every certificate of it is valid
 * now, every issuer is a CA that may issue at that depth, every signature verifies. A certificate with a critical
 * extension that we do not know, name constraints for one, is in no chain. Revocation is **not** checked.
 */
export function chainsTo(bundle: LeafBundle, anchors: readonly X509Certificate[], now: Date): boolean {
  const fingerprints = new Set(anchors.map(({ fingerprint256 }) => fingerprint256));
  const usable = (certificate: X509Certificate) => isValidAt(certificate, now) && isStrong(certificate);
  const candidates = [...anchors, ...bundle.intermediates].filter((issuer) => issuer.ca && usable(issuer));

  /** @param cas Number of CA certificates already below the issuer that is looked for. */
  const reaches = (subject: X509Certificate, cas: number, rest: readonly X509Certificate[]): boolean => {
    if (!hasKnownExtensions(subject)) return false;
    if (fingerprints.has(subject.fingerprint256)) return true;
    return rest.some(
      (issuer) =>
        mayIssue(issuer, cas) &&
        subject.checkIssued(issuer) &&
        subject.verify(issuer.publicKey) &&
        reaches(
          issuer,
          cas + 1,
          rest.filter((other) => other !== issuer),
        ),
    );
  };
  return usable(bundle.leaf) && reaches(bundle.leaf, 0, candidates);
}

function hasKnownExtensions(certificate: X509Certificate): boolean {
  try {
    return extensionsOf(certificate).every(({ oid, isCritical }) => !isCritical || KNOWN_CRITICAL.has(oid));
  } catch {
    return false;
  }
}

/** pathLenConstraint (RFC 5280 §4.2.1.9). */
function mayIssue(issuer: X509Certificate, casBelow: number): boolean {
  try {
    const constraints = extensionsOf(issuer).find(({ oid }) => oid === BASIC_CONSTRAINTS);
    const limit = constraints && pathLengthOf(constraints.value);
    return limit === undefined || casBelow <= limit;
  } catch {
    return false;
  }
}
