/** Variables that commands will pick up, and for which keys. Their values are never shown. */
import { PASSPHRASE_VARIABLES, passphraseVariables } from '../../passphrase-variables.ts';
import { type Finding, findings } from './finding.ts';

const found = findings('environment');
const ROLES = ['root', 'targets', 'snapshot', 'timestamp'];
const OTHER_ROLES = 'delegations and signers';
/** Where they point is worth knowing, and no secret. */
const PLACES = ['SIGNET_SOCKET', 'SIGNET_PINENTRY', 'DOCKER_CONFIG', 'DOCKER_CONTENT_TRUST_SERVER'];

export function checkEnvironment(env: NodeJS.ProcessEnv): readonly Finding[] {
  const result: Finding[] = [];
  for (const name of PASSPHRASE_VARIABLES) {
    const value = env[name];
    if (value === undefined) continue;
    if (value === '') {
      result.push(found.warning(`${name} is set to nothing, so it is ignored`, `unset ${name}`));
      continue;
    }
    const roles = [...ROLES, OTHER_ROLES].filter((role) => firstVariable(role, env) === name);
    const use =
      roles.length === 0 ? 'not used: another variable comes first' : `the passphrase of keys for ${roles.join(', ')}`;
    result.push(found.note(`${name} is set: ${use}`));
    if (value.trim().length < 8) {
      result.push(found.warning(`${name} has fewer than 8 characters`, 'choose a longer one, and: signet key passwd'));
    }
  }
  for (const name of PLACES) if (env[name]) result.push(found.note(`${name} is ${env[name]}`));
  return result.length === 0 ? [found.ok('no variable of notary, docker or signet is set')] : result;
}

function firstVariable(role: string, env: NodeJS.ProcessEnv): string | undefined {
  return passphraseVariables(role).find((name) => env[name]);
}
