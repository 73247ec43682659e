/** `signet help` */
import { SignetError } from '../../errors.ts';
import { commandHelp, nounHelp, programHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import { printData } from '../output.ts';

export async function help({ args, world: { commands } }: Invocation): Promise<undefined> {
  const name = args.join(' ');
  const command = commands.find((candidate) => candidate.name === name);
  const ofNoun = commands.filter((candidate) => candidate.name.startsWith(`${name} `));
  if (name === '') printData(programHelp(commands));
  else if (command !== undefined) printData(commandHelp(command));
  else if (ofNoun.length > 0) printData(nounHelp(name, ofNoun));
  else
    throw new SignetError('INVALID_ARGUMENT', `unknown command "${name}"`, {
      hint: 'signet --help lists the commands',
    });
}
