/** Variables by which the notary and docker programs take passphrases. PINs never come from any of them (SECURITY.md). */

const NOTARY_VARIABLE: Readonly<Record<string, string | undefined>> = {
  root: 'NOTARY_ROOT_PASSPHRASE',
  targets: 'NOTARY_TARGETS_PASSPHRASE',
  snapshot: 'NOTARY_SNAPSHOT_PASSPHRASE',
  timestamp: undefined, // notary has none: servers hold timestamp keys
};
/** For every other role: delegations, and signers by their names. */
const NOTARY_DELEGATION_VARIABLE = 'NOTARY_DELEGATION_PASSPHRASE';
const DOCKER_ROOT_VARIABLE = 'DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE';
const DOCKER_REPOSITORY_VARIABLE = 'DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE';

/** Every variable of both programs. */
export const PASSPHRASE_VARIABLES: readonly string[] = [
  ...Object.values(NOTARY_VARIABLE).filter((name) => name !== undefined),
  NOTARY_DELEGATION_VARIABLE,
  DOCKER_ROOT_VARIABLE,
  DOCKER_REPOSITORY_VARIABLE,
];

/** The variables that both programs read for a role, notary's first. */
export function passphraseVariables(role: string): readonly string[] {
  const notary = Object.hasOwn(NOTARY_VARIABLE, role) ? NOTARY_VARIABLE[role] : NOTARY_DELEGATION_VARIABLE;
  const docker = role === 'root' ? DOCKER_ROOT_VARIABLE : DOCKER_REPOSITORY_VARIABLE;
  return notary === undefined ? [docker] : [notary, docker];
}
