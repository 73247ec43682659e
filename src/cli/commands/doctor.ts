/** `signet doctor` */
import { dirname, join } from 'node:path';
import { defaultTrustDir } from '../../locations.ts';
import { checkDaemon } from '../doctor/daemon.ts';
import { checkDirectory } from '../doctor/directories.ts';
import { checkEnvironment } from '../doctor/environment.ts';
import type { Finding } from '../doctor/finding.ts';
import { checkKeyFiles } from '../doctor/key-files.ts';
import { checkModules } from '../doctor/modules.ts';
import { checkSmartCards } from '../doctor/smart-cards.ts';
import { checkTrustServer, findTrustServer } from '../doctor/trust-server.ts';
import type { Invocation } from '../invocation.ts';
import { printable, printData, printJson } from '../output.ts';

export async function doctor(invocation: Invocation): Promise<number> {
  const { env, session } = invocation.world;
  const trustDir = session.trustDir ?? defaultTrustDir(env);
  const privateDir = join(trustDir, 'private');
  const found: readonly Finding[] = (
    await Promise.all([
      checkDirectory('trust directory', trustDir),
      checkDirectory('key directory', privateDir),
      checkKeyFiles(privateDir),
      checkDirectory('socket directory', dirname(session.socket)),
      checkDaemon(session),
      checkSmartCards(),
      checkModules(env),
      checkEnvironment(env),
      findTrustServer(invocation.text('server'), env).then(checkTrustServer),
    ])
  ).flat();
  if (invocation.json) printJson(found);
  else printData(found.map(lineOf).join('\n'));
  return found.some(({ state }) => state === 'problem') ? 1 : 0;
}

function lineOf({ state, text, remedy }: Finding): string {
  return printable(`${state.padEnd('problem'.length)}  ${text}${remedy === undefined ? '' : `; mend it: ${remedy}`}`);
}
