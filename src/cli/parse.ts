/** The command line, read by the table. */
import { parseArgs } from 'node:util';
import { SignetError } from '../errors.ts';
import { nearestWord } from '../nearest.ts';
import { type CommandSpec, optionsOf } from './command.ts';
import type { OptionValues } from './invocation.ts';

export interface ParsedCommand {
  readonly args: readonly string[];
  readonly values: OptionValues;
}

export interface Selection {
  readonly command: CommandSpec;
  /** What follows the command's name, options before it included. */
  readonly rest: readonly string[];
}

/** Options that stand before the command, as `signet -d DIR key list`, and take a value. */
const LEADING_WITH_VALUE: ReadonlySet<string> = new Set([
  ...['-d', '--trust-dir', '--socket', '-c', '--config', '-s', '--server'],
  ...['--tlscacert', '--tlscert', '--tlskey'],
]);

/**
 * Finds the command. Options may stand before its name.
 *
 * @returns The noun alone where no verb of it follows; undefined without any word
 */
export function selectCommand(
  commands: readonly CommandSpec[],
  argv: readonly string[],
): Selection | { readonly noun: string; readonly rest: readonly string[] } | undefined {
  const first = indexOfWord(argv, 0);
  const noun = argv[first];
  if (noun === undefined) return undefined;
  const single = commands.find(({ name }) => name === noun);
  const without = (...indexes: number[]) => argv.filter((_, index) => !indexes.includes(index));
  if (single !== undefined) return { command: single, rest: without(first) };
  const second = indexOfWord(argv, first + 1);
  const command = commands.find(({ name }) => name === `${noun} ${argv[second]}`);
  return command === undefined ? { noun, rest: argv.slice(first) } : { command, rest: without(first, second) };
}

function indexOfWord(argv: readonly string[], start: number): number {
  for (let index = start; index < argv.length; index++) {
    const word = argv[index] ?? '';
    if (LEADING_WITH_VALUE.has(word)) index++;
    else if (!word.startsWith('-') || word === '-') return index;
  }
  return argv.length;
}

/** @throws {SignetError} INVALID_ARGUMENT for an option or a number of arguments that the command does not take */
export function parseCommand(command: CommandSpec, rest: readonly string[]): ParsedCommand {
  const specs = optionsOf(command);
  const hint = `signet ${command.name} --help shows how it is used`;
  const options = Object.fromEntries(
    Object.entries(specs).map(([name, { short, value, multiple }]) => [
      name,
      {
        type: value === undefined ? ('boolean' as const) : ('string' as const),
        ...(short !== undefined && { short }),
        ...(multiple && { multiple: true as const }),
      },
    ]),
  );
  let parsed: { readonly positionals: readonly string[]; readonly values: OptionValues };
  try {
    parsed = parseArgs({ args: withNegativeNumbers(rest, specs), options, allowPositionals: true, strict: true });
  } catch (error) {
    throw new SignetError('INVALID_ARGUMENT', usageError(error, Object.keys(specs)), { hint, cause: error });
  }
  for (const [name, { choices, completes }] of Object.entries(specs)) {
    const value = parsed.values[name];
    // A shell's variable that is not set: no file, directory, role or token has that name.
    if (value === '' && completes !== undefined) {
      throw new SignetError('INVALID_ARGUMENT', `--${name} cannot be empty`, { hint });
    }
    if (choices === undefined || value === undefined) continue;
    requireChoice(`--${name}`, String(value), choices);
  }
  if (parsed.values['help'] !== true) checkArguments(command, parsed.positionals, hint);
  return { args: parsed.positionals, values: parsed.values };
}

/** `--legacy -1` means what `--legacy=-1` means, as for notary; node:util takes the first for two options. */
function withNegativeNumbers(words: readonly string[], specs: ReturnType<typeof optionsOf>): string[] {
  const joined: string[] = [];
  for (const word of words) {
    const option = joined.at(-1) ?? '';
    const [name] =
      Object.entries(specs).find(([long, { short }]) => option === `--${long}` || option === `-${short}`) ?? [];
    const isValue = name !== undefined && specs[name]?.value !== undefined && /^-\d+$/.test(word);
    if (isValue) joined.splice(-1, 1, `--${name}=${word}`);
    else joined.push(word);
  }
  return joined;
}

function usageError(error: unknown, names: readonly string[]): string {
  const { message, code } = error as NodeJS.ErrnoException;
  const unknown = /^Unknown option '(-{1,2}[^']*)'/.exec(message)?.[1];
  if (unknown !== undefined) {
    const similar = nearestWord(unknown.replace(/^-+/, ''), names);
    return `unknown option ${unknown}${similar === undefined ? '' : `, did you mean --${similar}?`}`;
  }
  const option = /^Option '(?:-\w, )?(--[\w-]+)/.exec(message)?.[1];
  if (option === undefined || code !== 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE') return 'malformed option';
  return message.includes('does not take an argument') ? `${option} takes no value` : `${option} needs a value`;
}

function checkArguments(command: CommandSpec, args: readonly string[], hint: string): void {
  const specs = command.arguments ?? [];
  const missing = specs.find(({ optional }, index) => !optional && args[index] === undefined);
  if (missing !== undefined) {
    throw new SignetError('INVALID_ARGUMENT', `signet ${command.name} needs ${missing.name}`, { hint });
  }
  const most = specs.at(-1)?.many ? Number.POSITIVE_INFINITY : specs.length;
  if (args.length > most) {
    throw new SignetError('INVALID_ARGUMENT', `unexpected argument "${args[most] ?? ''}"`, { hint });
  }
  for (const [index, arg] of args.entries()) {
    const { name, choices } = specs[Math.min(index, specs.length - 1)] ?? {};
    if (name !== undefined && choices !== undefined) requireChoice(name, arg, choices);
  }
}

function requireChoice(what: string, value: string, choices: readonly string[]): void {
  if (choices.includes(value)) return;
  throw new SignetError('INVALID_ARGUMENT', `${what} cannot be "${value}"`, {
    hint: `use one of ${choices.join(', ')}`,
  });
}
