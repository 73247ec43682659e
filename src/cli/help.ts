/** Help texts, made from the table. */
import type { ArgumentSpec, CommandSpec, OptionSpec } from './command.ts';
import { optionsOf } from './command.ts';

/** Columns; terminals that are wider gain nothing from longer lines. */
const WIDTH = 100;
const GAP = 2;

/** `ID`, `[ID]`, `FILE…` or `[ID…]`. */
export function argumentText({ name, optional, many }: ArgumentSpec): string {
  const text = many ? `${name}…` : name;
  return optional ? `[${text}]` : text;
}

/** `-d, --trust-dir DIR`. */
export function optionText(name: string, { short, value }: OptionSpec): string {
  return `${short === undefined ? '' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`;
}

/** One line: how a command is called. */
export function synopsis(command: CommandSpec): string {
  const hasOptions = Object.keys(command.options ?? {}).length > 0;
  const parts = ['signet', command.name, ...(command.arguments ?? []).map(argumentText)];
  if (hasOptions) parts.push('[OPTION…]');
  return parts.join(' ');
}

/** What an option does, with the values it may have. */
export function optionHelp({ help, choices, multiple }: OptionSpec): string {
  const values = choices === undefined ? '' : ` (${choices.join(', ')})`;
  return `${help}${values}${multiple ? '; may be given several times' : ''}`;
}

/** What `signet COMMAND --help` prints. */
export function commandHelp(command: CommandSpec): string {
  const rows = Object.entries(optionsOf(command)).map(([name, spec]): [string, string] => [
    optionText(name, spec),
    optionHelp(spec),
  ]);
  const examples = command.examples.map(({ purpose, command: line }) => `  # ${purpose}\n  ${line}`);
  return [
    `usage: ${synopsis(command)}`,
    wrap(sentence(command.summary), 0),
    ...(command.details ?? []).map((paragraph) => wrap(paragraph, 0)),
    `options:\n${columns(rows)}`,
    `examples:\n${examples.join('\n')}`,
  ].join('\n\n');
}

/** What `signet --help` prints. */
export function programHelp(commands: readonly CommandSpec[]): string {
  return [
    'usage: signet COMMAND [ARGUMENT…] [OPTION…]',
    'Keys that sign container trust data, kept by signetd, which starts by itself when a command needs it.',
    `commands:\n${commandList(commands)}`,
    'Key IDs may be shortened to a unique beginning. signet COMMAND --help explains a command with examples.\n' +
      'signet --version prints the version. Exit codes: 0 done, 1 unsupported or a bug, 2 wrong usage, 3 no such key or it\n' +
      'exists, 4 passphrase or PIN, 5 daemon, token or storage unavailable, 6 damaged or refused data, 130 cancelled.',
  ].join('\n\n');
}

/** What `signet NOUN --help` prints. */
export function nounHelp(noun: string, commands: readonly CommandSpec[]): string {
  return `usage: signet ${noun} VERB [ARGUMENT…] [OPTION…]\n\ncommands:\n${commandList(commands)}`;
}

function commandList(commands: readonly CommandSpec[]): string {
  return columns(
    commands
      .filter(({ hidden }) => !hidden)
      .map(({ name, arguments: specs = [], summary }) => {
        return [[name, ...specs.map(argumentText)].join(' '), summary];
      }),
  );
}

function columns(rows: readonly (readonly [string, string])[]): string {
  const width = rows.reduce((widest, [left]) => Math.max(widest, left.length), 0);
  const indent = 2 * GAP + width;
  return rows
    .map(([left, right]) => `${' '.repeat(GAP)}${left.padEnd(width)}${' '.repeat(GAP)}${wrap(right, indent)}`)
    .join('\n');
}

/** A summary as a sentence. */
export function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

/** Breaks at blanks; every line but the first starts with `indent` blanks. */
function wrap(text: string, indent: number): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent + line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].join(`\n${' '.repeat(indent)}`);
}
