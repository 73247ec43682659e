import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatPkcs11Uri, type Pkcs11Uri, parsePkcs11Uri } from '../../../../src/backends/pkcs11/uri.ts';

const text = (maxBytes: number) =>
  fc.string({ unit: 'grapheme', maxLength: maxBytes }).filter((value) => {
    return Buffer.byteLength(value) <= maxBytes && !value.includes('\0') && value.isWellFormed();
  });
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });

const uris: fc.Arbitrary<Pkcs11Uri> = fc
  .record({
    token: maybe(text(32)),
    manufacturer: maybe(text(32)),
    serial: maybe(text(16)),
    model: maybe(text(16)),
    libraryManufacturer: maybe(text(32)),
    libraryDescription: maybe(text(32)),
    libraryVersion: maybe(fc.constantFrom('1', '2.40', '3.0')),
    slotManufacturer: maybe(text(32)),
    slotDescription: maybe(text(64)),
    slotId: maybe(fc.integer({ min: 0, max: 0xffffffff })),
    object: maybe(text(200)),
    type: maybe(fc.constantFrom('public', 'private', 'cert', 'secret-key', 'data')),
    id: maybe(fc.uint8Array({ minLength: 1, maxLength: 64 }).map((bytes) => Buffer.from(bytes))),
    pinSource: maybe(text(200)),
    moduleName: maybe(text(200)),
    modulePath: maybe(text(200)),
  })
  .map((uri) => Object.fromEntries(Object.entries(uri).filter(([, value]) => value !== undefined)));

describe('pkcs11 URIs', () => {
  it('are read as they were written', () => {
    fc.assert(fc.property(uris, (uri) => void expect(parsePkcs11Uri(formatPkcs11Uri(uri))).toEqual(uri)));
  });

  it('are written in ASCII without white space', () => {
    fc.assert(fc.property(uris, (uri) => void expect(formatPkcs11Uri(uri)).toMatch(/^pkcs11:[!-~]*$/)));
  });

  it('never crash the reader, whatever follows the scheme', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (rest) => {
        try {
          parsePkcs11Uri(`pkcs11:${rest}`);
        } catch (error) {
          expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
        }
      }),
    );
  });

  it.each<[string, Pkcs11Uri]>([
    // The examples of RFC 7512 §3 that name tokens and keys.
    ['pkcs11:', {}],
    ['pkcs11:object=my-pubkey;type=public', { object: 'my-pubkey', type: 'public' }],
    [
      'pkcs11:object=my-key;type=private?pin-source=file:/etc/token',
      { object: 'my-key', type: 'private', pinSource: 'file:/etc/token' },
    ],
    [
      'pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;' +
        'object=my-certificate;type=cert;id=%69%95%3E%5C%F4%BD%EC%91;serial=?pin-source=file:/etc/token_pin',
      {
        token: 'The Software PKCS#11 Softtoken',
        manufacturer: 'Snake Oil, Inc.',
        model: '1.0',
        object: 'my-certificate',
        type: 'cert',
        id: Buffer.from('69953e5cf4bdec91', 'hex'),
        serial: '',
        pinSource: 'file:/etc/token_pin',
      },
    ],
    ['pkcs11:slot-description=Sun%20Metaslot', { slotDescription: 'Sun Metaslot' }],
    [
      'pkcs11:library-manufacturer=Snake%20Oil;library-version=3',
      { libraryManufacturer: 'Snake Oil', libraryVersion: '3' },
    ],
    ['pkcs11:token=%C3%A9;x-vend=a?x-more=b', { token: 'é' }],
    ['PKCS11:token=a=b&c', { token: 'a=b&c' }],
    ['pkcs11:?module-path=/usr/lib/a.so&module-name=a', { modulePath: '/usr/lib/a.so', moduleName: 'a' }],
  ])('%s is read', (uri, meaning) => {
    expect(parsePkcs11Uri(uri)).toEqual(meaning);
  });

  it.each([
    ['pkcs12:token=a', 'it does not begin with "pkcs11:"'],
    [`pkcs11:object=${'a'.repeat(20_000)}`, 'longer than 16384 characters'],
    ['pkcs11:token=a;token=b', '"token" is given twice'],
    ['pkcs11:token=a;', 'an attribute of its path has no name or no value'],
    ['pkcs11:=a', 'an attribute of its path has no name or no value'],
    ['pkcs11:token', 'an attribute of its path has no name or no value'],
    ['pkcs11:token=a?pin-value=1234', 'pin-value would store the PIN'],
    ['pkcs11:pin-value=1234', 'pin-value would store the PIN'],
    ['pkcs11:tokens=a', 'unknown attribute "tokens" in its path'],
    ['pkcs11:module-path=/a', 'unknown attribute "module-path" in its path'],
    ['pkcs11:?token=a', 'unknown attribute "token" in its query'],
    ['pkcs11:token=a b', 'a character of "token" must be percent-encoded'],
    ['pkcs11:token=a/b', 'a character of "token" must be percent-encoded'],
    ['pkcs11:token=é', 'a character of "token" must be percent-encoded'],
    ['pkcs11:token=%4', '"token" has an incomplete percent-encoding'],
    ['pkcs11:token=%zz', '"token" has an incomplete percent-encoding'],
    ['pkcs11:token=%FF', '"token" is not UTF-8'],
    ['pkcs11:token=%00', '"token" has a NUL character'],
    [`pkcs11:token=${'a'.repeat(33)}`, '"token" is longer than 32 bytes'],
    [`pkcs11:serial=${'a'.repeat(17)}`, '"serial" is longer than 16 bytes'],
    ['pkcs11:id=', '"id" is empty'],
    ['pkcs11:slot-id=-1', '"slot-id" is not a number'],
    ['pkcs11:slot-id=4294967296', '"slot-id" is not a number'],
    ['pkcs11:type=key', '"type" is not one of public, private, cert, secret-key, data'],
    ['pkcs11:library-version=a', '"library-version" is not a version'],
  ])('%s is refused', (uri, problem) => {
    expect(() => parsePkcs11Uri(uri)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: `malformed pkcs11 URI: ${problem}` }),
    );
  });
});
