/** Options and arguments that several commands have. */
import type { ArgumentSpec, OptionSpec } from '../command.ts';

export const KEY_ID: ArgumentSpec = { name: 'ID', completes: 'key' };

export const OUTPUT: Readonly<Record<string, OptionSpec>> = {
  output: {
    short: 'o',
    value: 'FILE',
    completes: 'file',
    help: 'write to this new file of mode 0600 (default: stdout)',
  },
  force: { help: 'replace FILE if it exists' },
};

export const MESSAGE: OptionSpec = {
  value: 'FILE',
  completes: 'file',
  help: 'the message (default: stdin)',
};

/** Where a new key goes. */
export const PLACE: Readonly<Record<string, OptionSpec>> = {
  backend: {
    value: 'NAME',
    choices: ['storage', 'file', 'sql', 'memory', 'pkcs11', 'yubikey'],
    help: "the key's home, instead of the one that `placement` in the daemon's configuration gives",
  },
  serial: { value: 'SERIAL', completes: 'serial', help: 'the token, where there are several' },
  slot: { value: 'SLOT', help: 'PIV slot: 9a, 9c, 9d, 9e or 82 to 95 (default: a free one)' },
  'really-overwrite-slot': { help: 'replace the key that is in the slot; it cannot be recovered' },
  'pin-policy': {
    value: 'POLICY',
    choices: ['always', 'once', 'never'],
    help: 'when a YubiKey wants its PIN for this key',
  },
  'touch-policy': {
    value: 'POLICY',
    choices: ['always', 'cached', 'never'],
    help: 'when a YubiKey wants to be touched for this key',
  },
};
