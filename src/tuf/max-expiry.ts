/** How far in the future metadata may expire. Whoever has old metadata may show it as the newest until then. */
import { SignetError } from '../errors.ts';
import { goTimeOf } from './go-time.ts';
import type { Metadata } from './metadata.ts';
import { DAY_MS, VALIDITY_DAYS } from './next-version.ts';

/** Days from now. Delegations are targets. */
export type MaxExpiryDays = Readonly<Record<Metadata['type'], number>>;

/** Notary's periods: what is signed now never exceeds them. */
export const DEFAULT_MAX_EXPIRY_DAYS: MaxExpiryDays = VALIDITY_DAYS;

/** The same metadata, to be signed now, which expires when it would, or at the cap if that is earlier. */
export function capExpiry<T extends Metadata>(metadata: T, days: MaxExpiryDays, now: Date): T {
  const latest = latestExpiry(metadata.type, days, now);
  return metadata.expires.milliseconds <= latest.getTime() ? metadata : { ...metadata, expires: goTimeOf(latest) };
}

/**
 * Checks metadata that was signed before and is to be published as it is.
 *
 * @param role For the message.
 * @param hint What to do about it.
 * @throws {SignetError} METADATA_REJECTED if it expires after the cap
 */
export function requireExpiryWithinCap(
  { type, expires }: Metadata,
  days: MaxExpiryDays,
  now: Date,
  { role, hint }: { readonly role: string; readonly hint: string },
): void {
  if (expires.milliseconds <= latestExpiry(type, days, now).getTime()) return;
  throw new SignetError(
    'METADATA_REJECTED',
    `${role} expires at ${expires.text}, more than ${days[type]} days from now, which is the longest allowed`,
    { hint },
  );
}

function latestExpiry(type: Metadata['type'], days: MaxExpiryDays, now: Date): Date {
  return new Date(now.getTime() + days[type] * DAY_MS);
}
