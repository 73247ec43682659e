/** `signet delegation …`: who else may sign targets. */
import type { ArgumentSpec, CommandSpec, OptionSpec } from '../command.ts';
import { GUN, PUBLISH, TRUST_SERVER } from './shared.ts';

const ROLE: ArgumentSpec = { name: 'ROLE', completes: 'role' };
const EXAMPLE = 'registry.example.com/team/app';

const PATHS: Readonly<Record<string, OptionSpec>> = {
  paths: { value: 'PREFIX', multiple: true, help: 'beginnings of names of targets' },
  'all-paths': { help: 'all names' },
};

export const DELEGATION_COMMANDS: readonly CommandSpec[] = [
  {
    name: 'delegation list',
    summary: 'list who else may sign targets of a collection',
    arguments: [GUN],
    options: TRUST_SERVER,
    examples: [{ purpose: 'List', command: `signet delegation list ${EXAMPLE}` }],
    json: true,
    load: async () => (await import('../commands/delegation.ts')).delegationList,
  },
  {
    name: 'delegation add',
    summary: 'stage keys or paths for a delegation, which is made if it is not there',
    arguments: [GUN, ROLE, { name: 'FILE', optional: true, many: true, completes: 'file' }],
    options: { ...PATHS, ...PUBLISH, ...TRUST_SERVER },
    examples: [
      {
        purpose: 'Let the holder of a key sign releases',
        command: `signet delegation add -p ${EXAMPLE} targets/releases alice.pub --all-paths`,
      },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/delegation.ts')).delegationAdd,
  },
  {
    name: 'delegation remove',
    summary: 'stage the removal of keys or paths from a delegation, or of all of it',
    arguments: [GUN, ROLE, { name: 'ID', optional: true, many: true }],
    options: { ...PATHS, yes: { short: 'y', help: 'do not ask' }, ...PUBLISH, ...TRUST_SERVER },
    examples: [
      { purpose: 'Take a path away', command: `signet delegation remove -p ${EXAMPLE} targets/qa --paths test/` },
      { purpose: 'Remove all of it', command: `signet delegation remove -p ${EXAMPLE} targets/qa --yes` },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/delegation.ts')).delegationRemove,
  },
  {
    name: 'delegation purge',
    summary: 'stage the removal of keys from all delegations',
    arguments: [GUN],
    options: {
      key: { value: 'ID', multiple: true, help: 'all 64 characters of its ID' },
      ...PUBLISH,
      ...TRUST_SERVER,
    },
    examples: [
      {
        purpose: 'After a key was lost',
        command: `signet delegation purge -p ${EXAMPLE} --key e10c56e261964686cef5e5d858dd77775b519512bbf80c6d62b13fed6eb88158`,
      },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/delegation.ts')).delegationPurge,
  },
];
