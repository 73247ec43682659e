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

/** What people may call a token. */
export const TOKEN_NAMES = 'its serial number, its label, or its URI as signet token list shows it';

/** A token, where a command is about one. */
export const TOKEN: ArgumentSpec = { name: 'TOKEN', completes: 'token' };
/** Of commands with that argument. */
export const TOKEN_DETAILS = `TOKEN is ${TOKEN_NAMES}. Quote a URI with ";".`;

/** Where a new key goes. */
export const PLACE: Readonly<Record<string, OptionSpec>> = {
  backend: {
    value: 'NAME',
    choices: ['storage', 'file', 'sql', 'memory', 'pkcs11', 'yubikey'],
    help: "the key's home, instead of the one that `placement` in the daemon's configuration gives",
  },
  serial: { value: 'SERIAL', completes: 'serial', help: 'the token, where there are several' },
  token: { value: 'TOKEN', completes: 'token', help: `the token by any name: ${TOKEN_NAMES}` },
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

/** A trusted collection. */
export const GUN: ArgumentSpec = { name: 'GUN', completes: 'gun' };

/** Of commands that look at the notary program's configuration: its `trust_dir` counts. */
export const NOTARY_CONFIG: Readonly<Record<string, OptionSpec>> = {
  config: {
    short: 'c',
    value: 'FILE',
    completes: 'file',
    help: "the notary program's configuration (default: ~/.notary/config.json); its trust_dir stands in for -d",
  },
};

/** Of commands that ask the trust server. */
export const TRUST_SERVER: Readonly<Record<string, OptionSpec>> = {
  server: {
    short: 's',
    value: 'URL',
    help: 'the trust server (default: remote_server.url of a configuration that -c names, $DOCKER_CONTENT_TRUST_SERVER, remote_server.url)',
  },
  ...NOTARY_CONFIG,
  tlscacert: { value: 'FILE', completes: 'file', help: 'PEM of the only CA to trust for the server' },
  tlscert: { value: 'FILE', completes: 'file', help: 'PEM of the client certificate to show to the server' },
  tlskey: { value: 'FILE', completes: 'file', help: 'PEM of its key' },
};

/** Of commands that stage a change. */
export const PUBLISH: Readonly<Record<string, OptionSpec>> = {
  publish: { short: 'p', help: 'publish at once, with everything that is staged' },
};

export const TARGET_ROLES: Readonly<Record<string, OptionSpec>> = {
  roles: {
    short: 'r',
    value: 'ROLE',
    multiple: true,
    completes: 'role',
    help: 'a delegation, instead of targets',
  },
};
