/** `signet`: from the command line to an exit code. Commands are imported when they are needed: a start must be quick. */
import { parseArgs } from 'node:util';
import { EXIT_CODE_OF, SignetError } from '../errors.ts';
import { defaultAgentSocket } from '../locations.ts';
import { allowClosedOutput, printData, printError } from './output.ts';

const USAGE = `usage: signet [--socket PATH] COMMAND [--json]

commands:
  daemon status   what the running signetd serves, and which backends are up
  key list        every key of every backend

options:
  --socket PATH   the agent's socket (default: $SIGNET_SOCKET, else where signetd puts it)
  --json          machine-readable output
  --help          this text
  --version       print the version and exit
`;

const OPTIONS = {
  socket: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
  version: { type: 'boolean', default: false },
} as const;

/** @returns The exit code of src/errors.ts; 2 for wrong usage. */
export async function main(argv: readonly string[]): Promise<number> {
  allowClosedOutput();
  try {
    return await run(argv);
  } catch (error) {
    const failure = error instanceof SignetError ? error : new SignetError('INTERNAL', String(error), { cause: error });
    printError(failure);
    return EXIT_CODE_OF[failure.code];
  }
}

async function run(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parse(argv);
  if (values.help) {
    printData(USAGE);
    return 0;
  }
  if (values.version) {
    const { VERSION } = await import('../version.ts');
    printData(`signet ${VERSION}`);
    return 0;
  }
  const command = COMMANDS.get(positionals.join(' '));
  if (command === undefined) {
    const named = positionals.length === 0 ? 'no command given' : `unknown command "${positionals.join(' ')}"`;
    throw new SignetError('INVALID_ARGUMENT', named, { hint: 'signet --help lists the commands' });
  }
  const { AgentClient } = await import('../client/agent-client.ts');
  using agent = new AgentClient(values.socket ?? defaultAgentSocket(process.env));
  const perform = await command();
  await perform(agent, { json: values.json });
  return 0;
}

const COMMANDS = new Map([
  ['daemon status', async () => (await import('./commands/daemon.ts')).daemonStatus],
  ['key list', async () => (await import('./commands/key.ts')).keyList],
]);

function parse(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: OPTIONS, allowPositionals: true, strict: true });
  } catch (error) {
    throw new SignetError('INVALID_ARGUMENT', (error as Error).message.split('.')[0] ?? 'wrong usage', {
      hint: 'signet --help tells the options',
      cause: error,
    });
  }
}
