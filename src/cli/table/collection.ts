/** Trusted collections, with the words of the notary program. */
import type { ArgumentSpec, CommandSpec, OptionSpec } from '../command.ts';
import { GUN, NOTARY_CONFIG, PLACE, PUBLISH, TARGET_ROLES, TRUST_SERVER } from './shared.ts';

const TARGET: ArgumentSpec = { name: 'TARGET' };
const EXAMPLE = 'registry.example.com/team/app';

const CUSTOM: Readonly<Record<string, OptionSpec>> = {
  custom: { value: 'FILE', completes: 'file', help: 'JSON to publish with the target' },
};

export const COLLECTION_COMMANDS: readonly CommandSpec[] = [
  {
    name: 'init',
    summary: 'make a trusted collection: its keys, its root, and no targets yet',
    details: [
      "Uses the root key that is there, one on a token first, or makes one where `placement` in the daemon's configuration sends root keys. The root key signs its certificate for this collection. Targets and snapshot keys are made where they belong; the timestamp key is the server's.",
      'Says where each key is and what to back up. If anything fails, the keys that were made for it are removed.',
    ],
    arguments: [GUN],
    options: {
      publish: { short: 'p', help: 'publish at once' },
      'root-key': { value: 'ID', completes: 'key', help: 'the root key to use' },
      'root-cert': {
        value: 'FILE',
        completes: 'file',
        help: 'PEM of a certificate for the root key that was made elsewhere; its CN is the GUN',
      },
      'require-hardware': { help: 'refuse a root key that is not on a token' },
      'server-snapshot': { help: 'let the server keep the snapshot key, as docker does' },
      ...PLACE,
      ...TRUST_SERVER,
    },
    examples: [
      { purpose: 'Make and publish a collection', command: `signet init -p ${EXAMPLE}` },
      {
        purpose: 'With a root key that is made on a YubiKey, or not at all',
        command: `signet init -p --require-hardware --backend yubikey ${EXAMPLE}`,
      },
      { purpose: 'With a root key of several', command: `signet init --root-key 250486f ${EXAMPLE}` },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/collection-init.ts')).init,
  },
  {
    name: 'add',
    summary: 'stage a file as a target of a collection',
    details: ['Works offline: signet publish publishes it.'],
    arguments: [GUN, TARGET, { name: 'FILE', completes: 'file' }],
    options: { ...TARGET_ROLES, ...CUSTOM, ...PUBLISH, ...TRUST_SERVER },
    examples: [
      { purpose: 'Stage a file', command: `signet add ${EXAMPLE} v1 app.tar` },
      { purpose: 'Publish it at once', command: `signet add -p ${EXAMPLE} v1 app.tar` },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/collection-stage.ts')).add,
  },
  {
    name: 'addhash',
    summary: 'stage a target of which only the size and hashes are here',
    arguments: [GUN, TARGET, { name: 'SIZE' }],
    options: {
      sha256: { value: 'HEX', help: 'its SHA-256' },
      sha512: { value: 'HEX', help: 'its SHA-512' },
      ...TARGET_ROLES,
      ...CUSTOM,
      ...PUBLISH,
      ...TRUST_SERVER,
    },
    examples: [
      {
        purpose: 'Release an image by the digest of its manifest',
        command: `signet addhash -p ${EXAMPLE} 1.0 1573 --sha256 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824`,
      },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/collection-stage.ts')).addhash,
  },
  {
    name: 'remove',
    summary: 'stage the removal of a target',
    arguments: [GUN, TARGET],
    options: { ...TARGET_ROLES, ...PUBLISH, ...TRUST_SERVER },
    examples: [{ purpose: 'Take a target back', command: `signet remove -p ${EXAMPLE} v1` }],
    json: true,
    asks: true,
    load: async () => (await import('../commands/collection-stage.ts')).remove,
  },
  {
    name: 'publish',
    summary: 'sign and publish everything that is staged',
    details: [
      'On top of what the server has now. If that changes meanwhile, it starts anew. What was published is read back as others read it.',
    ],
    arguments: [GUN],
    options: TRUST_SERVER,
    examples: [{ purpose: 'Publish', command: `signet publish ${EXAMPLE}` }],
    json: true,
    asks: true,
    load: async () => (await import('../commands/collection-publish.ts')).publishCommand,
  },
  {
    name: 'status',
    summary: 'show what is staged',
    arguments: [GUN],
    options: NOTARY_CONFIG,
    examples: [{ purpose: 'See what publish would publish', command: `signet status ${EXAMPLE}` }],
    json: true,
    load: async () => (await import('../commands/collection-publish.ts')).status,
  },
  {
    name: 'reset',
    summary: 'take staged changes back',
    arguments: [GUN],
    options: {
      number: { short: 'n', value: 'NUMBER', multiple: true, help: 'a change, as status numbers it' },
      all: { help: 'all of them, also files that are no changes' },
      ...NOTARY_CONFIG,
    },
    examples: [
      { purpose: 'Take two changes back', command: `signet reset ${EXAMPLE} -n 0,2` },
      { purpose: 'Take all back', command: `signet reset ${EXAMPLE} --all` },
    ],
    json: true,
    load: async () => (await import('../commands/collection-publish.ts')).reset,
  },
  {
    name: 'list',
    summary: 'list the targets of a collection, verified',
    details: ['If the server cannot be reached, what was verified before is shown as long as it has not expired.'],
    arguments: [GUN],
    options: {
      roles: {
        short: 'r',
        value: 'ROLE',
        multiple: true,
        completes: 'role',
        help: 'only this role and what it delegates to; the first one that has a target counts',
      },
      ...TRUST_SERVER,
    },
    examples: [{ purpose: 'List', command: `signet list ${EXAMPLE}` }],
    json: true,
    load: async () => (await import('../commands/collection-read.ts')).list,
  },
  {
    name: 'lookup',
    summary: 'print hash and size of one target',
    arguments: [GUN, TARGET],
    options: TRUST_SERVER,
    examples: [{ purpose: 'Look one up', command: `signet lookup ${EXAMPLE} v1` }],
    json: true,
    load: async () => (await import('../commands/collection-read.ts')).lookup,
  },
  {
    name: 'verify',
    summary: 'check that content is what a target says; print it if it is',
    arguments: [GUN, TARGET],
    options: {
      input: { short: 'i', value: 'FILE', completes: 'file', help: 'the content (default: stdin)' },
      output: {
        short: 'o',
        value: 'FILE',
        completes: 'file',
        help: 'write it to this file of mode 0600 instead of stdout',
      },
      quiet: { short: 'q', help: 'print nothing' },
      ...TRUST_SERVER,
    },
    examples: [
      {
        purpose: 'Use only what is signed',
        command: `curl -sL https://example.com/app.tar | signet verify ${EXAMPLE} v1 | tar x`,
      },
    ],
    json: true,
    load: async () => (await import('../commands/collection-read.ts')).verify,
  },
  {
    name: 'witness',
    summary: 'stage roles to be signed anew: after their keys changed, or before they expire',
    arguments: [GUN, { name: 'ROLE', many: true, completes: 'role' }],
    options: { ...PUBLISH, ...TRUST_SERVER },
    examples: [
      { purpose: 'Sign a delegation with its new key', command: `signet witness -p ${EXAMPLE} targets/releases` },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/collection-stage.ts')).witness,
  },
  {
    name: 'delete',
    summary: 'remove the metadata of a collection from here, with what is staged',
    details: ['Keys stay.'],
    arguments: [GUN],
    options: { remote: { help: 'from the server too, for everybody' }, ...TRUST_SERVER },
    examples: [{ purpose: 'Forget what was seen', command: `signet delete ${EXAMPLE}` }],
    json: true,
    load: async () => (await import('../commands/collection-delete.ts')).deleteCollection,
  },
];
