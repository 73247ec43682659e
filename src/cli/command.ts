/**
 * What a command is: one row of the table from which come parsing, `--help`, the man pages and shell completion.
 *
 * Rows are data. What a command does is imported when it runs, because a start must be quick.
 */
import type { Invocation } from './invocation.ts';

/** What the shell offers at a place of the command line. */
export type Completion = 'key' | 'file' | 'directory' | 'role' | 'serial' | 'token' | 'gun';

export interface OptionSpec {
  /** One letter, without the dash. */
  readonly short?: string;
  /** Name of the value in the help text; without it the option is a switch. */
  readonly value?: string;
  /** May be given several times. */
  readonly multiple?: true;
  /** The only values it takes. */
  readonly choices?: readonly string[];
  readonly completes?: Completion;
  readonly help: string;
}

export interface ArgumentSpec {
  /** In capitals, as the help text shows it. */
  readonly name: string;
  readonly optional?: true;
  /** Takes all that is left; only the last one may. */
  readonly many?: true;
  readonly choices?: readonly string[];
  readonly completes?: Completion;
}

export interface Example {
  /** What it is good for, as an imperative sentence without a full stop. */
  readonly purpose: string;
  readonly command: string;
}

/** @returns The exit code; nothing is 0. */
export type Action = (invocation: Invocation) => Promise<number | undefined>;

export interface CommandSpec {
  /** Noun and verb, or a single word: `key list`, `unlock`. */
  readonly name: string;
  /** One line, lower case, without a full stop. */
  readonly summary: string;
  /** Paragraphs. */
  readonly details?: readonly string[];
  readonly arguments?: readonly ArgumentSpec[];
  /** By their long names. */
  readonly options?: Readonly<Record<string, OptionSpec>>;
  readonly examples: readonly Example[];
  /** True: prints data, so that it takes `--json`. */
  readonly json?: true;
  /** True: may ask for a passphrase or PIN, so that it takes the options that say where they come from. */
  readonly asks?: true;
  /** True: looks at nothing but its own arguments, so that it takes no socket. */
  readonly offline?: true;
  /** True: in no list; for other programs. */
  readonly hidden?: true;
  readonly load: () => Promise<Action>;
}

/** Of every command. */
const COMMON_OPTIONS = {
  help: { short: 'h', help: 'explain the command and show examples' },
} as const satisfies Readonly<Record<string, OptionSpec>>;

const JSON_OPTIONS = {
  json: { help: 'print JSON, errors too' },
} as const satisfies Readonly<Record<string, OptionSpec>>;

const AGENT_OPTIONS = {
  'trust-dir': {
    short: 'd',
    value: 'DIR',
    completes: 'directory',
    help: 'work on the keys of this trust directory (default: $DOCKER_CONFIG/trust where that is set, else what the daemon is configured for)',
  },
  socket: {
    value: 'PATH',
    completes: 'file',
    help: "the agent's socket (default: $SIGNET_SOCKET, else where signetd puts it)",
  },
} as const satisfies Readonly<Record<string, OptionSpec>>;

const SECRET_OPTIONS = {
  'passphrase-file': {
    value: 'FILE',
    completes: 'file',
    help: 'read the passphrase from a file that only you can read',
  },
  'passphrase-fd': { value: 'N', help: 'read the passphrase from this open file descriptor' },
  'pin-file': { value: 'FILE', completes: 'file', help: 'read the PIN from a file that only you can read' },
  'pin-fd': { value: 'N', help: 'read the PIN from this open file descriptor' },
  'no-input': { help: 'ask nobody: fail where a passphrase, PIN or confirmation is missing' },
} as const satisfies Readonly<Record<string, OptionSpec>>;

/** The command's own options, then those that it shares with others. */
export function optionsOf(command: CommandSpec): Readonly<Record<string, OptionSpec>> {
  return {
    ...command.options,
    ...(command.json && JSON_OPTIONS),
    ...(command.asks && SECRET_OPTIONS),
    ...(!command.offline && AGENT_OPTIONS),
    ...COMMON_OPTIONS,
  };
}
