/** Commands about signet itself. */
import type { CommandSpec } from '../command.ts';

export const OTHER_COMMANDS: readonly CommandSpec[] = [
  {
    name: 'doctor',
    summary: 'look for what usually goes wrong, and name the command that mends it',
    details: [
      'Looks at directories and key files, the daemon, tokens and their PIN tries (without spending one), PKCS#11 modules, variables that will be picked up, the clock, and the trust server. Changes nothing. Exit code 1 if something is wrong.',
    ],
    options: {
      server: {
        short: 's',
        value: 'URL',
        help: "the trust server (default: $DOCKER_CONTENT_TRUST_SERVER, else that of notary's config.json)",
      },
    },
    examples: [{ purpose: 'Look at everything', command: 'signet doctor' }],
    json: true,
    load: async () => (await import('../commands/doctor.ts')).doctor,
  },
  {
    name: 'completion',
    summary: 'print the completion script of a shell',
    arguments: [{ name: 'SHELL', choices: ['bash', 'zsh', 'fish'] }],
    examples: [
      { purpose: 'For bash, in ~/.bashrc', command: 'source <(signet completion bash)' },
      { purpose: 'For zsh, in ~/.zshrc after compinit', command: 'source <(signet completion zsh)' },
      { purpose: 'For fish', command: 'signet completion fish > ~/.config/fish/completions/signet.fish' },
    ],
    offline: true,
    load: async () => (await import('../commands/completion.ts')).completion,
  },
  {
    name: 'help',
    summary: 'explain a command',
    arguments: [{ name: 'COMMAND', optional: true, many: true }],
    examples: [{ purpose: 'Explain one', command: 'signet help key import' }],
    offline: true,
    load: async () => (await import('../commands/help.ts')).help,
  },
  {
    name: 'complete',
    summary: 'print what may follow on a command line, one candidate a line; for completion scripts',
    details: ['The words of the command line so far, the one under the cursor last, after "--".'],
    arguments: [{ name: 'WORD', optional: true, many: true }],
    examples: [{ purpose: 'See the verbs of keys', command: 'signet complete -- key ""' }],
    hidden: true,
    load: async () => (await import('../commands/completion.ts')).complete,
  },
];
