/** `signet daemon …` */
import type { CommandSpec } from '../command.ts';

export const DAEMON_COMMANDS: readonly CommandSpec[] = [
  {
    name: 'daemon start',
    summary: 'start signetd in the background',
    details: [
      'Commands start it by themselves when they need it, with ~/.signet/signetd.json if that is there, else without a configuration and to end after a day without work. A configuration without a `server` section is an agent only. Its log is $XDG_STATE_HOME/signet/signetd.log, else ~/.signet/log/signetd.log.',
    ],
    options: {
      config: { short: 'c', value: 'FILE', completes: 'file', help: 'the configuration (docs/configuration.md)' },
      'idle-timeout': { value: 'TIME', help: 'end after this time without a call, 0s for never' },
    },
    examples: [
      { purpose: 'Start it with tokens', command: 'signet daemon start --config tokens.json' },
      { purpose: 'Let it end after an hour without work', command: 'signet daemon start --idle-timeout 1h' },
    ],
    json: true,
    load: async () => (await import('../commands/daemon.ts')).daemonStart,
  },
  {
    name: 'daemon stop',
    summary: 'end signetd when it has finished what it does; opened keys are forgotten',
    examples: [{ purpose: 'Stop it', command: 'signet daemon stop' }],
    json: true,
    load: async () => (await import('../commands/daemon.ts')).daemonStop,
  },
  {
    name: 'daemon status',
    summary: 'show what the running signetd serves, and which backends are up',
    details: ['Does not start it: exit code 5 if none runs.'],
    examples: [{ purpose: 'Ask whether it runs', command: 'signet daemon status' }],
    json: true,
    load: async () => (await import('../commands/daemon.ts')).daemonStatus,
  },
  {
    name: 'daemon logs',
    summary: 'print the log of a daemon that signet started',
    options: {
      lines: { short: 'n', value: 'N', help: 'how many lines from the end (default: 100)' },
      follow: { short: 'f', help: 'go on as the log grows, until Ctrl-C' },
    },
    examples: [{ purpose: 'Watch who has what signed', command: 'signet daemon logs --follow' }],
    load: async () => (await import('../commands/daemon.ts')).daemonLogs,
  },
];
