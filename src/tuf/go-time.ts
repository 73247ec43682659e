/** Instants as Go's `time.Time` reads and writes them in JSON (RFC 3339 with at most nine digits of fraction). */
import { SignetError } from '../errors.ts';
import type { JsonSubject } from './json.ts';

/** An instant together with its text, because nanoseconds and the writer's time zone are part of what is signed. */
export interface GoTime {
  /** What Go writes: no trailing zeros in the fraction, `Z` for an offset of zero. */
  readonly text: string;
  /** Since the Unix epoch, rounded down. */
  readonly milliseconds: number;
}

const FORM = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|([+-])(\d\d):(\d\d))$/;

/**
 * Reads a time as Go does and gives the text that Go would write for it.
 *
 * @throws {SignetError} The subject's code if the text is no such time
 */
export function parseGoTime(text: string, subject: JsonSubject): GoTime {
  const match = text.length <= 64 ? FORM.exec(text) : null;
  const fail = (): never => {
    throw new SignetError(subject.code, `malformed ${subject.what}: the time of expiry is not as in RFC 3339`);
  };
  if (match === null) return fail();
  const [, year, month, day, hour, minute, second, fraction = '', zone = '', sign, zoneHour = '0', zoneMinute = '0'] =
    match;
  const local = `${year}-${month}-${day}T${hour}:${minute}:${second}`;
  const localMs = Date.parse(`${local}Z`);
  // Date.parse takes February 30th and 24:00:00
  if (Number.isNaN(localMs) || !new Date(localMs).toISOString().startsWith(local)) return fail();
  if (Number(zoneHour) > 23 || Number(zoneMinute) > 59) return fail();
  const offsetMinutes = (Number(zoneHour) * 60 + Number(zoneMinute)) * (sign === '-' ? -1 : 1);
  const digits = fraction.slice(0, 9).replace(/0+$/, '');
  return {
    text: `${local}${digits === '' ? '' : `.${digits}`}${offsetMinutes === 0 ? 'Z' : zone}`,
    milliseconds: localMs + Number(fraction.slice(0, 3).padEnd(3, '0')) - offsetMinutes * 60_000,
  };
}

/** @param instant Of the years 0 to 9999. @returns The instant in UTC. */
export function goTimeOf(instant: Date): GoTime {
  const text = instant.toISOString().replace(/\.?0*Z$/, 'Z');
  return { text, milliseconds: instant.getTime() };
}
