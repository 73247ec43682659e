import { describe, expect, it } from 'vitest';
import { CKM } from '../../../../src/backends/pkcs11/constants.ts';
import { canMake } from '../../../../src/backends/pkcs11/key-kinds.ts';
import { checkSeesKeyIn, mechanismsOfDevice } from '../../../../src/backends/yubikey/library.ts';

describe('what a YubiKey can do', () => {
  // As libykcs11 2.7.2 tells it, whatever the firmware.
  const mechanisms = [
    { mechanism: CKM.EC_KEY_PAIR_GEN, minBits: 256, maxBits: 384 },
    { mechanism: CKM.ECDSA, minBits: 256, maxBits: 384 },
    { mechanism: CKM.EC_EDWARDS_KEY_PAIR_GEN, minBits: 255, maxBits: 255 },
    { mechanism: CKM.EDDSA, minBits: 255, maxBits: 255 },
  ];
  const of = (firmware: string) => mechanismsOfDevice({ facts: { firmware }, mechanisms });

  it.each([
    ['5.43', false],
    ['5.69', false],
    ['5.70', true],
    ['5.71', true],
    ['6.0', true],
    ['unreadable', false],
  ])('firmware %s has Ed25519: %s', (firmware, hasEd25519) => {
    expect(canMake('Ed25519', of(firmware))).toBe(hasEd25519);
    expect(canMake('P-256', of(firmware))).toBe(true);
  });
});

describe('an empty slot', () => {
  const look = (version: string, firmware: string) => () =>
    checkSeesKeyIn('9c', {
      module: { version, manufacturer: 'Yubico (www.yubico.com)', description: '' },
      facts: { firmware },
    });

  it('is believed to be one below firmware 5.7, and of a library that knows its keys', () => {
    for (const [version, firmware] of [
      ['2.20', '5.43'],
      ['2.50', '5.71'],
      ['2.72', '5.71'],
    ] as const) {
      expect(look(version, firmware)).not.toThrow();
    }
    for (const [version, firmware] of [
      ['2.20', '5.71'],
      ['2.42', '5.71'],
      ['2.20', 'unreadable'],
    ] as const) {
      expect(look(version, firmware)).toThrow(/does not see every key of this YubiKey: slot 9c may not be empty/);
    }
  });
});
