/** `signet`: from the command line to an exit code. Commands are imported when they are needed: a start must be quick. */
import { join, resolve } from 'node:path';
import { EXIT_CODE_OF, SignetError } from '../errors.ts';
import { defaultAgentSocket } from '../locations.ts';
import type { CommandSpec } from './command.ts';
import { interruption } from './interruption.ts';
import { Invocation } from './invocation.ts';
import { printData, printError, printErrorJson, watchOutput } from './output.ts';
import { type ParsedCommand, parseCommand, selectCommand } from './parse.ts';
import { AgentSession } from './session.ts';
import { COMMANDS } from './table/commands.ts';

/** @returns The exit code of src/errors.ts; 2 for wrong usage. */
export async function main(argv: readonly string[]): Promise<number> {
  watchOutput();
  try {
    return await run(argv, interruption());
  } catch (error) {
    const failure = error instanceof SignetError ? error : new SignetError('INTERNAL', String(error), { cause: error });
    if (argv.includes('--json')) printErrorJson(failure);
    else printError(failure);
    return EXIT_CODE_OF[failure.code];
  }
}

async function run(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const selection = selectCommand(COMMANDS, argv);
  if (selection === undefined) return await withoutCommand(argv);
  if ('noun' in selection) return await withoutVerb(selection.noun, selection.rest);
  const { command, rest } = selection;
  const parsed = parseCommand(command, rest);
  if (parsed.values['help'] === true) {
    const { commandHelp } = await import('./help.ts');
    printData(commandHelp(command));
    return 0;
  }
  using session = new AgentSession(sessionOptions(command, parsed, signal));
  const action = await command.load();
  try {
    const world = { env: process.env, signal, session, commands: COMMANDS };
    return (await action(new Invocation(parsed.args, parsed.values, world))) ?? 0;
  } catch (error) {
    // Whatever failed because of Ctrl-C, what the user should read is that.
    if (signal.aborted) throw new SignetError('CANCELLED', 'cancelled', { cause: error });
    throw error;
  }
}

function sessionOptions(command: CommandSpec, { values }: ParsedCommand, signal: AbortSignal) {
  const { env } = process;
  const text = (option: string) => {
    const value = values[option];
    return typeof value === 'string' ? value : undefined;
  };
  const dockerConfig = env['DOCKER_CONFIG'];
  const trustDir = text('trust-dir') ?? (dockerConfig ? join(dockerConfig, 'trust') : undefined);
  const socket = text('socket');
  return {
    socket: command.offline ? '' : socket === undefined ? defaultAgentSocket(env) : resolve(socket),
    trustDir: trustDir === undefined ? undefined : resolve(trustDir),
    env,
    signal,
    program: `signet ${command.name}`,
    mayAsk: values['no-input'] !== true,
    secrets: {
      passphraseFile: text('passphrase-file'),
      passphraseFd: text('passphrase-fd'),
      pinFile: text('pin-file'),
      pinFd: text('pin-fd'),
    },
  };
}

const isHelp = (word: string) => word === '--help' || word === '-h';

async function withoutCommand(argv: readonly string[]): Promise<number> {
  if (argv.some(isHelp)) {
    const { programHelp } = await import('./help.ts');
    printData(programHelp(COMMANDS));
    return 0;
  }
  if (argv.includes('--version')) {
    const { VERSION } = await import('../version.ts');
    printData(`signet ${VERSION}`);
    return 0;
  }
  const named = argv[0] === undefined ? 'no command given' : `unknown option ${argv[0]}`;
  throw new SignetError('INVALID_ARGUMENT', named, { hint: 'signet --help lists the commands' });
}

async function withoutVerb(noun: string, rest: readonly string[]): Promise<number> {
  const ofNoun = COMMANDS.filter(({ name }) => name.startsWith(`${noun} `));
  if (ofNoun.length > 0 && rest.some(isHelp)) {
    const { nounHelp } = await import('./help.ts');
    printData(nounHelp(noun, ofNoun));
    return 0;
  }
  const typed = rest
    .filter((word) => !word.startsWith('-'))
    .slice(0, 2)
    .join(' ');
  const { nearestWord } = await import('../nearest.ts');
  const similar = nearestWord(
    typed,
    COMMANDS.filter(({ hidden }) => !hidden).map(({ name }) => name),
  );
  const list = ofNoun.length > 0 ? `signet ${noun} --help lists its verbs` : 'signet --help lists the commands';
  throw new SignetError('INVALID_ARGUMENT', `unknown command "${typed}"`, {
    hint: similar === undefined ? list : `did you mean "${similar}"? ${list}`,
  });
}
