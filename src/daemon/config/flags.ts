/** The daemon's command line: notary-signer's flags in Go's `flag` style, plus `-welcome` and `-help`. */

import { parseDuration } from '../../duration.ts';
import { SignetError } from '../../errors.ts';

export interface Flags {
  /** As given: relative to the working directory. */
  readonly configFile: string | undefined;
  readonly debug: boolean;
  readonly logFormat: 'json' | 'logfmt';
  readonly version: boolean;
  readonly help: boolean;
  readonly welcome: boolean;
  /** Work on the SQL table instead of serving. */
  readonly task: MaintenanceTask | undefined;
}

export type MaintenanceTask =
  | { readonly kind: 'migrate' }
  | { readonly kind: 'rewrap'; readonly from: string; readonly to: string }
  | { readonly kind: 'purge'; readonly olderThanMs: number };

const BOOLEAN_FLAGS = new Set([
  'debug',
  'version',
  'bootstrap',
  'welcome',
  'help',
  'h',
  'migrate',
  'rewrap',
  'purge-deleted',
]);
const TEXT_FLAGS = new Set(['config', 'logf', 'from', 'to', 'older-than']);

// What Go's strconv.ParseBool takes.
const TRUE_WORDS = new Set(['1', 't', 'T', 'true', 'TRUE', 'True']);
const FALSE_WORDS = new Set(['0', 'f', 'F', 'false', 'FALSE', 'False']);

const FLAG = /^--?([^-=][^=]*)(?:=(.*))?$/s;

/**
 * Reads `-x`, `--x`, `-x=v` and, for flags with a value, `-x v`. The last of several wins; `--` ends the flags.
 *
 * @param argv The arguments after the program's name.
 * @throws {SignetError} INVALID_ARGUMENT for an unknown flag, a bad or missing value, a stray argument, or `-bootstrap`
 *   (which made RethinkDB's tables)
 */
export function parseFlags(argv: readonly string[]): Flags {
  const { booleans, texts } = readArguments(argv);
  if (booleans.get('bootstrap') === true) {
    throw usageError('store does not support bootstrapping', 'leave out -bootstrap: no backend of signetd needs it');
  }
  const logFormat = texts.get('logf') ?? 'json';
  if (logFormat !== 'json' && logFormat !== 'logfmt') {
    throw usageError('invalid value for flag -logf', 'use -logf json or -logf logfmt');
  }
  const configFile = texts.get('config');
  return {
    configFile: configFile === '' ? undefined : configFile,
    debug: booleans.get('debug') ?? false,
    logFormat,
    version: booleans.get('version') ?? false,
    help: (booleans.get('help') ?? false) || (booleans.get('h') ?? false),
    welcome: booleans.get('welcome') ?? false,
    task: readTask(booleans, texts),
  };
}

function readTask(
  booleans: ReadonlyMap<string, boolean>,
  texts: ReadonlyMap<string, string>,
): MaintenanceTask | undefined {
  const kinds = ['migrate', 'rewrap', 'purge-deleted'].filter((name) => booleans.get(name) === true);
  if (kinds.length > 1) throw usageError(`-${kinds.join(' and -')} cannot be combined`, 'run one after the other');
  const [kind] = kinds;
  for (const [name, owner] of [
    ['from', 'rewrap'],
    ['to', 'rewrap'],
    ['older-than', 'purge-deleted'],
  ] as const) {
    if (texts.has(name) && kind !== owner) throw usageError(`-${name} goes with -${owner}`);
  }
  switch (kind) {
    case 'migrate':
      return { kind };
    case 'rewrap': {
      const [from, to] = [texts.get('from') ?? '', texts.get('to') ?? ''];
      const form = 'write -rewrap -from OLD-ALIAS -to NEW-ALIAS';
      if (from === '' || to === '') throw usageError('-rewrap needs two passphrase aliases', form);
      if (from === to) throw usageError('-rewrap from an alias to itself changes nothing', form);
      return { kind, from, to };
    }
    case 'purge-deleted': {
      const olderThanMs = parseAge(texts.get('older-than') ?? '');
      if (olderThanMs !== undefined) return { kind: 'purge', olderThanMs };
      throw usageError('-purge-deleted needs an age', 'write -purge-deleted -older-than 30d');
    }
    default:
      return undefined;
  }
}

/** Whole days (`30d`), or a Go duration. */
function parseAge(text: string): number | undefined {
  const days = /^(\d{1,5})d$/.exec(text)?.[1];
  return days === undefined ? parseDuration(text) : Number(days) * 86_400_000;
}

function readArguments(argv: readonly string[]) {
  const booleans = new Map<string, boolean>();
  const texts = new Map<string, string>();
  const rest = [...argv];
  for (let argument = rest.shift(); argument !== undefined; argument = rest.shift()) {
    if (argument === '--') break;
    const [, name, value] = FLAG.exec(argument) ?? [];
    if (name === undefined) throw strayArgument(argument);
    if (BOOLEAN_FLAGS.has(name)) {
      booleans.set(name, readBoolean(name, value ?? 'true'));
    } else if (TEXT_FLAGS.has(name)) {
      const text = value ?? rest.shift();
      if (text === undefined) throw usageError(`flag needs an argument: -${name}`);
      texts.set(name, text);
    } else {
      // The value is left out on purpose: it may be something that was never meant for a log.
      throw usageError(`flag provided but not defined: -${name}`);
    }
  }
  if (rest[0] !== undefined) throw strayArgument(rest[0]);
  return { booleans, texts };
}

function readBoolean(name: string, word: string): boolean {
  if (TRUE_WORDS.has(word)) return true;
  if (FALSE_WORDS.has(word)) return false;
  throw usageError(`invalid boolean value for flag -${name}`, `use -${name}, -${name}=true or -${name}=false`);
}

function strayArgument(argument: string): SignetError {
  return argument.startsWith('-') && argument !== '-'
    ? usageError(`bad flag syntax: ${argument.split('=', 1)[0]}`)
    : usageError('unexpected argument: signetd takes flags only', 'name the configuration file with -config FILE');
}

function usageError(message: string, hint = 'run signetd -help for the list of flags'): SignetError {
  return new SignetError('INVALID_ARGUMENT', message, { hint });
}
