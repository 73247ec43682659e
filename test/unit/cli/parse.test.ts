import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CommandSpec } from '../../../src/cli/command.ts';
import { parseCommand, selectCommand } from '../../../src/cli/parse.ts';
import { SignetError } from '../../../src/errors.ts';

const command = (name: string, more: Partial<CommandSpec> = {}): CommandSpec => ({
  name,
  summary: 'does something',
  examples: [],
  load: async () => async () => undefined,
  ...more,
});
const LIST = command('key list');
const SHOW = command('key show', { arguments: [{ name: 'ID' }] });
const UNLOCK = command('unlock', { arguments: [{ name: 'ID', optional: true, many: true }] });
const MAKE = command('key make', {
  arguments: [{ name: 'KIND', optional: true, choices: ['round', 'square'] }],
  options: {
    size: { short: 's', value: 'N', choices: ['1', '2'], help: '' },
    of: { value: 'ID', multiple: true, help: '' },
    into: { value: 'DIR', completes: 'directory', help: '' },
    note: { value: 'TEXT', help: '' },
  },
});
const COMMANDS = [LIST, SHOW, UNLOCK, MAKE];

describe('selectCommand', () => {
  it.each([
    [['key', 'list'], LIST, []],
    [['key', 'list', '--json'], LIST, ['--json']],
    [['-d', 'key', 'key', 'list'], LIST, ['-d', 'key']],
    [['--socket', 'unlock', 'key', 'show', 'ab'], SHOW, ['--socket', 'unlock', 'ab']],
    [['key', '-d', 'x', 'show', 'ab'], SHOW, ['-d', 'x', 'ab']],
    [['unlock', 'key', 'list'], UNLOCK, ['key', 'list']],
  ])('finds the command of %j, and what is left', (argv, found, rest) => {
    expect(selectCommand(COMMANDS, argv)).toEqual({ command: found, rest });
  });

  it('gives the noun where no verb of it follows, and nothing without a word', () => {
    expect(selectCommand(COMMANDS, ['key', 'lose', '--help'])).toEqual({
      noun: 'key',
      rest: ['key', 'lose', '--help'],
    });
    expect(selectCommand(COMMANDS, ['--help'])).toBeUndefined();
    expect(selectCommand(COMMANDS, [])).toBeUndefined();
  });
});

describe('parseCommand', () => {
  it('reads options in any order, shortened and several times', () => {
    const { args, values } = parseCommand(MAKE, ['--of', 'a', 'round', '-s1', '--of=b,c']);
    expect(args).toEqual(['round']);
    expect(values).toMatchObject({ size: '1', of: ['a', 'b,c'] });
  });

  it('takes an empty text, where a text is wanted', () => {
    expect(parseCommand(MAKE, ['--note', '']).values).toMatchObject({ note: '' });
  });

  it('takes words after -- as they are', () => {
    expect(parseCommand(UNLOCK, ['--', '--all', '-x']).args).toEqual(['--all', '-x']);
  });

  it('does not look at arguments when help is wanted', () => {
    expect(parseCommand(SHOW, ['--help']).values).toMatchObject({ help: true });
  });

  it.each([
    [SHOW, [], 'signet key show needs ID'],
    [SHOW, ['a', 'b'], 'unexpected argument "b"'],
    [LIST, ['a'], 'unexpected argument "a"'],
    [MAKE, ['triangular'], 'KIND cannot be "triangular"'],
    [MAKE, ['-s', '3'], '--size cannot be "3"'],
    [MAKE, ['--size'], '--size needs a value'],
    [MAKE, ['--help=x'], '--help takes no value'],
    [MAKE, ['--siez', '1'], 'unknown option --siez'],
    [MAKE, ['--sise', '1'], 'unknown option --sise, did you mean --size?'],
    [MAKE, ['-q'], 'unknown option -q'],
    [MAKE, ['--into='], '--into cannot be empty'],
    [LIST, ['-d', ''], '--trust-dir cannot be empty'],
  ])('%# refuses what the command does not take: %j', (spec, rest, message) => {
    expect(() => parseCommand(spec, rest)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', message }));
  });

  it('fails for any words with an error of ours, or not at all', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.string(), fc.constantFrom('--size', '-s', '--', '-', '--of', '-d'))),
        (words) => {
          try {
            parseCommand(MAKE, words);
          } catch (error) {
            expect(error).toBeInstanceOf(SignetError);
          }
        },
      ),
    );
  });
});
