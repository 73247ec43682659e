import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatPem, parsePem, parsePemBlocks } from '../../../src/crypto/pem.ts';

const parse = (text: string) => parsePem(Buffer.from(text));
const block = (body: string, type = 'X') => `-----BEGIN ${type}-----\n${body}-----END ${type}-----\n`;

describe('parsePem', () => {
  it('reads type, headers and bytes', () => {
    const found = parse('-----BEGIN EC KEY-----\nrole: targets\ngun:a/b:5000 \n\nAQID\n-----END EC KEY-----\n');
    expect(found?.type).toBe('EC KEY');
    expect([...(found?.headers ?? [])]).toEqual([
      ['role', 'targets'],
      ['gun', 'a/b:5000'],
    ]);
    expect(found?.bytes).toEqual(Buffer.from([1, 2, 3]));
  });

  it.each([
    ['CRLF line ends', block('AQID\n').replaceAll('\n', '\r\n')],
    ['leading text', `some text\n-----BEGIN \n${block('AQID\n')}`],
    ['no last line end', block('AQID\n').trimEnd()],
    ['blanks and tabs in the base64', block('A Q\tID \n')],
    ['base64 broken at any column', block('A\nQ\nI\nD\n')],
    ['blanks behind the boundary lines', '-----BEGIN X----- \nAQID\n-----END X-----\t\n'],
    ['a malformed block before', `${block('A\n')}${block('AQID\n')}`],
    ['an unfinished block before', `-----BEGIN Y-----\nAQID\n${block('AQID\n')}`],
  ])('accepts %s', (_, text) => {
    expect(parse(text)).toMatchObject({ type: 'X', bytes: Buffer.from([1, 2, 3]) });
  });

  it.each([
    ['nothing', ''],
    ['other text', 'AQID'],
    ['a BEGIN inside a line', ` ${block('AQID\n')}`],
    ['another type at the end', '-----BEGIN X-----\nAQID\n-----END Y-----\n'],
    ['text behind the END line', '-----BEGIN X-----\nAQID\n-----END X----- x\n'],
    ['no END line', '-----BEGIN X-----\nAQID\n'],
    ['END without line end before', '-----BEGIN X-----\nAQID-----END X-----\n'],
    ['everything on one line', '-----BEGIN X----- AQID -----END X-----'],
    ['base64 without padding', block('AQI\n')],
    ['characters outside the alphabet', block('AQ_D\n')],
    ['too much padding', block('A===\n')],
    ['nothing but padding', block('====\n')],
    ['text behind the padding', block('AQ==AQID\n')],
    ['padding in the middle', block('AQ=D\n')],
  ])('finds no block in %s', (_, text) => {
    expect(parse(text)).toBeUndefined();
  });

  it('reads a block without content', () => {
    expect(parse(block(''))?.bytes).toHaveLength(0);
    expect(parse(block('\n'))?.bytes).toHaveLength(0);
  });

  it('lets the last of several equal headers count', () => {
    expect(parse(block('role: a\nrole: b\n\nAQID\n'))?.headers.get('role')).toBe('b');
  });

  it('keeps names of object members apart from headers', () => {
    expect(parse(block('__proto__: a\n\nAQID\n'))?.headers.get('__proto__')).toBe('a');
  });
});

describe('parsePemBlocks', () => {
  it('reads all well-formed blocks in order', () => {
    const text = `${block('AQID\n', 'A')}text\n${block('*\n', 'B')}${block('BAUG\n', 'C')}`;
    expect(parsePemBlocks(Buffer.from(text)).map(({ type }) => type)).toEqual(['A', 'C']);
  });

  it('takes time in proportion to the text, however it is built', () => {
    const hostile = [
      '-----BEGIN X-----\n'.repeat(60_000),
      `${'-----BEGIN X-----\n'.repeat(60_000)}-----END Y-----\n`,
      '-----BEGIN X-----\na: b\n'.repeat(50_000),
      `-----BEGIN X-----\na:${' '.repeat(1_000_000)}b\n\n`,
      '-----BEGIN X-----\nAQID\n-----END Y-----\n'.repeat(25_000),
    ];
    for (const text of hostile) expect(parsePemBlocks(Buffer.from(text))).toEqual([]);
  });
});

describe('formatPem', () => {
  it("writes Go's text: Proc-Type first, headers sorted, an empty line, 64 columns", () => {
    const headers = { role: 'targets', 'DEK-Info': 'x', gun: 'a/b', 'Proc-Type': '4,ENCRYPTED' };
    expect(formatPem({ type: 'X', headers, bytes: Buffer.alloc(49) })).toBe(
      [
        '-----BEGIN X-----',
        'Proc-Type: 4,ENCRYPTED',
        'DEK-Info: x',
        'gun: a/b',
        'role: targets',
        '',
        'A'.repeat(64),
        'AA==',
        '-----END X-----',
        '',
      ].join('\n'),
    );
  });

  it('writes no empty line without headers and no line without bytes', () => {
    expect(formatPem({ type: 'X', headers: {}, bytes: new Uint8Array() })).toBe('-----BEGIN X-----\n-----END X-----\n');
  });

  it.each(['a:b', 'a\n', 'a\r', '\0', '', ' a', 'a\u0085', 'a\u001b[m'])('refuses the header name %j', (name) => {
    expect(() => formatPem({ type: 'X', headers: new Map([[name, 'v']]), bytes: new Uint8Array() })).toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        message: 'PEM header name is empty or has a colon, control character or outer blank',
      }),
    );
  });

  it.each(['a\nb', 'a\r', '\0', ' a', 'a\t', 'a\u007f', 'a\u00a0'])('refuses the header value %j', (value) => {
    expect(() => formatPem({ type: 'X', headers: { role: value }, bytes: new Uint8Array() })).toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        message: 'PEM header "role" has a control character or outer blank in its value',
      }),
    );
  });

  it('refuses a type with a line end', () => {
    expect(() => formatPem({ type: 'X\n', headers: {}, bytes: new Uint8Array() })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: 'PEM type has a control character' }),
    );
  });
});

describe('properties', () => {
  const name = fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,10}$/);
  const value = fc.stringMatching(/^([!-~äß](.?[!-~äß]){0,10})?$/);

  it('what is written is read back', () => {
    const types = fc.constantFrom('X', 'EC PRIVATE KEY');
    const law = fc.property(types, fc.dictionary(name, value), fc.uint8Array(), (type, headers, bytes) => {
      const found = parse(`before\n${formatPem({ type, headers, bytes })}`);
      expect(found?.type).toBe(type);
      expect(Object.fromEntries(found?.headers ?? [])).toEqual({ ...headers });
      expect(Buffer.compare(found?.bytes ?? Buffer.of(0), bytes)).toBe(0);
    });
    fc.assert(law);
  });

  it('no text makes it throw', () => {
    const piece = fc.constantFrom(
      '-----BEGIN ',
      'X',
      '-----',
      '\n',
      '\r\n',
      '-----END ',
      'AQID',
      '=',
      ': ',
      ' ',
      '\t',
      'é',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 60 }), fc.string(), (pieces, noise) => {
        expect(parsePemBlocks(Buffer.from(pieces.join('') + noise))).toBeInstanceOf(Array);
      }),
      { numRuns: 1000 },
    );
  });
});
