import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type JsonOptions, type JsonSubject, type JsonValue, parseJson } from '../../../src/tuf/json.ts';

const SUBJECT: JsonSubject = { what: 'text', code: 'METADATA_REJECTED' };
const AS_GO: JsonOptions = { duplicates: 'last-wins', numbers: 'float64', maxBytes: 1_000_000 };

function parse(text: string | Uint8Array, options: Partial<JsonOptions> = {}): JsonValue {
  return parseJson(Buffer.from(text), SUBJECT, { ...AS_GO, ...options });
}

function toPlain(value: JsonValue): unknown {
  if (value instanceof Map) return new Map([...value].map(([name, member]) => [name, toPlain(member as JsonValue)]));
  return Array.isArray(value) ? value.map(toPlain) : value;
}

/** What JSON.parse gives, with objects as Maps. */
function toMaps(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(toMaps);
  if (typeof value !== 'object' || value === null) return value;
  return new Map(Object.entries(value).map(([name, member]) => [name, toMaps(member)]));
}

function refusal(message: string) {
  return expect.objectContaining({ code: 'METADATA_REJECTED', message });
}

describe('parseJson', () => {
  it('reads what JSON.parse reads', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(toPlain(parse(text))).toEqual(toMaps(JSON.parse(text)));
      }),
    );
  });

  it('refuses exactly the texts that JSON.parse refuses', () => {
    const damaged = fc
      .tuple(fc.json(), fc.nat(), fc.constantFrom(...'{}[]",:0e.-\\u\n truefalsnx'))
      .map(([text, at, character]) => {
        const index = at % (text.length + 1);
        return text.slice(0, index) + character + text.slice(index + 1);
      });
    fc.assert(
      fc.property(damaged, (text) => {
        const accepts = (read: () => unknown) => {
          try {
            read();
            return true;
          } catch {
            return false;
          }
        };
        // JSON.parse reads 1e999 as Infinity
        fc.pre(!/e\+?\d{3}/i.test(text));
        expect(accepts(() => parse(text))).toBe(accepts(() => JSON.parse(text)));
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ['', 'malformed text: no value at position 0'],
    ['{} x', 'malformed text: text after the value at position 3'],
    ['\ufeff{}', 'malformed text: no value at position 0'],
    ['{"a":01}', 'malformed text: no value at position 5'],
    ['{"a":1e400}', 'malformed text: a number out of range at position 5'],
    ['{"a":"\u0001"}', 'malformed text: a string that does not end, or a control character in it at position 6'],
    ['"\\u12g4"', 'malformed text: a malformed escape at position 1'],
    ['"\\', 'malformed text: a malformed escape at position 1'],
    ['[1', 'malformed text: an array that does not end at position 2'],
    ['{"a":1', 'malformed text: an object that does not end at position 6'],
    ['{"a" 1}', 'malformed text: a member without a value at position 5'],
    ['{1:1}', 'malformed text: a member without a name at position 1'],
    [`[${'1'.repeat(1000)}]`, 'malformed text: a number out of range at position 1'],
  ])('refuses %j', (text, message) => {
    expect(() => parse(text)).toThrow(refusal(message));
  });

  it('refuses nesting deeper than 256 levels, and reads 256', () => {
    const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels);
    expect(parse(nested(257))).toHaveLength(1);
    expect(() => parse(nested(258))).toThrow(refusal('malformed text: nesting deeper than 256 levels at position 257'));
    expect(() => parse(nested(400_000))).toThrow(/nesting deeper/);
  });

  it('refuses text that is too long before it looks at it', () => {
    expect(() => parse('[      ]', { maxBytes: 7 })).toThrow(refusal('text is larger than 7 bytes'));
  });

  it('refuses more values than fit the memory', () => {
    const many = `[${'0,'.repeat(2_000_000)}0]`;
    expect(() => parse(many, { maxBytes: 1e8 })).toThrow(/malformed text: more than 2000000 values/);
  });

  it('lets the last of two members win, or refuses them', () => {
    const text = '{"a":1,"b":2,"a":3}';
    expect([...(parse(text) as Map<string, JsonValue>)]).toEqual([
      ['b', 2],
      ['a', 3],
    ]);
    const reject = () => parse(text, { duplicates: 'reject' });
    expect(reject).toThrow(refusal('malformed text: two members with the same name at position 17'));
    // two spellings of one name, and two lone surrogates, which are the same U+FFFD
    expect(() => parse('{"a":1,"\\u0061":2}', { duplicates: 'reject' })).toThrow(/same name/);
    expect(() => parse('{"\\ud800":1,"\\udc00":2}', { duplicates: 'reject' })).toThrow(/same name/);
  });

  it('keeps __proto__ as a member like any other', () => {
    expect(parse('{"__proto__":{"x":1}}')).toEqual(new Map([['__proto__', new Map([['x', 1]])]]));
  });

  it.each([
    [[0x22, 0xff, 0x22], '\ufffd'],
    [[0x22, 0xe2, 0x82, 0x22], '\ufffd\ufffd'],
    [[0x22, 0xf0, 0x9f, 0x98, 0x41, 0x22], '\ufffd\ufffd\ufffdA'],
    [[0x22, 0xed, 0xa0, 0x80, 0x22], '\ufffd\ufffd\ufffd'],
    [[0x22, 0xc3, 0xa9, 0x80, 0x22], 'é\ufffd'],
  ])('replaces every byte that is part of no character: %j', (bytes, text) => {
    expect(parse(Uint8Array.from(bytes))).toBe(text);
  });

  it.each(['1', '-1', '0', '-0', '1.0', '10', '100e-2', '1.5e1', '1E+2', '0e99', '0.0', '9007199254740992', '1e18'])(
    'keeps %s as it is',
    (literal) => {
      expect(parse(literal, { numbers: 'exact' })).toBe(Number(literal) + 0); // -0 is 0
    },
  );

  it.each(['1.5', '9007199254740993', '9223372036854775807', '1e19', '1e-400', '0.99999999999999999999', '-1.5e0'])(
    'refuses %s where numbers must stay what they are',
    (literal) => {
      expect(() => parse(literal, { numbers: 'exact' })).toThrow(
        refusal('malformed text: a number that is no integer, or too large to be kept as it is at position 0'),
      );
      expect(parse(literal)).toBe(Number(literal));
    },
  );
});
