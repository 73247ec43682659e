/** Commands that change the keys of a trusted collection. */
import type { CommandSpec } from '../command.ts';
import { GUN, PLACE, TRUST_SERVER } from './shared.ts';

export const COLLECTION_KEY_COMMANDS: readonly CommandSpec[] = [
  {
    name: 'key rotate',
    summary: 'give a role of a collection another key, and publish that at once',
    details: [
      'What is staged is not published. The former private key of targets and snapshot is removed when the server has taken the new one; that of root stays, because it must have signed for clients that come later.',
    ],
    arguments: [GUN, { name: 'ROLE', completes: 'role' }],
    options: {
      'server-managed': {
        short: 'r',
        help: 'let the server make and keep the key: timestamp always, snapshot perhaps',
      },
      key: {
        short: 'k',
        value: 'ID',
        multiple: true,
        completes: 'key',
        help: 'an existing key to use (default: a new one)',
      },
      legacy: {
        short: 'l',
        value: 'N',
        help: 'for root: sign with the root keys of the last N versions too, -1 for all (default: 0)',
      },
      'require-hardware': { help: 'refuse a home that is not a token' },
      yes: { short: 'y', help: 'do not ask' },
      ...PLACE,
      ...TRUST_SERVER,
    },
    examples: [
      { purpose: 'Replace the targets key', command: 'signet key rotate registry.example.com/team/app targets' },
      {
        purpose: 'Let the server sign snapshots',
        command: 'signet key rotate registry.example.com/team/app snapshot -r',
      },
      {
        purpose: 'Move the root to a token',
        command: 'signet key rotate registry.example.com/team/app root --require-hardware',
      },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/key-rotate.ts')).keyRotate,
  },
];
