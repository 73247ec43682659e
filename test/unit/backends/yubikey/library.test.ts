import { describe, expect, it } from 'vitest';
import { CKM } from '../../../../src/backends/pkcs11/constants.ts';
import { canMake } from '../../../../src/backends/pkcs11/key-kinds.ts';
import { mechanismsOfDevice, seesEveryKey } from '../../../../src/backends/yubikey/library.ts';

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

describe('a library', () => {
  const sees = (version: string, firmware: string) =>
    seesEveryKey({
      module: { version, manufacturer: 'Yubico (www.yubico.com)', description: '' },
      facts: { firmware },
    });

  it.each([
    ['2.20', '5.43', true],
    ['2.50', '5.71', true],
    ['2.72', '5.71', true],
    ['2.72', 'unreadable', true],
    ['2.20', '5.71', false],
    ['2.42', '5.71', false],
    ['2.20', 'unreadable', false],
    ['unreadable', '5.71', false],
  ])('%s sees every key of firmware %s: %s', (version, firmware, isSo) => {
    expect(sees(version, firmware)).toBe(isSo);
  });
});
