import { describe, expect, it } from 'vitest';
import { ckrName, ckrOf, fromCkr, fromPkcs11Error, fromSoPinError } from '../../../../src/backends/pkcs11/ckr.ts';
import { CKR } from '../../../../src/backends/pkcs11/constants.ts';
import { SignetError } from '../../../../src/errors.ts';

describe('return values of PKCS#11', () => {
  it.each([
    ['MECHANISM_INVALID', 'UNSUPPORTED'],
    ['FUNCTION_NOT_SUPPORTED', 'UNSUPPORTED'],
    ['USER_NOT_LOGGED_IN', 'PIN_REQUIRED'],
    ['PIN_LOCKED', 'PIN_LOCKED'],
    ['PIN_INCORRECT', 'PIN_INCORRECT'],
    ['TOKEN_NOT_PRESENT', 'TOKEN_NOT_PRESENT'],
    ['DEVICE_REMOVED', 'TOKEN_NOT_PRESENT'],
    ['SESSION_COUNT', 'TOKEN_BUSY'],
    ['DEVICE_MEMORY', 'TOKEN_FULL'],
    ['DEVICE_ERROR', 'UNAVAILABLE'],
    ['ARGUMENTS_BAD', 'INTERNAL'],
  ] as const)('CKR_%s is %s', (name, code) => {
    expect(fromCkr(CKR[name], 'cannot sign')).toMatchObject({ code, message: `cannot sign (CKR_${name})` });
  });

  it('have a name whatever they are', () => {
    expect([CKR.CURVE_NOT_SUPPORTED, 0x1f0, 0x80000012].map(ckrName)).toEqual([
      'CKR_CURVE_NOT_SUPPORTED',
      'CKR_0x1f0',
      'CKR_VENDOR_DEFINED+0x12',
    ]);
    expect(fromCkr(0x80000012, 'cannot sign')).toMatchObject({ code: 'INTERNAL' });
  });

  it('are found in both kinds of errors that the bindings throw, by number', () => {
    expect(ckrOf(Object.assign(new Error('CKR_PIN_INCORRECT'), { code: 160 }))).toBe(CKR.PIN_INCORRECT);
    expect(ckrOf(new Error('CKR_OBJECT_HANDLE_INVALID:130\n    at Error at PKCS11.C_FindObjects'))).toBe(0x82);
    // The bindings do not know the name.
    expect(ckrOf(new Error('CKR_VENDOR_DEFINED:320'))).toBe(CKR.CURVE_NOT_SUPPORTED);
    expect(ckrOf(new TypeError('Argument 0 has wrong type'))).toBeUndefined();
    expect(ckrOf('CKR_X:1')).toBeUndefined();
  });

  it('keep our own errors as they are, and hide what else the bindings say', () => {
    const ours = new SignetError('KEY_NOT_FOUND', 'no key');
    expect(fromPkcs11Error(ours, 'cannot sign')).toBe(ours);
    const foreign = new TypeError('secret');
    expect(fromPkcs11Error(foreign, 'cannot sign')).toMatchObject({ code: 'INTERNAL', message: 'cannot sign' });
  });

  it.each([
    ['PIN_INCORRECT', 'the PIN is wrong'],
    ['PIN_INVALID', 'the PIN has characters that the token does not take'],
    ['PIN_LEN_RANGE', 'the PIN is shorter or longer than the token takes'],
  ] as const)('tell people what %s means', (name, hint) => {
    expect(fromCkr(CKR[name], 'login failed')).toMatchObject({ code: 'PIN_INCORRECT', hint });
  });

  it.each([
    ['PIN_INCORRECT', 'PIN_INCORRECT', 'the SO PIN is wrong'],
    ['PIN_INVALID', 'PIN_INCORRECT', 'the SO PIN has characters that the token does not take'],
    ['PIN_LEN_RANGE', 'PIN_INCORRECT', 'the SO PIN is shorter or longer than the token takes'],
    ['PIN_LOCKED', 'PIN_LOCKED', 'only the maker of the token can say what is to be done about that'],
    ['TOKEN_WRITE_PROTECTED', 'UNSUPPORTED', 'the token is write-protected'],
  ] as const)('tell people what %s means of an SO PIN', (name, code, hint) => {
    const error = Object.assign(new Error(name), { code: CKR[name] });
    expect(fromSoPinError(error, 'login failed')).toMatchObject({
      code,
      message: `login failed (CKR_${name})`,
      hint,
      cause: error,
    });
  });

  it('carry the tries that are left', () => {
    expect(fromCkr(CKR.PIN_INCORRECT, 'login failed', { retriesLeft: 1 })).toMatchObject({ retriesLeft: 1 });
  });
});
