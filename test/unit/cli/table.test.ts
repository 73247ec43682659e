/** The table of commands: what every row promises. */
import { describe, expect, it } from 'vitest';
import { optionsOf } from '../../../src/cli/command.ts';
import { commandHelp, programHelp } from '../../../src/cli/help.ts';
import { parseCommand, selectCommand } from '../../../src/cli/parse.ts';
import { COMMANDS } from '../../../src/cli/table/commands.ts';

const rows = COMMANDS.map((command) => [command.name, command] as const);

/** Words of each `signet …` in a line of shell. */
function calls(line: string): readonly (readonly string[])[] {
  return line
    .split(/&&|\||<\(|\)/)
    .map((part) => part.trim().replace(/ [<>] .*$/, ''))
    .filter((part) => part.startsWith('signet '))
    .map((part) =>
      part
        .split(' ')
        .slice(1)
        .map((word) => word.replaceAll('"', '')),
    );
}

describe.each(rows)('%s', (name, command) => {
  it('has examples that show it and that it takes', () => {
    const shown = command.examples.flatMap(({ command: line }) => calls(line));
    expect(shown.some((words) => words.join(' ').includes(name))).toBe(true);
    for (const words of shown) {
      const selection = selectCommand(COMMANDS, words);
      if (selection === undefined || 'noun' in selection) throw new Error(`no command: ${words.join(' ')}`);
      expect(() => parseCommand(selection.command, selection.rest)).not.toThrow();
    }
  });

  it('has its action', async () => {
    expect(await command.load()).toBeTypeOf('function');
  });

  it('has a help text of at most 100 columns with every option and example in it', () => {
    const help = commandHelp(command);
    const prose = help.split('\nexamples:\n')[0] ?? '';
    for (const line of prose.split('\n')) expect(line.length).toBeLessThanOrEqual(100);
    for (const option of Object.keys(optionsOf(command))) expect(help).toContain(`--${option}`);
    for (const { command: line } of command.examples) expect(help).toContain(line);
  });

  it('has no two options with one letter', () => {
    const letters = Object.values(optionsOf(command)).flatMap(({ short }) => short ?? []);
    expect(new Set(letters).size).toBe(letters.length);
  });

  it('never takes a secret as the value of an option', () => {
    const values = Object.entries(optionsOf(command)).filter(([, { value }]) => value !== undefined);
    for (const [option, { value }] of values) {
      if (/pass|pin|puk|secret/.test(option) && !option.endsWith('-policy')) expect(value).toMatch(/^(FILE|N)$/);
    }
  });

  it('words its summary as messages are worded', () => {
    expect(command.summary).toMatch(/^[a-z].*[^.]$/);
  });
});

describe('the help of the program', () => {
  it('names every command but the hidden ones', () => {
    const help = programHelp(COMMANDS);
    for (const { name, hidden } of COMMANDS) expect(help.includes(`\n  ${name} `)).toBe(hidden !== true);
  });
});
