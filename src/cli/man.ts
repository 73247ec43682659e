/** Man pages (man(7) macros), made from the table: what `man signet` and `man signet-key-import` show. */
import type { CommandSpec } from './command.ts';
import { optionsOf } from './command.ts';
import { argumentText, optionHelp, optionText, sentence, synopsis } from './help.ts';

const EXIT_CODES: readonly (readonly [string, string])[] = [
  ['0', 'done'],
  ['1', 'unsupported, misconfigured, or a bug'],
  ['2', 'wrong usage or argument'],
  ['3', 'no such key, or it exists already'],
  ['4', 'a passphrase or PIN is missing or wrong, or not allowed'],
  ['5', 'the daemon, the token or the storage is not there or busy'],
  ['6', 'a stored key, a signature or metadata is damaged or refused'],
  ['130', 'cancelled'],
];

const FILES: readonly (readonly [string, string])[] = [
  ['~/.docker/trust/private', 'keys, shared with notary and docker; $DOCKER_CONFIG/trust/private where that is set'],
  [
    '~/.notary/config.json',
    "notary's configuration of collections; in it signet.max_expiry is ours: the most days until root, targets or snapshot metadata expires",
  ],
  ['~/.signet/signetd.json', 'configuration of daemons that commands start'],
  ['~/.signet/log/signetd.log', 'their log; $XDG_STATE_HOME/signet/signetd.log where that is set'],
];

const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ['SIGNET_SOCKET', "the agent's socket, an absolute path"],
  ['SIGNET_PINENTRY', 'the program that asks where there is no terminal (default: pinentry, where windows can open)'],
  ['DOCKER_CONFIG', "Docker's configuration directory instead of ~/.docker"],
  ['HTTPS_PROXY, HTTP_PROXY, NO_PROXY', 'the way to the trust server, as for notary and docker; or in lower case'],
  [
    'NOTARY_ROOT_PASSPHRASE, NOTARY_TARGETS_PASSPHRASE, NOTARY_SNAPSHOT_PASSPHRASE',
    'passphrases of keys of these roles',
  ],
  ['NOTARY_DELEGATION_PASSPHRASE', 'passphrase of keys of every other role but timestamp'],
  ['DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE', "passphrase of root keys, where notary's variable is not set"],
  ['DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE', "passphrase of other keys, where notary's variable is not set"],
];

/** @returns Pages by file name, `signet.1` first. */
export function manPages(commands: readonly CommandSpec[], version: string): ReadonlyMap<string, string> {
  const shown = commands.filter(({ hidden }) => !hidden);
  return new Map([
    ['signet.1', programPage(shown, version)],
    ...shown.map((command): [string, string] => [`${pageName(command.name)}.1`, commandPage(command, version)]),
  ]);
}

function pageName(command: string): string {
  return `signet-${command.replaceAll(' ', '-')}`;
}

function programPage(commands: readonly CommandSpec[], version: string): string {
  return page('signet', version, 'keys that sign container trust data', [
    ...section('SYNOPSIS', ['.B signet', '.I COMMAND', text('[ARGUMENT…] [OPTION…]')]),
    ...section('DESCRIPTION', [
      text(
        'Manages the keys that sign container trust data (The Update Framework, as in Notary and Docker Content Trust). The daemon signetd keeps them, and starts by itself when a command needs it.',
      ),
      '.PP',
      text('Key IDs may be shortened to a unique beginning.'),
    ]),
    ...section(
      'COMMANDS',
      definitions(
        commands.map(({ name, arguments: specs = [], summary }) => [
          [name, ...specs.map(argumentText)].join(' '),
          sentence(summary),
        ]),
      ),
    ),
    ...section('ENVIRONMENT', [...definitions(ENVIRONMENT), '.PP', text('PINs are never taken from a variable.')]),
    ...section('FILES', definitions(FILES)),
    ...section('EXIT STATUS', definitions(EXIT_CODES)),
    ...section('SEE ALSO', [text(commands.map(({ name }) => `${pageName(name)}(1)`).join(', '))]),
  ]);
}

function commandPage(command: CommandSpec, version: string): string {
  const options = Object.entries(optionsOf(command)).map(([name, spec]): [string, string] => [
    optionText(name, spec),
    optionHelp(spec),
  ]);
  const examples = command.examples.flatMap(({ purpose, command: line }) => [
    '.PP',
    text(`${purpose}:`),
    '.PP',
    '.RS 4',
    '.nf',
    text(line),
    '.fi',
    '.RE',
  ]);
  return page(pageName(command.name), version, command.summary, [
    ...section('SYNOPSIS', [text(synopsis(command))]),
    ...section('DESCRIPTION', [
      text(sentence(command.summary)),
      ...(command.details ?? []).flatMap((paragraph) => ['.PP', text(paragraph)]),
    ]),
    ...section('OPTIONS', definitions(options)),
    ...section('EXAMPLES', examples.slice(1)),
    ...section('SEE ALSO', [text('signet(1)')]),
  ]);
}

function page(name: string, version: string, summary: string, body: readonly string[]): string {
  const title = `.TH ${name.toUpperCase()} 1 "" "signet ${version}"`;
  return `${[title, ...section('NAME', [`${text(name)} \\- ${text(summary)}`]), ...body].join('\n')}\n`;
}

function section(title: string, lines: readonly string[]): readonly string[] {
  return [`.SH ${title}`, ...lines];
}

function definitions(rows: readonly (readonly [string, string])[]): readonly string[] {
  return rows.flatMap(([term, definition]) => ['.TP', `.B ${text(term)}`, text(definition)]);
}

/** Escapes what groff_char(7) names as special, and a control character at the beginning of a line. */
function text(plain: string): string {
  const escaped = plain
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('`', '\\(ga')
    .replaceAll('~', '\\(ti')
    .replaceAll('^', '\\(ha')
    .replaceAll('…', '...')
    .replaceAll('‖', '||')
    .replaceAll('"', '\\(dq');
  return escaped.startsWith('.') ? `\\&${escaped}` : escaped;
}
