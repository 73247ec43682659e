import { describe, expect, it } from 'vitest';
import { strengthOf, trimmedLength } from '../../../src/cli/prompts/strength.ts';

const strength = (text: string) => strengthOf(Buffer.from(text));

describe('strengthOf', () => {
  it.each([
    ['password1', 'weak'],
    ['Passphrase', 'weak'],
    ['12345678901234567890', 'weak'],
    ['aaaaaaaaaaaaaaaaaaaaaaaa', 'weak'],
    ['qwertyuiopasdfghjkl', 'weak'],
    ['abcdefghijklmnopqrst', 'weak'],
    ['', 'weak'],
    ['Xk7#mQ2$vL9p', 'fair'],
    ['correct horse battery staple', 'good'],
    ['f3a9c1e07b52d84610fe', 'good'],
    ['Straßenbahnhaltestelle ÄÖÜ', 'good'],
  ])('calls %j %s', (text, expected) => {
    expect(strength(text)).toBe(expected);
  });
});

describe('trimmedLength', () => {
  it.each([
    ['', 0],
    [' \t\r\n\v\f', 0],
    ['  a b  ', 3],
    ['ü', 2],
    ['\u00a0a', 3], // notary trims it too, but nobody types it by mistake
  ])('%j has %i bytes between its blanks', (text, length) => {
    expect(trimmedLength(Buffer.from(text))).toBe(length);
  });
});
