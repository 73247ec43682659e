/** Which root a collection that is not known yet may have: Notary's `trust_pinning`. */
import type { X509Certificate } from 'node:crypto';
import { SignetError } from '../errors.ts';
import { type LeafBundle, parseCertificates } from './certificate-bundle.ts';
import { chainsTo } from './certificate-chain.ts';
import { type TufKey, tufKeyId } from './tuf-key.ts';

/** GUNs and prefixes are taken as they are written, capitals included. */
export interface TrustPinning {
  /** By GUN, or by a prefix followed by `*`: IDs of root certificates as root.json names them. */
  readonly certs: ReadonlyMap<string, readonly string[]>;
  /** By prefix of the GUN: PEM of the CAs that may have issued its root certificate. */
  readonly ca: ReadonlyMap<string, Uint8Array>;
  /** Refuses GUNs without a pin, instead of trusting the first root that the server shows. */
  readonly disableTofu: boolean;
}

/** As many as a system's own bundle may have. */
const MAX_ANCHORS = 1000;

/** No pins: the first root is trusted. */
export const TRUST_ON_FIRST_USE: TrustPinning = { certs: new Map(), ca: new Map(), disableTofu: false };

/** A root key together with its certificates. */
export interface RootCertificate {
  readonly key: TufKey;
  readonly bundle: LeafBundle;
}

/** Whether a root certificate is what the pins ask for. */
export type PinCheck = (certificate: RootCertificate) => boolean;

/**
 * Chooses the pin for a GUN: its own `certs`, the longest `certs` prefix, the longest `ca` prefix, trust on first use.
 *
 * @throws {SignetError} METADATA_REJECTED without a pin if `disableTofu`, CONFIGURATION if the pinned CA is none
 */
export function pinCheckFor(pinning: TrustPinning, gun: string, now: Date): PinCheck {
  const keyIds = pinning.certs.get(gun) ?? longest(wildcards(pinning.certs), gun);
  if (keyIds !== undefined) return ({ key }) => keyIds.includes(tufKeyId(key));
  const ca = longest(pinning.ca, gun);
  if (ca !== undefined) {
    const anchors = parseAnchors(ca);
    return ({ bundle }) => chainsTo(bundle, anchors, now);
  }
  if (!pinning.disableTofu) return () => true;
  throw new SignetError(
    'METADATA_REJECTED',
    'could not validate the path to a trusted root: invalid trust pinning specified',
    { hint: `pin the root certificate of ${gun} in trust_pinning, or do not set disable_tofu` },
  );
}

function wildcards(certs: TrustPinning['certs']): ReadonlyMap<string, readonly string[]> {
  return new Map([...certs].filter(([name]) => name.endsWith('*')).map(([name, ids]) => [name.slice(0, -1), ids]));
}

/** The value of the longest prefix of the GUN. */
function longest<T>(byPrefix: ReadonlyMap<string, T>, gun: string): T | undefined {
  const prefixes = [...byPrefix.keys()].filter((prefix) => gun.startsWith(prefix));
  const [prefix] = prefixes.sort((a, b) => b.length - a.length);
  return prefix === undefined ? undefined : byPrefix.get(prefix);
}

function parseAnchors(pem: Uint8Array): readonly X509Certificate[] {
  try {
    return parseCertificates(pem, MAX_ANCHORS);
  } catch (cause) {
    throw new SignetError('CONFIGURATION', 'trust_pinning.ca: could not load root cert from CA path', { cause });
  }
}
