import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  contextTag,
  DER_TAG,
  DerReader,
  derBoolean,
  derEncoded,
  derExplicit,
  derOctetString,
  derOid,
  derSequence,
  derUnsigned,
  derUnsignedBytes,
  encodeDer,
  isDerSequence,
} from '../../../src/crypto/der.ts';
import { SignetError } from '../../../src/errors.ts';

const reader = (hex: string, code: 'INVALID_ARGUMENT' | 'INTEGRITY' = 'INVALID_ARGUMENT') =>
  new DerReader(Buffer.from(hex, 'hex'), { what: 'test', code });
const malformed = (problem: string, code = 'INVALID_ARGUMENT') =>
  expect.objectContaining({ code, message: `malformed test: ${problem}` });

describe('DerReader.read', () => {
  it('gives a view of the bytes, not a copy', () => {
    const bytes = Buffer.from('0402abcd', 'hex');
    const content = new DerReader(bytes, { what: 'test', code: 'INTEGRITY' }).read(DER_TAG.OCTET_STRING, 'value');
    content.fill(0);
    expect(bytes.toString('hex')).toBe('04020000');
  });

  it.each([
    ['', 'value is missing'],
    ['0201ff', 'unexpected tag 0x02 instead of value'],
    ['1f0100', 'unexpected tag 0x1f instead of value'],
    ['04', 'value is truncated'],
    ['0402ab', 'value is truncated'],
    ['0481', 'value is truncated'],
    ['048201', 'value is truncated'],
    ['0480abcd0000', 'value has an indefinite length'],
    ['048102abcd', 'value has a non-minimal length'],
    ['0481007f', 'value has a non-minimal length'],
    [`04820080${'00'.repeat(128)}`, 'value has a non-minimal length'],
    ['04840000000100', 'value is too long'],
    ['04ff', 'value is too long'],
  ])('refuses %j', (hex, problem) => {
    expect(() => reader(hex).read(DER_TAG.OCTET_STRING, 'value')).toThrow(malformed(problem));
  });

  it('uses the error code of its subject, inside too', () => {
    expect(() => reader('30020400', 'INTEGRITY').readSequence('outer').readUnsigned('inner')).toThrow(
      malformed('unexpected tag 0x04 instead of inner', 'INTEGRITY'),
    );
  });

  it('refuses trailing bytes where the end is due', () => {
    const two = reader('04000400');
    two.read(DER_TAG.OCTET_STRING, 'value');
    expect(() => two.end()).toThrow(malformed('trailing bytes'));
    two.read(DER_TAG.OCTET_STRING, 'value');
    expect(() => two.end()).not.toThrow();
  });

  it('leaves an optional element of another kind alone', () => {
    const value = reader('0400');
    expect(value.readOptional(contextTag(0, 'constructed'), 'attributes')).toBeUndefined();
    expect(value.readOptional(DER_TAG.OCTET_STRING, 'value')).toHaveLength(0);
    expect(value.readOptional(DER_TAG.OCTET_STRING, 'value')).toBeUndefined();
  });
});

describe('DerReader numbers', () => {
  it.each([
    ['020100', 0],
    ['02017f', 127],
    ['02020080', 128],
    ['02020100', 256],
    ['020500ffffffff', 0xffffffff],
  ])('reads %s as %i', (hex, value) => {
    expect(reader(hex).readSmallUnsigned('n')).toBe(value);
    expect(encodeDer(derUnsigned(value)).toString('hex')).toBe(hex);
  });

  it.each([
    ['0200', 'n is empty'],
    ['0201ff', 'n is negative'],
    ['02020001', 'n is not minimally encoded'],
    ['02050100000000', 'n is too large'],
  ])('refuses %s', (hex, problem) => {
    expect(() => reader(hex).readSmallUnsigned('n')).toThrow(malformed(problem));
  });
});

describe('DerReader.readOid', () => {
  it.each([
    '1.2.840.10045.2.1',
    '1.3.101.112',
    '2.16.840.1.101.3.4.1.42',
    '0.9.2342',
    '2.999.3',
    '1.3.6.1.4.1.11591.15.1',
  ])('reads %s as it was written', (dotted) => {
    expect(reader(encodeDer(derOid(dotted)).toString('hex')).readOid('oid')).toBe(dotted);
  });

  it.each([
    ['0600', 'oid is truncated'],
    ['060188', 'oid is truncated'],
    ['06032a8001', 'oid is not minimally encoded'],
    [`0641${'01'.repeat(65)}`, 'oid is too long'],
    ['060a2affffffffffffffff7f', 'oid has a component that is too large'],
  ])('refuses %s', (hex, problem) => {
    expect(() => reader(hex).readOid('oid')).toThrow(malformed(problem));
  });
});

describe('DerReader.bitStringOctets', () => {
  it('refuses a string with unused bits, and one without their count', () => {
    const value = reader('');
    expect(value.bitStringOctets(Uint8Array.of(0, 7), 'bits')).toEqual(Uint8Array.of(7));
    expect(() => value.bitStringOctets(Uint8Array.of(1, 6), 'bits')).toThrow(
      malformed('bits is not a string of whole octets'),
    );
    expect(() => value.bitStringOctets(new Uint8Array(), 'bits')).toThrow(
      malformed('bits is not a string of whole octets'),
    );
  });
});

describe('isDerSequence', () => {
  it.each([
    ['3000', true],
    ['30020400', true],
    ['300204', false],
    ['300004', false],
    ['0400', false],
    ['', false],
  ])('of %j is %s', (hex, expected) => {
    expect(isDerSequence(Buffer.from(hex, 'hex'))).toBe(expected);
  });
});

describe('DerReader.readElement', () => {
  it('gives an element of any tag with and without its header', () => {
    const element = reader('0c0161' + '0500').readElement('text');
    expect(element).toMatchObject({ tag: 0x0c, content: Buffer.from('a'), encoded: Buffer.from('0c0161', 'hex') });
  });

  it('refuses the end', () => {
    expect(() => reader('').readElement('text')).toThrow(malformed('text is missing'));
  });
});

describe('the writer', () => {
  it.each([
    ['nothing', '', '020100'],
    ['zero', '0000', '020100'],
    ['leading zeros', '00007f', '02017f'],
    ['a set high bit', '0080', '02020080'],
  ])('writes numbers minimally: %s', (_, magnitude, der) => {
    expect(encodeDer(derUnsignedBytes(Buffer.from(magnitude, 'hex'))).toString('hex')).toBe(der);
  });

  it('writes booleans, explicit tags and ready elements', () => {
    const ready = derEncoded(Buffer.from('0c0161', 'hex'));
    expect(encodeDer(derExplicit(3, derBoolean(true), derBoolean(false), ready)).toString('hex')).toBe(
      'a309' + '0101ff' + '010100' + '0c0161',
    );
  });

  it('refuses a ready element with anything behind it', () => {
    expect(() => derEncoded(Buffer.from('05000500', 'hex'))).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: 'malformed DER: trailing bytes' }),
    );
  });
});

describe('properties', () => {
  it('every content of any length is read as it was written', () => {
    const lengths = [0, 1, 127, 128, 255, 256, 65535, 65536];
    for (const length of lengths) {
      const content = Buffer.alloc(length, 0x5a);
      const der = encodeDer(derSequence(derUnsigned(length), derOctetString(content)));
      const outer = new DerReader(der, { what: 'test', code: 'INTEGRITY' });
      const inner = outer.readSequence('sequence');
      outer.end();
      expect(inner.readSmallUnsigned('length')).toBe(length);
      expect(Buffer.compare(inner.read(DER_TAG.OCTET_STRING, 'content'), content)).toBe(0);
      inner.end();
    }
  });

  it('any bytes give a value or a SignetError, from every method', () => {
    const calls = [
      (r: DerReader) => r.read(DER_TAG.OCTET_STRING, 'x'),
      (r: DerReader) => r.readSequence('x'),
      (r: DerReader) => r.readUnsigned('x'),
      (r: DerReader) => r.readSmallUnsigned('x'),
      (r: DerReader) => r.readOid('x'),
    ];
    const tags = fc.constantFrom(...Object.values(DER_TAG));
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), tags, fc.integer({ min: 0, max: 4 }), (bytes, tag, call) => {
        const value = new DerReader(Uint8Array.of(tag, ...bytes), { what: 'test', code: 'INTEGRITY' });
        try {
          calls[call]?.(value);
        } catch (error) {
          expect(error).toBeInstanceOf(SignetError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
