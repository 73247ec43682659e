/** Passphrases for a time, and for longer. */
import type { CommandSpec } from '../command.ts';
import { KEY_ID, TOKEN_NAMES } from './shared.ts';

const TOKEN: NonNullable<CommandSpec['options']> = {
  token: { value: 'TOKEN', completes: 'token', help: `the PIN of this token, instead of a key: ${TOKEN_NAMES}` },
  serial: { value: 'SERIAL', completes: 'serial', help: 'the PIN of this token, instead of a key' },
  label: { value: 'LABEL', help: 'the label of that token, where several have one serial number, or it is gone' },
};

export const UNLOCK_COMMANDS: readonly CommandSpec[] = [
  {
    name: 'unlock',
    summary: 'open keys, so that the daemon signs with them without a passphrase for a time',
    details: ['A key on a token is opened with the PIN; the token then stays open until it is locked or taken out.'],
    arguments: [{ ...KEY_ID, optional: true, many: true }],
    options: {
      all: { help: 'every key that needs a passphrase' },
      for: { value: 'TIME', help: 'how long, at most 24h (default: what the daemon is configured for, an hour)' },
    },
    examples: [
      { purpose: 'Work for half an hour without being asked', command: 'signet unlock 250486f --for 30m' },
      { purpose: 'Forget it again', command: 'signet lock' },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/unlock.ts')).unlock,
  },
  {
    name: 'lock',
    summary: 'forget opened keys, and log out of tokens',
    details: ['Without an ID: everything.'],
    arguments: [{ ...KEY_ID, optional: true, many: true }],
    examples: [{ purpose: 'Lock everything', command: 'signet lock' }],
    json: true,
    load: async () => (await import('../commands/unlock.ts')).lock,
  },
  {
    name: 'key remember',
    summary: "keep a key's passphrase, or a token's PIN, in the operating system's keyring",
    details: ['The passphrase is checked before it is kept. A PIN is kept only for the token that you name.'],
    arguments: [{ ...KEY_ID, optional: true }],
    options: TOKEN,
    examples: [
      { purpose: 'Never be asked for this key again', command: 'signet key remember 250486f' },
      { purpose: 'Never be asked for the PIN of this token again', command: 'signet key remember --token 1234567' },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/unlock.ts')).keyRemember,
  },
  {
    name: 'key forget',
    summary: "remove a passphrase or PIN from the operating system's keyring",
    arguments: [{ ...KEY_ID, optional: true }],
    options: TOKEN,
    examples: [{ purpose: 'Be asked again', command: 'signet key forget 250486f' }],
    json: true,
    load: async () => (await import('../commands/unlock.ts')).keyForget,
  },
];
