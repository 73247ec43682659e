import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatLabel, MAX_LABEL_BYTES, parseLabel } from '../../../../src/backends/pkcs11/label.ts';

const NONE = { role: '', gun: '' };
const field = fc.string({ unit: 'grapheme', maxLength: 60 });

describe('labels of keys on tokens', () => {
  it('give role and GUN back', () => {
    fc.assert(
      fc.property(fc.record({ role: field, gun: field }), (owner) => {
        expect(parseLabel(formatLabel(owner))).toEqual(owner);
      }),
    );
  });

  it('can be read by people', () => {
    const label = formatLabel({ role: 'targets/releases', gun: 'registry.example.com:5000/team/app' });
    expect(label.toString()).toBe('signet:targets/releases:registry.example.com%3A5000/team/app');
  });

  it('of other programs mean neither role nor GUN', () => {
    for (const label of ['', 'my key', 'signet', 'signet:', 'signet:a', 'signet:a:b:c', 'signet:%zz:b', 'Signet:a:b']) {
      expect(parseLabel(Buffer.from(label))).toEqual(NONE);
    }
    expect(parseLabel(Buffer.from('7369676e65743aff3a', 'hex'))).toEqual(NONE);
    expect(parseLabel(Buffer.from(`signet:${'a'.repeat(MAX_LABEL_BYTES)}:`))).toEqual(NONE);
  });

  it('never crash the reader', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => void parseLabel(bytes)));
  });

  it('are bounded', () => {
    expect(() => formatLabel({ role: '€'.repeat(255), gun: '€'.repeat(255) })).toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        message: 'role and GUN do not fit into a label of 1024 bytes',
      }),
    );
  });
});
