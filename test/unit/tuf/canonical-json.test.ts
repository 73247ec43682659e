import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson, compareUtf8, fileJson } from '../../../src/tuf/canonical-json.ts';
import { type JsonSubject, type JsonValue, parseJson } from '../../../src/tuf/json.ts';
import { vector } from '../../support/tuf-vectors.ts';

const SUBJECT: JsonSubject = { what: 'text', code: 'INVALID_ARGUMENT' };

interface Case {
  readonly name: string;
  readonly input_hex: string;
  readonly canonical_hex?: string;
  readonly error?: string;
}

const CASES = JSON.parse(vector('canonical-json.json').toString('utf8')) as Case[];

function parse(bytes: Uint8Array): JsonValue {
  return parseJson(bytes, SUBJECT, { duplicates: 'last-wins', numbers: 'float64', maxBytes: 1_000_000 });
}

const text = fc.string({ unit: 'binary' });
const json: fc.Arbitrary<JsonValue> = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger(),
    text,
    fc.array(tie('value')),
    fc.array(fc.tuple(text, tie('value'))).map((members) => new Map(members)),
  ),
})).value;

describe('canonicalJson', () => {
  it.each(CASES.filter(({ error }) => error === undefined))("writes docker/go's text: $name", (vectorCase) => {
    const value = parse(Buffer.from(vectorCase.input_hex, 'hex'));
    expect(Buffer.from(canonicalJson(value, SUBJECT)).toString('hex')).toBe(vectorCase.canonical_hex);
  });

  it.each(CASES.filter(({ error }) => error !== undefined))('refuses what docker/go refuses: $name', (vectorCase) => {
    const write = () => canonicalJson(parse(Buffer.from(vectorCase.input_hex, 'hex')), SUBJECT);
    expect(write).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });

  it('names a number with a fraction in the words of docker/go', () => {
    expect(() => canonicalJson([1.5], SUBJECT)).toThrow('json: unsupported value: 1.5');
  });

  it('does not depend on the order of members', () => {
    fc.assert(
      fc.property(json, (value) => {
        const reversed = (item: JsonValue): JsonValue => {
          if (item instanceof Map)
            return new Map([...item].reverse().map(([name, member]) => [name, reversed(member)]));
          return Array.isArray(item) ? item.map(reversed) : item;
        };
        expect(canonicalJson(reversed(value), SUBJECT)).toBe(canonicalJson(value, SUBJECT));
      }),
    );
  });

  it('sorts by the bytes of UTF-8', () => {
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(Math.sign(compareUtf8(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
      }),
    );
    expect(['\u{1f600}', '\uffee', 'z'].sort(compareUtf8)).toEqual(['z', '\uffee', '\u{1f600}']);
  });
});

describe('fileJson', () => {
  it('reads back as the value, so that signed text and file say the same', () => {
    fc.assert(
      fc.property(json, (value) => {
        const file = fileJson(value, SUBJECT);
        expect(canonicalJson(parse(Buffer.from(file)), SUBJECT)).toBe(canonicalJson(value, SUBJECT));
        expect(file).not.toMatch(/[<>&\u2028\u2029]/);
      }),
    );
  });

  it("escapes what Go's encoder escapes, and only that", () => {
    const name = '<>&\u2028\u2029"\\/é\u007f\u{1f600}\ufffd';
    expect(fileJson(name, SUBJECT)).toBe('"\\u003c\\u003e\\u0026\\u2028\\u2029\\"\\\\/é\u007f\u{1f600}\ufffd"');
  });
});
