/** Certification path validation (RFC 5280 §6.1): signatures, names, validity, basic constraints and key usage. */
import { SignetError } from '../errors.ts';
import { type Certificate, isIssuedBy } from './certificate.ts';
import { basicConstraintsOf, EXTENSION_OID, keyUsageOf } from './certificate-extensions.ts';

/** What a chain may hold at most: a server's has four. */
const MAX_CERTIFICATES = 16;
/** Signatures checked for one chain at most, whatever names its certificates share. */
const MAX_SIGNATURE_CHECKS = 64;

/** Understood here or without meaning for a path; any other critical extension refuses its certificate (§4.2). */
const UNDERSTOOD: ReadonlySet<string> = new Set(Object.values(EXTENSION_OID));

/**
 * Finds and checks a path from a certificate to a root.
 *
 * Not checked: revocation, extended key usage, subject alternative names, policies, name constraints (a certificate with
 * critical ones is refused).
 *
 * @param chain The certificate itself first; the others in any order, those not needed are ignored. They are not trusted.
 * @param roots Trusted as they are, apart from their validity; their own signatures are not looked at.
 * @param at The time at which every certificate on the path must be valid.
 * @returns The path: the certificate first, the root last. Only the certificate, if it is a root itself.
 * @throws {SignetError} INTEGRITY if there is no such path, with the reason; INVALID_ARGUMENT if a certificate is
 *   malformed or there are none or too many
 */
export function verifyChain(
  chain: readonly Certificate[],
  roots: readonly Certificate[],
  at: Date,
): readonly Certificate[] {
  const [leaf, ...others] = chain;
  if (leaf === undefined || chain.length > MAX_CERTIFICATES) {
    throw new SignetError('INVALID_ARGUMENT', `a certificate chain has 1 to ${MAX_CERTIFICATES} certificates`);
  }
  return new PathSearch(others, roots, at).find(leaf);
}

/** Depth first; every certificate once per path, so a path is no longer than the chain. */
class PathSearch {
  readonly #others: readonly Certificate[];
  readonly #roots: readonly Certificate[];
  readonly #at: Date;
  #checks = 0;
  /** Of the longest path tried, which is the one that was meant. */
  #problem: { readonly length: number; readonly text: string } | undefined;

  constructor(others: readonly Certificate[], roots: readonly Certificate[], at: Date) {
    this.#others = others;
    this.#roots = roots;
    this.#at = at;
  }

  find(leaf: Certificate): readonly Certificate[] {
    const problem = problemOf(leaf, this.#at);
    const path = problem === undefined ? this.#extend([leaf], leaf) : undefined;
    if (path !== undefined) return path;
    const reason = problem ?? this.#problem?.text ?? `no certificate of its issuer ${leaf.issuer.text} is known`;
    throw new SignetError('INTEGRITY', `certificate ${leaf.subject.text} is not trusted: ${reason}`);
  }

  #extend(path: readonly Certificate[], last: Certificate): readonly Certificate[] | undefined {
    if (this.#roots.some((root) => isSame(root, last))) return path;
    for (const root of this.#roots) {
      if (this.#mayFollow(path, last, root, true)) return [...path, root];
    }
    for (const issuer of this.#others) {
      if (path.some((certificate) => isSame(certificate, issuer))) continue;
      if (!this.#mayFollow(path, last, issuer, false)) continue;
      const found = this.#extend([...path, issuer], issuer);
      if (found !== undefined) return found;
    }
    this.#note(path, `no certificate of the issuer ${last.issuer.text} is known`);
    return undefined;
  }

  #mayFollow(path: readonly Certificate[], last: Certificate, issuer: Certificate, isRoot: boolean): boolean {
    if (Buffer.compare(last.issuer.der, issuer.subject.der) !== 0) return false;
    const problem = problemOf(issuer, this.#at) ?? authorityProblem(issuer, path, isRoot) ?? this.#check(last, issuer);
    if (problem !== undefined) this.#note([...path, issuer], problem);
    return problem === undefined;
  }

  #check(certificate: Certificate, issuer: Certificate): string | undefined {
    if (++this.#checks > MAX_SIGNATURE_CHECKS) return 'too many certificates have the same name';
    if (certificate.signatureAlgorithm === undefined) {
      return `${certificate.subject.text} is signed with ${certificate.signatureAlgorithmOid}, which is not accepted`;
    }
    return isIssuedBy(certificate, issuer)
      ? undefined
      : `the signature on ${certificate.subject.text} is not by ${issuer.subject.text}`;
  }

  #note(path: readonly Certificate[], text: string): void {
    if (path.length > (this.#problem?.length ?? 0)) this.#problem = { length: path.length, text };
  }
}

function isSame(a: Certificate, b: Certificate): boolean {
  return Buffer.compare(a.der, b.der) === 0;
}

function problemOf(certificate: Certificate, at: Date): string | undefined {
  const name = certificate.subject.text;
  // §4.1.2.5: both ends belong to the period, in whole seconds.
  if (at.getTime() < certificate.notBefore.getTime()) {
    return `${name} is valid only from ${certificate.notBefore.toISOString()} on`;
  }
  if (!(at.getTime() < certificate.notAfter.getTime() + 1000)) {
    return `${name} expired at ${certificate.notAfter.toISOString()}`;
  }
  const unknown = [...certificate.extensions.values()].find(({ oid, critical }) => critical && !UNDERSTOOD.has(oid));
  return unknown === undefined ? undefined : `${name} has the unknown critical extension ${unknown.oid}`;
}

/** §6.1.4 (k) to (n). A root of version 1 has no extensions to say what it is; it is trusted as it is. */
function authorityProblem(issuer: Certificate, path: readonly Certificate[], isRoot: boolean): string | undefined {
  if (isRoot && issuer.version < 3) return undefined;
  const constraints = basicConstraintsOf(issuer.extensions);
  if (constraints?.isAuthority !== true) return `${issuer.subject.text} is not an authority`;
  if (keyUsageOf(issuer.extensions)?.has('keyCertSign') === false) {
    return `${issuer.subject.text} may not sign certificates`;
  }
  // Self-issued certificates do not count (§4.2.1.9), nor does the first of the path.
  const below = path.slice(1).filter(({ subject, issuer: by }) => Buffer.compare(subject.der, by.der) !== 0).length;
  if (constraints.pathLength !== undefined && below > constraints.pathLength) {
    return `${issuer.subject.text} allows ${constraints.pathLength} authorities below it, not ${below}`;
  }
  return undefined;
}
