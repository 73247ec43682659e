/** `signet key …`: what keys there are, and what becomes of them. */
import type { CommandSpec } from '../command.ts';
import { KEY_ID, PLACE } from './shared.ts';

export const KEY_COMMANDS: readonly CommandSpec[] = [
  {
    name: 'key list',
    summary: 'list every key: role, GUN, key ID, what a signature needs, last use, where it is',
    details: [
      'Root keys come first, then by GUN, role and key ID, as with notary. Nothing is asked and nothing is unlocked.',
    ],
    examples: [
      { purpose: 'Show every key', command: 'signet key list' },
      { purpose: "Show the notary program's own keys", command: 'signet key list -d ~/.notary' },
      {
        purpose: 'Take the IDs of all root keys',
        command: `signet key list --json | jq -r '.[] | select(.role == "root").keyId'`,
      },
    ],
    json: true,
    load: async () => (await import('../commands/key-list.ts')).keyList,
  },
  {
    name: 'key show',
    summary: 'show all that is known about one key',
    arguments: [KEY_ID],
    examples: [{ purpose: 'Show a key by the beginning of its ID', command: 'signet key show 250486f' }],
    json: true,
    load: async () => (await import('../commands/key-list.ts')).keyShow,
  },
  {
    name: 'key generate',
    summary: 'make a key',
    details: [
      "The key is made where `placement` in the daemon's configuration sends keys of its role, else in the storage. A key in a file is sealed under a passphrase that you choose, and notary and docker read it. Nothing falls back from a token to a file unless the configuration allows it; --require-hardware rules it out.",
    ],
    arguments: [{ name: 'ALGORITHM', optional: true, choices: ['ecdsa', 'ECDSA', 'ed25519', 'rsa'] }],
    options: {
      role: {
        short: 'r',
        value: 'ROLE',
        completes: 'role',
        help: 'root, targets, snapshot, timestamp, a delegation or the name of a signer (default: root)',
      },
      gun: {
        short: 'g',
        value: 'GUN',
        help: 'the trusted collection that the key belongs to, for targets and snapshot keys',
      },
      algorithm: {
        short: 'a',
        value: 'ALGORITHM',
        choices: ['ecdsa', 'ed25519', 'rsa'],
        help: 'the kind of key (default: ecdsa)',
      },
      curve: { value: 'CURVE', choices: ['P-256', 'P-384'], help: 'for ecdsa (default: P-256)' },
      bits: { value: 'BITS', choices: ['2048', '3072', '4096'], help: 'for rsa (default: 3072)' },
      ...PLACE,
      'require-hardware': { help: 'refuse any home that is not a token' },
    },
    examples: [
      { purpose: 'Make a root key', command: 'signet key generate' },
      {
        purpose: 'Make a targets key for one collection',
        command: 'signet key generate --role targets --gun registry.example.com/team/app',
      },
      {
        purpose: 'Make a root key that never leaves its token',
        command: 'signet key generate --role root --backend yubikey --require-hardware',
      },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/key-generate.ts')).keyGenerate,
  },
  {
    name: 'key passwd',
    summary: 'give a key another passphrase',
    arguments: [KEY_ID],
    options: {
      'new-passphrase-file': {
        value: 'FILE',
        completes: 'file',
        help: 'read the new passphrase from a file that only you can read (default: ask for it twice)',
      },
    },
    examples: [{ purpose: 'Choose a new passphrase', command: 'signet key passwd 250486f' }],
    json: true,
    asks: true,
    load: async () => (await import('../commands/key-change.ts')).keyPasswd,
  },
  {
    name: 'key rename-role',
    summary: 'give a key another role, and another GUN',
    arguments: [KEY_ID, { name: 'ROLE', completes: 'role' }],
    options: {
      gun: {
        short: 'g',
        value: 'GUN',
        help: 'the trusted collection that the key belongs to (default: the one it has)',
      },
    },
    examples: [
      {
        purpose: 'Make a key that was imported without a role the one of signer alice',
        command: 'signet key rename-role 250486f alice',
      },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/key-change.ts')).keyRenameRole,
  },
  {
    name: 'key remove',
    summary: 'remove a key for good',
    details: [
      'Names the trusted collections of the same trust directory that rely on the key, and has the word "remove" typed.',
    ],
    arguments: [KEY_ID],
    options: { yes: { short: 'y', help: 'do not ask' } },
    examples: [
      {
        purpose: 'Keep a copy, then remove',
        command: 'signet key export --key 250486f -o old-key.pem && signet key remove 250486f',
      },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/key-change.ts')).keyRemove,
  },
];
