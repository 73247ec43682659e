import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { type Template, toNative } from '../../../../src/backends/pkcs11/template.ts';

it('copies numbers, booleans and bytes', () => {
  const bytes = Uint8Array.of(1, 2, 3);
  const native = toNative([
    [0, 0xffffffff],
    [1, true],
    [2, bytes],
  ]);
  expect(native).toEqual([
    { type: 0, value: 0xffffffff },
    { type: 1, value: true },
    { type: 2, value: Buffer.of(1, 2, 3) },
  ]);
  bytes.fill(0);
  expect(native[2]?.value).toEqual(Buffer.of(1, 2, 3));
});

/** Each of these would end the process in the bindings, or be cut to another value. */
it.each<[unknown]>([[{}], [[1]], [null], [undefined], ['text'], [1n], [-1], [1.5], [Number.NaN], [2 ** 32], [() => 1]])(
  'never lets the value %s through',
  (value) => {
    expect(() => toNative([[3, value]] as unknown as Template)).toThrow(TypeError);
  },
);

it('never lets an attribute without a type through', () => {
  for (const type of [undefined, null, '3', -1, 0.5, {}, 2 ** 32]) {
    expect(() => toNative([[type, true]] as unknown as Template)).toThrow('an attribute that has no type');
  }
});

it('lets nothing through but what it returns, whatever it is given', () => {
  void fc.assert(
    fc.property(fc.anything(), fc.anything(), (type, value) => {
      let native: ReturnType<typeof toNative>;
      try {
        native = toNative([[type, value]] as unknown as Template);
      } catch (error) {
        return error instanceof TypeError;
      }
      const [{ type: t, value: v } = { type: -1, value: '' }] = native;
      const isNumber = (n: unknown) => typeof n === 'number' && n >>> 0 === n;
      return isNumber(t) && (isNumber(v) || typeof v === 'boolean' || Buffer.isBuffer(v));
    }),
  );
});
