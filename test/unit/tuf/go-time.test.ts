import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { goTimeOf, parseGoTime } from '../../../src/tuf/go-time.ts';
import type { JsonSubject } from '../../../src/tuf/json.ts';

const SUBJECT: JsonSubject = { what: 'root metadata', code: 'METADATA_REJECTED' };

const instants = fc.date({
  min: new Date('0000-01-01T00:00:00Z'),
  max: new Date('9999-12-31T23:59:59.999Z'),
  noInvalidDate: true,
});

describe('parseGoTime', () => {
  // What Notary's own library wrote for these.
  it.each([
    ['2029-11-19T06:16:24.120Z', '2029-11-19T06:16:24.12Z'],
    ['2029-11-19T06:16:24.000Z', '2029-11-19T06:16:24Z'],
    ['2029-11-19T06:16:24Z', '2029-11-19T06:16:24Z'],
    ['2029-11-19T06:16:24+00:00', '2029-11-19T06:16:24Z'],
    ['2029-11-19T06:16:24.123456789-05:00', '2029-11-19T06:16:24.123456789-05:00'],
    ['2029-11-19T06:16:24.1234567891Z', '2029-11-19T06:16:24.123456789Z'],
  ])('%s is written as %s', (text, written) => {
    expect(parseGoTime(text, SUBJECT).text).toBe(written);
  });

  it('tells the instant whatever the zone', () => {
    expect(parseGoTime('2029-11-19T01:16:24.5-05:00', SUBJECT).milliseconds).toBe(
      Date.UTC(2029, 10, 19, 6, 16, 24, 500),
    );
    expect(parseGoTime('2029-11-19T06:16:24.999999999+05:30', SUBJECT).milliseconds).toBe(
      Date.UTC(2029, 10, 19, 0, 46, 24, 999),
    );
  });

  it('what it writes for any fraction and zone is read as the same instant, and written as it is', () => {
    const two = (max: number) => fc.nat(max).map((number) => String(number).padStart(2, '0'));
    const zone = fc.oneof(
      fc.constant('Z'),
      fc
        .tuple(fc.constantFrom('+', '-'), two(23), two(59))
        .map(([sign, hours, minutes]) => `${sign}${hours}:${minutes}`),
    );
    const fraction = fc.stringMatching(/^(\.[0-9]{1,12})?$/);
    fc.assert(
      fc.property(instants, fraction, zone, (instant, digits, offset) => {
        const given = parseGoTime(`${instant.toISOString().slice(0, 19)}${digits}${offset}`, SUBJECT);
        expect(given.text).toMatch(/^[^.]{19}(\.\d{0,8}[1-9])?(Z|[+-](?!00:00)\d\d:\d\d)$/);
        expect(parseGoTime(given.text, SUBJECT)).toEqual(given);
        // Date.parse knows milliseconds
        const expected = Date.parse(given.text.replace(/(\.\d{3})\d+/, '$1'));
        expect(given.milliseconds).toBe(expected);
      }),
    );
  });

  it.each([
    '2029-11-19t06:16:24z',
    '2029-02-30T00:00:00Z',
    '2029-13-01T00:00:00Z',
    '2029-11-19T24:00:00Z',
    '2029-11-19T06:16:60Z',
    '2029-11-19T06:16:24',
    '2029-11-19T06:16:24.Z',
    '2029-11-19T06:16:24+24:00',
    '2029-11-19 06:16:24Z',
    '+002029-11-19T06:16:24Z',
    `2029-11-19T06:16:24.${'0'.repeat(100)}Z`,
    '',
  ])('refuses %j', (text) => {
    expect(() => parseGoTime(text, SUBJECT)).toThrow(
      expect.objectContaining({
        code: 'METADATA_REJECTED',
        message: 'malformed root metadata: the time of expiry is not as in RFC 3339',
      }),
    );
  });
});

describe('goTimeOf', () => {
  it('writes what is read back as itself', () => {
    fc.assert(
      fc.property(instants, (instant) => {
        const time = goTimeOf(instant);
        expect(time.milliseconds).toBe(instant.getTime());
        expect(parseGoTime(time.text, SUBJECT)).toEqual(time);
      }),
    );
  });

  it('cuts trailing zeros of the fraction, never of the seconds', () => {
    expect(goTimeOf(new Date('2029-11-19T06:16:20.120Z')).text).toBe('2029-11-19T06:16:20.12Z');
    expect(goTimeOf(new Date('2029-11-19T06:10:00.000Z')).text).toBe('2029-11-19T06:10:00Z');
  });
});
