import { describe, expect, it } from 'vitest';
import { ckaIdOfSlot, KEY_SLOTS, parseKeySlot, slotOfCkaId } from '../../../../src/backends/yubikey/piv-slots.ts';
import { chooseSlot, policiesBeside, policyAttributes } from '../../../../src/backends/yubikey/slot-choice.ts';
import { outcomeOf } from '../../../support/outcome.ts';

describe('CKA_IDs of slots', () => {
  it("are libykcs11 2's numbers", () => {
    const ids = ['9a', '9c', '9d', '9e', '82', '95', 'f9'].map((slot) =>
      Buffer.from(ckaIdOfSlot(slot)).toString('hex'),
    );
    expect(ids).toEqual(['01', '02', '03', '04', '05', '18', '19']);
  });

  it('lead back to the slots, and any others to none', () => {
    for (const slot of [...KEY_SLOTS, 'f9']) expect(slotOfCkaId(ckaIdOfSlot(slot))).toBe(slot);
    for (const id of [[], [0], [26], [255], [1, 0], [0, 1]]) expect(slotOfCkaId(Uint8Array.from(id))).toBeUndefined();
  });
});

it('slots are named in any case, the attestation key never', () => {
  expect(parseKeySlot('9C')).toBe('9c');
  expect(parseKeySlot('8F')).toBe('8f');
  for (const text of ['f9', 'F9', '', '81', '96', '9b', '9c ', '0x9c']) {
    expect(() => parseKeySlot(text)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  }
});

describe('chooseSlot', () => {
  const freeAre =
    (...slots: string[]) =>
    async (slot: string) =>
      slots.includes(slot);

  it('takes 9c, then 9a, then 9d, and no other by itself', async () => {
    expect(await chooseSlot({}, freeAre('9a', '9c', '9d', '9e', '82'))).toBe('9c');
    expect(await chooseSlot({}, freeAre('9a', '9d', '9e'))).toBe('9a');
    expect(await chooseSlot({}, freeAre('9d', '9e', '82'))).toBe('9d');
    expect(await outcomeOf(chooseSlot({}, freeAre('9e', '82')))).toMatchObject({ code: 'TOKEN_FULL' });
  });

  it('takes the named one only if it is free or may be overwritten', async () => {
    expect(await chooseSlot({ slot: '82' }, freeAre('82'))).toBe('82');
    expect(await outcomeOf(chooseSlot({ slot: '82' }, freeAre()))).toMatchObject({ code: 'KEY_EXISTS' });
    expect(await chooseSlot({ slot: '82', overwriteSlot: true }, freeAre())).toBe('82');
  });

  it('overwrites nothing that was not named', async () => {
    expect(await outcomeOf(chooseSlot({ overwriteSlot: true }, freeAre()))).toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});

describe('policies', () => {
  it('are asked for only where the slot has others by itself', () => {
    expect(policiesBeside('9c', { pinPolicy: 'always', touchPolicy: 'never' })).toEqual({});
    expect(policiesBeside('9a', { pinPolicy: 'once' })).toEqual({});
    expect(policiesBeside('9e', { pinPolicy: 'never' })).toEqual({});
    expect(policiesBeside('9a', { pinPolicy: 'always' })).toEqual({ pinPolicy: 'always' });
    expect(policiesBeside('9c', { touchPolicy: 'cached' })).toEqual({ touchPolicy: 'cached' });
  });

  it('are attributes since libykcs11 2.3, and too much for it before', () => {
    const policies = { pinPolicy: 'once', touchPolicy: 'always' } as const;
    expect(policyAttributes(policies, [2, 3, 0])).toEqual([
      [0xd9554201, 2],
      [0xd9554202, 2],
    ]);
    expect(policyAttributes(policies, [2, 2, 0])).toBeUndefined();
    expect(policyAttributes({}, [2, 2, 0])).toEqual([]);
  });
});
