import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isYubikeyUri, nameOfYubikey, parseYubikeyUri } from '../../../../src/backends/yubikey/uri.ts';

describe('parseYubikeyUri', () => {
  it.each([
    ['yubikey:', {}],
    ['yubikey:serial=12345678', { serial: '12345678' }],
    ['YUBIKEY:serial=4294967295', { serial: '4294967295' }],
    ['yubikey:?pin-source=file:/run/pin', { pinSource: 'file:/run/pin' }],
    [
      'yubikey:serial=1?module-path=/opt/libykcs11.so&pin-source=/pin',
      { serial: '1', modulePath: '/opt/libykcs11.so', pinSource: '/pin' },
    ],
    ['yubikey:serial=1;x-note=blue', { serial: '1' }],
  ])('reads %s', (text, uri) => {
    expect(parseYubikeyUri(text)).toEqual(uri);
  });

  it.each([
    ['pkcs11:serial=1', 'it does not begin with "yubikey:"'],
    ['yubikey:serial=', 'serial is not the number printed on the device'],
    ['yubikey:serial=0', 'serial is not the number printed on the device'],
    ['yubikey:serial=01', 'serial is not the number printed on the device'],
    ['yubikey:serial=4294967296', 'serial is not the number printed on the device'],
    ['yubikey:serial=abc', 'serial is not the number printed on the device'],
    ['yubikey:serial=1;serial=2', '"serial" is given twice'],
    ['yubikey:token=x', 'it has other attributes than serial, pin-source and module-path'],
    ['yubikey:id=%02', 'it has other attributes than serial, pin-source and module-path'],
    ['yubikey:?pin-value=123456', 'pin-value would store the PIN'],
    ['yubikey:serail=1', 'unknown attribute "serail" in its path'],
  ])('refuses %s', (text, problem) => {
    expect(() => parseYubikeyUri(text)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: `malformed yubikey URI: ${problem}` }),
    );
  });

  it('reads every serial number as its name is written', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 0xffffffff }), (number) => {
        const serial = String(number);
        expect(parseYubikeyUri(nameOfYubikey({ serial }))).toEqual({ serial });
      }),
    );
  });

  it('throws nothing but its own error', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parseYubikeyUri(`yubikey:${text}`);
        } catch (error) {
          expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
        }
      }),
    );
  });
});

it('isYubikeyUri goes by the scheme alone', () => {
  expect(['yubikey:', 'YubiKey:x', 'yubikeys:', 'pkcs11:yubikey:', ''].map(isYubikeyUri)).toEqual([
    true,
    true,
    false,
    false,
    false,
  ]);
});
