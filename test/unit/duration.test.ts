import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatDuration, parseDuration } from '../../src/duration.ts';

describe('parseDuration', () => {
  it.each([
    ['0', 0],
    ['0s', 0],
    ['30s', 30_000],
    ['1h', 3_600_000],
    ['1h30m', 5_400_000],
    ['500ms', 500],
    ['1.5s', 1500],
    ['.5s', 500],
    ['1.s', 1000],
    ['1m1m', 120_000],
    ['1.001s', 1001],
    ['4.35s', 4350],
  ])('reads %s as Go does', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  it.each(['1ns', '1us', '1\u00b5s', '1\u03bcs', '0.0001ms'])('rounds %s up, never to zero', (text) => {
    expect(parseDuration(text)).toBe(1);
  });

  it.each([
    '',
    '1',
    '10',
    's',
    '.s',
    '1 s',
    ' 1s',
    '1s ',
    '-1s',
    '+1s',
    '1d',
    '1S',
    '1h30',
    'h1',
    '1,5s',
    '١s',
    '1e3s',
  ])('rejects "%s"', (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });

  it('rejects a text of more than 64 characters', () => {
    expect(parseDuration(`${'1'.repeat(63)}s`)).toBeDefined();
    expect(parseDuration(`${'1'.repeat(64)}s`)).toBeUndefined();
  });

  it('reads back whatever formatDuration writes', () => {
    fc.assert(fc.property(fc.nat(), (ms) => parseDuration(formatDuration(ms)) === ms));
  });

  it('answers any text with a whole number of milliseconds or undefined', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const value = parseDuration(text);
        expect(value === undefined || (Number.isInteger(value) && value >= 0)).toBe(true);
      }),
    );
  });
});

describe('formatDuration', () => {
  it.each([
    [0, '0s'],
    [1, '1ms'],
    [90_000, '90s'],
    [120_000, '2m'],
    [576 * 3_600_000, '576h'],
  ])('writes %d ms as %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });
});
