/** Path validation for pinned CAs (RFC 5280 §6.1), as far as a root certificate needs it. */
import type { X509Certificate } from 'node:crypto';
import { isValidAt, type LeafBundle, weaknessOf } from './certificate-bundle.ts';
import { BASIC_CONSTRAINTS, basicConstraintsOf, extensionsOf } from './certificate-der.ts';

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
  const trusted = new Set(anchors.map(({ fingerprint256 }) => fingerprint256));
  const isUsable = (certificate: X509Certificate) =>
    isValidAt(certificate, now) && weaknessOf(certificate) === undefined && hasKnownExtensions(certificate);
  if (!isUsable(bundle.leaf)) return false;

  // Breadth first, each certificate once: the shortest way is the one that a limit of the path's length allows, and
  // certificates that issue one another in circles cost no more than others.
  let waiting = [...anchors, ...bundle.intermediates].filter((issuer) => issuer.ca && isUsable(issuer));
  let subjects: readonly X509Certificate[] = [bundle.leaf];
  for (let casBelow = 0; subjects.length > 0; casBelow++) {
    if (subjects.some(({ fingerprint256 }) => trusted.has(fingerprint256))) return true;
    const issuers = waiting.filter(
      (issuer) => mayIssue(issuer, casBelow) && subjects.some((subject) => isIssuedBy(subject, issuer)),
    );
    waiting = waiting.filter((issuer) => !issuers.includes(issuer));
    subjects = issuers;
  }
  return false;
}

function isIssuedBy(subject: X509Certificate, issuer: X509Certificate): boolean {
  try {
    return subject.checkIssued(issuer) && subject.verify(issuer.publicKey);
  } catch {
    return false; // a key or a signature that OpenSSL does not know
  }
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
    const { isCa, pathLength } = basicConstraintsOf(issuer);
    return isCa && (pathLength === undefined || casBelow <= pathLength);
  } catch {
    return false;
  }
}
