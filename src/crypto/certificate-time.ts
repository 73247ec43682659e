/** Times of certificates (RFC 5280 §4.1.2.5): whole seconds, always in UTC. */
import { SignetError } from '../errors.ts';
import { DER_TAG, type DerNode, type DerReader } from './der.ts';

const UTC_TIME = /^(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/;
const GENERALIZED_TIME = /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/;

/**
 * UTCTime through 2049, GeneralizedTime from 2050 on. Fractions of a second are cut off.
 *
 * @throws {SignetError} INVALID_ARGUMENT for an invalid date or a year that has not four digits
 */
export function derTime(date: Date): DerNode {
  const year = date.getUTCFullYear();
  if (Number.isNaN(year) || year < 0 || year > 9999) {
    throw new SignetError('INVALID_ARGUMENT', 'a date in a certificate is not one of the years 0 to 9999');
  }
  const digits = date.toISOString().slice(0, 19).replaceAll(/\D/g, '');
  const isShort = year >= 1950 && year < 2050;
  return {
    tag: isShort ? DER_TAG.UTC_TIME : DER_TAG.GENERALIZED_TIME,
    content: Buffer.from(`${isShort ? digits.slice(2) : digits}Z`),
  };
}

/** Reads the next element as Time. @throws {SignetError} the reader's code */
export function readTime(reader: DerReader, name: string): Date {
  const { tag, content } = reader.readElement(name);
  if (tag !== DER_TAG.UTC_TIME && tag !== DER_TAG.GENERALIZED_TIME) reader.fail(`${name} is not a time`);
  const isShort = tag === DER_TAG.UTC_TIME;
  const text = Buffer.from(content).toString('latin1');
  const fields = (isShort ? UTC_TIME : GENERALIZED_TIME).exec(text)?.slice(1).map(Number);
  if (fields === undefined) return reader.fail(`${name} is not a time in UTC with seconds`);
  const [first = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = fields;
  const year = isShort ? first + (first < 50 ? 2000 : 1900) : first;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  // Date carries over: a 31st of February would become the 3rd of March.
  if (
    date
      .toISOString()
      .slice(isShort ? 2 : 0, 19)
      .replaceAll(/\D/g, '') !== text.slice(0, -1)
  ) {
    reader.fail(`${name} is not a date of the calendar`);
  }
  return date;
}
