import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { printable, printData, printError, printJson, printTable } from '../../../src/cli/output.ts';
import { SignetError } from '../../../src/errors.ts';

let stdout: string;
let stderr: string;

beforeEach(() => {
  stdout = '';
  stderr = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    stdout += String(chunk);
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => {
    stderr += String(chunk);
    return true;
  });
});
afterEach(() => vi.restoreAllMocks());

describe('data', () => {
  it.each([
    ['text', 'text\n'],
    ['text\n', 'text\n'],
    ['', '\n'],
  ])('%j goes to stdout with one line break', (text, expected) => {
    printData(text);
    expect([stdout, stderr]).toEqual([expected, '']);
  });

  it('as JSON is indented', () => {
    printJson([{ keyId: 'a' }]);
    expect(stdout).toBe('[\n  {\n    "keyId": "a"\n  }\n]\n');
  });
});

describe('a table', () => {
  it('pads every column but the last', () => {
    printTable(
      ['ROLE', 'KEY', 'LOCATION'],
      [
        ['root', 'abc', '/x'],
        ['targets/releases', 'd', '/longer'],
      ],
    );
    expect(stdout).toBe(
      ['ROLE              KEY  LOCATION', 'root              abc  /x', 'targets/releases  d    /longer', ''].join('\n'),
    );
  });

  it('without rows is its header', () => {
    printTable(['A', 'B'], []);
    expect(stdout).toBe('A  B\n');
  });

  it('may have more rows than a call has arguments', () => {
    printTable(
      ['N', 'M'],
      Array.from({ length: 300_000 }, (_, index) => [String(index), 'x']),
    );
    expect(stdout.split('\n')).toHaveLength(300_002);
  });
});

describe('an error', () => {
  it('goes to stderr behind the name of the program, its hint on a line of its own', () => {
    printError(new SignetError('UNAVAILABLE', 'no signetd answers', { hint: 'start it' }));
    expect([stdout, stderr]).toEqual(['', 'signet: no signetd answers\nsignet: hint: start it\n']);
  });

  it('tells how many tries are left, whatever they are tries of', () => {
    printError(new SignetError('PIN_INCORRECT', 'yubikey:serial=1 refused the PUK', { retriesLeft: 2 }));
    expect(stderr).toBe('signet: yubikey:serial=1 refused the PUK\nsignet: tries left: 2\n');
  });

  it('without a hint is one line, and its cause is not shown', () => {
    printError(new SignetError('INTERNAL', 'unexpected error', { cause: new Error('detail') }));
    expect(stderr).toBe('signet: unexpected error\n');
  });

  it('cannot steer the terminal: file names and daemons choose parts of the text', () => {
    printError(new SignetError('INTEGRITY', 'a\u001b[2Jb\nc', { hint: 'd\u009b31m' }));
    expect(stderr).toBe('signet: a?[2Jb?c\nsignet: hint: d?31m\n');
  });
});

describe('printable text', () => {
  it.each([
    ['plain Grüße 日本 😀', 'plain Grüße 日本 😀'],
    ['\u0000\u0007\u001b\u007f\u0085\u009f', '??????'],
    ['a\u202eb\u2066c\u2028d\u2029', 'a?b?c?d?'],
  ])('of %j is %j', (text, expected) => expect(printable(text)).toBe(expected));
});
