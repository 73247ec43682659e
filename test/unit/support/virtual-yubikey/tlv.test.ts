import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseTlvs, tlv } from '../../../support/virtual-yubikey/card/tlv.ts';

const tag = fc.constantFrom(0x53, 0x5c, 0x7c, 0x80, 0xab, 0x7f49, 0x7f61, 0x5fc105, 0x5fff01);
const value = fc.uint8Array({ maxLength: 700 });
const refused = expect.objectContaining({ statusWord: 0x6a80 });

test('reads what it writes', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(tag, value), { maxLength: 5 }), (objects) => {
      const bytes = Buffer.concat(objects.map(([tag, value]) => tlv(tag, value)));
      expect(parseTlvs(bytes)).toEqual(objects.map(([tag, value]) => ({ tag, value: Buffer.from(value) })));
    }),
  );
});

test('refuses any other bytes with 6A80 and nothing else', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        const length = parseTlvs(Buffer.from(bytes)).reduce((sum, object) => sum + object.value.length, 0);
        expect(length).toBeLessThanOrEqual(bytes.length);
      } catch (error) {
        expect(error).toEqual(refused);
      }
    }),
  );
});

test.each([
  ['a value that ends early', '5303aabb'],
  ['a tag that ends early', '5fc1'],
  ['a tag of four octets', '5fc1818100'],
  ['an indefinite length', '538000'],
  ['a length of three octets', '5383000001aa'],
  ['a length that ends early', '5382ff'],
])('refuses %s', (_what, hex) => {
  expect(() => parseTlvs(Buffer.from(hex, 'hex'))).toThrow(refused);
});
