/** `signet token …` */
import type { ArgumentSpec, CommandSpec } from '../command.ts';
import { TOKEN, TOKEN_DETAILS } from './shared.ts';

const OPTIONAL_TOKEN: ArgumentSpec = { ...TOKEN, optional: true };

export const TOKEN_COMMANDS: readonly CommandSpec[] = [
  {
    name: 'token list',
    summary: 'list the configured tokens, with the PIN and PUK tries that are left',
    details: ['Spends no try.'],
    examples: [{ purpose: 'See whether the token is there', command: 'signet token list' }],
    json: true,
    load: async () => (await import('../commands/token.ts')).tokenList,
  },
  {
    name: 'token change-pin',
    summary: 'change the PIN of a token',
    details: [TOKEN_DETAILS],
    arguments: [OPTIONAL_TOKEN],
    options: { puk: { help: 'change the PUK instead' }, 'so-pin': { help: 'change the SO PIN instead' } },
    examples: [
      { purpose: 'Choose another PIN', command: 'signet token change-pin' },
      { purpose: 'Name one of several tokens', command: 'signet token change-pin pkcs11:token=ci' },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/token.ts')).tokenChangePin,
  },
  {
    name: 'token unblock',
    summary: 'set a new PIN with the PUK or the SO PIN, after too many wrong ones',
    details: [TOKEN_DETAILS],
    arguments: [OPTIONAL_TOKEN],
    examples: [{ purpose: 'Unblock the only token', command: 'signet token unblock' }],
    json: true,
    asks: true,
    load: async () => (await import('../commands/token.ts')).tokenUnblock,
  },
  {
    name: 'token init',
    summary: 'erase a token and give it a name and new PINs',
    details: [TOKEN_DETAILS],
    arguments: [TOKEN],
    options: {
      label: { value: 'NAME', help: 'the name of the token' },
      'really-erase-all-keys': { help: 'do not ask' },
    },
    examples: [{ purpose: 'Prepare a new token', command: 'signet token init 1234567 --label release-keys' }],
    json: true,
    asks: true,
    load: async () => (await import('../commands/token.ts')).tokenInit,
  },
];
