import { describe, expect, it } from 'vitest';
import { DEFAULT_PLACEMENT, placesFor } from '../../../src/keyring/placement.ts';

describe('the places for a new key', () => {
  const placement = new Map([
    ['root', ['yubikey', 'storage']],
    ['*', ['storage']],
  ]);

  it('are those of its role, in order', () => {
    expect(placesFor(placement, 'root')).toEqual(['yubikey', 'storage']);
  });

  it.each(['targets', '', 'Root', 'constructor'])('are those of "*" for role %j without a rule', (role) => {
    expect(placesFor(placement, role)).toEqual(['storage']);
  });

  it('are the storage by default', () => {
    expect(placesFor(DEFAULT_PLACEMENT, 'root')).toEqual(['storage']);
  });

  it.each([
    [new Map<string, string[]>()],
    [new Map([['targets', ['storage']]])],
    [
      new Map([
        ['root', []],
        ['*', ['storage']],
      ]),
    ],
  ])('are a CONFIGURATION error where the rules give none, never a fall-back', (rules) => {
    const expected = {
      code: 'CONFIGURATION',
      message: 'placement says nothing about keys of role "root"',
      hint: 'add a rule for the role or for "*"',
    };
    expect(() => placesFor(rules, 'root')).toThrow(expect.objectContaining(expected));
  });
});
