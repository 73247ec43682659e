import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseJson } from '../../../src/daemon/config/json.ts';

const parse = (text: string) => parseJson(text, (problem, offset) => new Error(`${offset}: ${problem}`));

describe('parseJson', () => {
  it('agrees with JSON.parse on every value', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 10 }), (text) => {
        expect(parse(text)).toEqual(JSON.parse(text));
      }),
    );
  });

  it('accepts what JSON.parse accepts and nothing else', () => {
    const piece = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"a"',
      '"b"',
      '1',
      '-0.5e3',
      '01',
      'null',
      'true',
      ' ',
      '\n',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 9 }), (pieces) => {
        const text = pieces.join('');
        let expected: unknown;
        try {
          expected = JSON.parse(text);
        } catch {
          expect(() => parse(text)).toThrow();
          return;
        }
        try {
          expect(parse(text)).toEqual(expected);
        } catch (error) {
          expect(String(error)).toContain('name given twice');
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('keeps DEL and C1 control characters in strings, as RFC 8259 section 7 allows', () => {
    expect(parse('"\u007f\u0085"')).toBe('\u007f\u0085');
  });

  it.each([
    ['', '0: expected a value'],
    ['{"a":1,}', '7: expected a name in double quotes'],
    ['{"a":1 "b":2}', '7: expected "}"'],
    ['{"a" 1}', '5: expected ":"'],
    ["{'a':1}", '1: expected a name in double quotes'],
    ['{"a":1} // comment', '8: unexpected text after the end'],
    ['[1 2]', '3: expected "]"'],
    ['[1,]', '3: expected a value'],
    ['{"a":"x\ny"}', '5: expected a value'],
    ['{"a":"\\x"}', '5: expected a value'],
    ['{"a":"open', '5: expected a value'],
    ['{"a":1,"b":{"c":1,"\\u0063":2}}', '18: name given twice in one object'],
  ])('reports the place of the mistake in %j', (text, message) => {
    expect(() => parse(text)).toThrow(message);
  });

  it('refuses nesting beyond 32 levels', () => {
    expect(parse('['.repeat(32) + ']'.repeat(32))).toBeDefined();
    expect(() => parse('['.repeat(100_000))).toThrow('32: nested too deeply');
  });

  it('reads a string of a mebibyte', () => {
    const text = '\\n'.repeat(512 * 1024);
    expect(parse(`"${text}"`)).toHaveLength(512 * 1024);
  });

  it('treats __proto__ as a name like any other', () => {
    expect(Object.keys(parse('{"__proto__": {"a": 1}}') as object)).toEqual(['__proto__']);
  });
});
