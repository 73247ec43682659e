/** Every command, in the order of `signet --help`. */
import type { CommandSpec } from '../command.ts';
import { DAEMON_COMMANDS } from './daemon.ts';
import { KEY_COMMANDS } from './key.ts';
import { KEY_FILE_COMMANDS } from './key-files.ts';
import { KEY_USE_COMMANDS } from './key-use.ts';
import { OTHER_COMMANDS } from './other.ts';
import { TOKEN_COMMANDS } from './token.ts';
import { UNLOCK_COMMANDS } from './unlock.ts';

export const COMMANDS: readonly CommandSpec[] = [
  ...KEY_COMMANDS,
  ...KEY_USE_COMMANDS,
  ...KEY_FILE_COMMANDS,
  ...UNLOCK_COMMANDS,
  ...TOKEN_COMMANDS,
  ...DAEMON_COMMANDS,
  ...OTHER_COMMANDS,
];
