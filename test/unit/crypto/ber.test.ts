import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { berToDer } from '../../../src/crypto/ber.ts';
import { type DerNode, encodeDer } from '../../../src/crypto/der.ts';
import { SignetError } from '../../../src/errors.ts';

const SUBJECT = { what: 'test', code: 'INVALID_ARGUMENT' } as const;
const convert = (hex: string) => berToDer(Buffer.from(hex, 'hex'), SUBJECT).toString('hex');

/** Any tree of DER, constructed and primitive elements alternating as they come. */
const { node } = fc.letrec<{ node: DerNode }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 5 },
    fc.record({ tag: fc.constantFrom(0x02, 0x04, 0x0c, 0x80), content: fc.uint8Array({ maxLength: 200 }) }),
    fc.record({ tag: fc.constantFrom(0x30, 0x31, 0xa0), content: fc.array(tie('node'), { maxLength: 4 }) }),
  ),
}));

/** The same tree in BER: indefinite lengths, strings in pieces. */
function toBer({ tag, content }: DerNode): Buffer {
  const end = Buffer.of(0, 0);
  if (!(content instanceof Uint8Array)) {
    return Buffer.concat([Buffer.of(tag, 0x80), ...content.map(toBer), end]);
  }
  const long = (identifier: number, bytes: Uint8Array) =>
    Buffer.concat([Buffer.of(identifier, 0x84, 0, 0, 0, bytes.byteLength), bytes]);
  if (tag !== 0x04) return long(tag, content);
  const half = Math.floor(content.byteLength / 2);
  return Buffer.concat([
    Buffer.of(0x24, 0x80),
    long(0x04, content.subarray(0, half)),
    long(0x04, content.subarray(half)),
    end,
  ]);
}

describe('berToDer', () => {
  it.each([
    ['leaves DER as it is', '30060201010401ff', '30060201010401ff'],
    ['makes lengths definite', '3080020101a0800500' + '00000000', '30070201' + '01a0020500'],
    ['makes lengths minimal', '30840000000402810105', '3003020105'],
    ['joins the pieces of a string', '24800401610402' + '62630000', '0403616263'],
    ['joins pieces of pieces', '2480240304016104016200' + '00', '04026162'],
    ['makes an empty list of pieces an empty string', '24800000', '0400'],
  ])('%s', (_, ber, der) => {
    expect(convert(ber)).toBe(der);
  });

  it.each([
    ['nothing', '', 'an element is truncated'],
    ['a cut header', '30', 'an element is truncated'],
    ['a cut content', '300402', 'an element is truncated'],
    ['a child longer than its parent', '300302040000', 'an element is truncated'],
    ['an open end', '3080020101', 'an element is truncated'],
    ['a string of indefinite length', '04800000', 'a string of indefinite length'],
    ['half an end', '30800001', 'a tag that is zero'],
    ['a tag of several octets', '3f810100', 'a tag of several octets'],
    ['a length of five octets', '30850000000000', 'an element is too long'],
    ['trailing bytes', '300000', 'trailing bytes'],
    ['too many levels', `${'3080'.repeat(40)}${'0000'.repeat(40)}`, 'too many levels'],
  ])('refuses %s', (_, hex, problem) => {
    expect(() => convert(hex)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: `malformed test: ${problem}` }),
    );
  });

  it('gives the DER of every tree, from its BER', () => {
    fc.assert(
      fc.property(node, (tree) => {
        expect(berToDer(toBer(tree), SUBJECT)).toStrictEqual(encodeDer(tree));
      }),
    );
  });

  it('any bytes give DER or a SignetError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        try {
          const der = berToDer(bytes, SUBJECT);
          expect(berToDer(der, SUBJECT)).toStrictEqual(der);
        } catch (error) {
          expect(error).toBeInstanceOf(SignetError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
