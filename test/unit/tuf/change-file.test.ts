import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Change } from '../../../src/tuf/change.ts';
import {
  changeFileName,
  encodeChange,
  MAX_CHANGE_BYTES,
  parseChange,
  parseCustom,
} from '../../../src/tuf/change-file.ts';
import { fileMetaOf } from '../../../src/tuf/file-meta.ts';
import { vector } from '../../support/tuf-vectors.ts';

const STAGED = readdirSync(join(import.meta.dirname, '../../vectors/tuf/changelist')).sort();

function refusal(message: string, code = 'INVALID_ARGUMENT') {
  return expect.objectContaining({ code, message });
}

describe("notary's own entries", () => {
  it.each(STAGED)('%s is written again byte for byte', (name) => {
    const bytes = vector(`changelist/${name}`);
    expect(encodeChange(parseChange(bytes)).toString('utf8')).toBe(bytes.toString('utf8'));
  });

  it('are read', () => {
    const [v1, odd] = STAGED.map((name) => parseChange(vector(`changelist/${name}`)));
    expect(v1).toEqual({ type: 'add-target', role: 'targets', name: 'v1', meta: fileMetaOf(Buffer.from('hello\n')) });
    expect(odd).toMatchObject({
      name: 'lt<gt>&"q"\\é',
      meta: {
        custom: new Map<string, unknown>([
          ['a', 1],
          ['b', new Map([['c', [1, 2, 3]]])],
        ]),
      },
    });
  });

  it('have names that sort by time', () => {
    const [first = ''] = STAGED;
    expect(changeFileName(1795156164140717023n, '17e2e481-f228-4555-baf3-789127cbb2b1')).toBe(first);
  });

  // As notary 0.7.0 stages them.
  it.each<[string, string, Change]>([
    [
      '{"action":"delete","role":"targets","type":"target","path":"v1","data":null}',
      '',
      { type: 'remove-target', role: 'targets', name: 'v1' },
    ],
    [
      '{"action":"create","role":"targets/qa","type":"delegation","path":"","data":"',
      '{"add_paths":["foo","bar"]}',
      { type: 'edit-delegation', role: 'targets/qa', create: true, addPaths: ['foo', 'bar'] },
    ],
    [
      '{"action":"update","role":"targets/qa","type":"delegation","path":"","data":"',
      '{"remove_keys":["aaaa"]}',
      { type: 'edit-delegation', role: 'targets/qa', create: false, removeKeys: ['aaaa'] },
    ],
    [
      '{"action":"update","role":"targets/qa","type":"delegation","path":"","data":"',
      '{"clear_paths":true}',
      { type: 'edit-delegation', role: 'targets/qa', create: false, clearPaths: true },
    ],
    [
      '{"action":"delete","role":"targets/qa","type":"delegation","path":"","data":null}',
      '',
      { type: 'delete-delegation', role: 'targets/qa' },
    ],
    [
      '{"action":"update","role":"targets/*","type":"delegation","path":"","data":"',
      '{"remove_keys":["deadbeef"]}',
      { type: 'purge-delegation-keys', keyIds: ['deadbeef'] },
    ],
    [
      '{"action":"update","role":"targets/releases","type":"witness","path":"","data":null}',
      '',
      { type: 'witness', role: 'targets/releases' },
    ],
  ])('%s %s', (head, data, change) => {
    const text = data === '' ? head : `${head}${Buffer.from(data).toString('base64')}"}`;
    expect(parseChange(Buffer.from(text))).toEqual(change);
    expect(encodeChange(change).toString('utf8')).toBe(text);
  });

  it('keys are written public half first', () => {
    const key = { algorithm: 'ecdsa', bytes: Buffer.from('key') };
    const change: Change = { type: 'edit-delegation', role: 'targets/a', create: true, threshold: 1, addKeys: [key] };
    const file = encodeChange(change);
    const { data } = JSON.parse(file.toString('utf8')) as { data: string };
    expect(Buffer.from(data, 'base64').toString('utf8')).toBe(
      '{"threshold":1,"add_keys":[{"keytype":"ecdsa","keyval":{"public":"a2V5","private":null}}]}',
    );
    expect(parseChange(file)).toEqual(change);
  });
});

describe('any change', () => {
  const text = fc.string({ unit: 'binary' });
  const delegation = fc.stringMatching(/^[-a-z0-9_]{1,9}$/).map((name) => `targets/${name}` as const);
  const role = fc.oneof(fc.constant('targets' as const), delegation);
  const bytes = fc.uint8Array({ minLength: 1 }).map((array) => Buffer.from(array));
  const texts = fc.array(text, { minLength: 1 });
  const change: fc.Arbitrary<Change> = fc.oneof(
    fc.record({ type: fc.constant('add-target' as const), role, name: text, meta: bytes.map(fileMetaOf) }),
    fc.record({ type: fc.constant('remove-target' as const), role, name: text }),
    fc.record(
      {
        type: fc.constant('edit-delegation' as const),
        role: delegation,
        create: fc.boolean(),
        threshold: fc.integer({ min: 1, max: 9 }),
        addKeys: fc.array(fc.record({ algorithm: fc.constantFrom('ecdsa', 'rsa-x509'), bytes }), { minLength: 1 }),
        removeKeys: texts,
        addPaths: texts,
        removePaths: texts,
        clearPaths: fc.constant(true),
      },
      { requiredKeys: ['type', 'role', 'create'] },
    ),
    fc.record({ type: fc.constant('delete-delegation' as const), role: delegation }),
    fc.record({ type: fc.constant('purge-delegation-keys' as const), keyIds: fc.array(text) }),
    fc.record({ type: fc.constant('witness' as const), role }),
  );

  it('is read as it was written', () => {
    fc.assert(
      fc.property(change, (made) => {
        expect(parseChange(encodeChange(made))).toEqual(made);
      }),
    );
  });
});

describe('entries that nobody can apply', () => {
  const entry = (fields: object) =>
    Buffer.from(
      JSON.stringify({ action: 'create', role: 'targets', type: 'target', path: 'x', data: null, ...fields }),
    );
  const data = (value: string) => Buffer.from(value).toString('base64');

  it.each([
    [{ type: 'role', role: 'root' }, 'malformed change: its action and type do not go together'],
    [{ action: 'rename' }, 'malformed change: its action and type do not go together'],
    [
      { role: 'root', data: data('{"length":1,"hashes":{}}') },
      'malformed change: its role is none that it could change',
    ],
    [{ role: 'targets/../x' }, 'malformed change: its role is none that it could change'],
    [
      { action: 'update', type: 'witness', role: 'targets/*' },
      'malformed change: its role is none that it could change',
    ],
    [{ path: 7, data: data('{"length":1,"hashes":{}}') }, 'malformed change: file.path is not a string'],
    [{}, 'malformed change: file.data is not a string'],
    [{ data: '*' }, 'malformed change: file.data is not base64'],
    [{ data: data('{"length":1,"hashes":{}}') }, 'malformed data of a change: target has no known checksum'],
    [{ data: data('{') }, 'malformed data of a change: a member without a name at position 1'],
    [
      { data: data('{"length":1,"hashes":{},"custom":1.5}') },
      'malformed data of a change: a number that is no integer, or too large to be kept as it is at position 33',
    ],
  ])('%j', (fields, message) => {
    expect(() => parseChange(entry(fields))).toThrow(refusal(message));
  });

  it('one that renames a delegation', () => {
    const fields = { type: 'delegation', role: 'targets/a', data: data('{"new_name":"targets/b"}') };
    expect(() => parseChange(entry(fields))).toThrow(
      refusal('a change renames a delegation, which nothing can apply', 'UNSUPPORTED'),
    );
  });

  it('one that is too large', () => {
    expect(() => parseChange(Buffer.alloc(MAX_CHANGE_BYTES + 1))).toThrow(
      refusal('change is larger than 4194304 bytes'),
    );
  });
});

describe('parseCustom', () => {
  it('takes what can be published, and nothing for null', () => {
    expect(parseCustom(Buffer.from(' {"b":1e3,"a":"<\\n>"} '))).toEqual(
      new Map<string, unknown>([
        ['b', 1000],
        ['a', '<\n>'],
      ]),
    );
    expect(parseCustom(Buffer.from('null'))).toBeUndefined();
    expect(parseCustom(Buffer.from('0'))).toBe(0);
  });

  it.each(['1.5', '{"a":1,"a":2}', '9007199254740993', '{bad}', ''])('refuses %s', (json) => {
    expect(() => parseCustom(Buffer.from(json))).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(/^malformed custom data: /) }),
    );
  });
});
