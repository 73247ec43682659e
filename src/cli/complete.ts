/** What may follow on a command line. */
import { resolve } from 'node:path';
import type { CallOptions } from '../client/agent-client.ts';
import { defaultTrustDir } from '../locations.ts';
import type { AgentKey, TokenMessage, TokenStatusMessage } from '../rpc/messages.ts';
import { type ArgumentSpec, type CommandSpec, type Completion, type OptionSpec, optionsOf } from './command.ts';
import { ownerText } from './key-text.ts';
import { printable } from './output.ts';
import { selectCommand } from './parse.ts';
import type { AgentSession } from './session.ts';

/** A shell waits: a busy daemon means no key IDs, milliseconds. */
const PATIENCE_MS = 2000;
const ROLES = ['root', 'targets', 'snapshot', 'timestamp', 'targets/releases'];

/**
 * @param words After the program's name; the last one is being typed, and may be ''.
 * @returns Candidates that begin with the last word, each with a tab and its description where there is one; or `:file`
 *   or `:directory` for the shell's own completion
 */
export async function candidates(
  commands: readonly CommandSpec[],
  words: readonly string[],
  session: AgentSession,
): Promise<readonly string[]> {
  const current = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  const selection = selectCommand(commands, before);
  if (selection === undefined || 'noun' in selection) {
    return matching(namesAfter(commands, selection === undefined ? '' : `${selection.noun} `), current);
  }
  const { command, rest } = selection;
  const options = optionsOf(command);
  const call = callOf(before, session);
  const pending = optionOf(options, rest.at(-1) ?? '');
  if (pending?.value !== undefined) return await values(pending, current, session, call);
  if (current.startsWith('-')) {
    return matching(
      Object.entries(options).map(([name, { help }]) => `--${name}\t${help}`),
      current,
    );
  }
  const argument = argumentAt(command, argumentsIn(options, rest).length);
  return argument === undefined ? [] : await values(argument, current, session, call);
}

/** Nouns and single words, or the verbs of a noun. */
function namesAfter(commands: readonly CommandSpec[], prefix: string): readonly string[] {
  const names = new Map<string, string>();
  for (const { name, summary, hidden } of commands) {
    if (hidden || !name.startsWith(prefix)) continue;
    const [word = '', ...more] = name.slice(prefix.length).split(' ');
    names.set(word, more.length === 0 ? summary : `commands about ${word}s`);
  }
  return [...names].map(([name, summary]) => `${name}\t${summary}`);
}

function optionOf(options: Readonly<Record<string, OptionSpec>>, word: string): OptionSpec | undefined {
  if (word.startsWith('--')) return Object.hasOwn(options, word.slice(2)) ? options[word.slice(2)] : undefined;
  return word.startsWith('-') ? Object.values(options).find(({ short }) => short === word.slice(1)) : undefined;
}

function argumentsIn(options: Readonly<Record<string, OptionSpec>>, words: readonly string[]): readonly string[] {
  return words.filter((word, index) => {
    const isValue = optionOf(options, words[index - 1] ?? '')?.value !== undefined;
    return !isValue && !word.startsWith('-');
  });
}

function argumentAt({ arguments: specs = [] }: CommandSpec, index: number): ArgumentSpec | undefined {
  const last = specs.at(-1);
  return specs[index] ?? (last?.many ? last : undefined);
}

async function values(
  spec: { readonly choices?: readonly string[]; readonly completes?: Completion },
  current: string,
  session: AgentSession,
  call: CallOptions,
): Promise<readonly string[]> {
  if (spec.choices !== undefined) return matching(spec.choices, current);
  switch (spec.completes) {
    case 'file':
    case 'directory':
      return [`:${spec.completes}`];
    case 'role':
      return matching(ROLES, current);
    case 'key':
      return matching(await keyIds(session, call), current);
    case 'serial':
      return matching(await serials(session, call), current);
    case 'token':
      return matching(await tokenNames(session, call), current);
    case 'gun':
      return matching(await guns(call), current);
    default:
      return [];
  }
}

function matching(found: readonly string[], current: string): readonly string[] {
  return found.filter((candidate) => candidate.startsWith(current));
}

/** For the trust directory that the words name. */
function callOf(words: readonly string[], session: AgentSession): CallOptions {
  const index = words.findLastIndex((word) => word === '-d' || word === '--trust-dir');
  const named = words[index + 1];
  const trustDir = index < 0 || named === undefined ? session.trustDir : resolve(named);
  return { ...session.call, trustDir, timeoutMs: PATIENCE_MS };
}

/** Only from a daemon that runs: the tab key starts nothing. */
async function keyIds(session: AgentSession, call: CallOptions): Promise<readonly string[]> {
  const agent = await session.running();
  const keys: AgentKey[] = [];
  for await (const key of agent?.listKeys(call) ?? []) keys.push(key);
  return keys.map((key) => `${key.key_id}\t${printable(ownerText(key))}`);
}

/** Of collections that are kept here; notary's configuration is not looked at. */
async function guns({ trustDir = defaultTrustDir(process.env) }: CallOptions): Promise<readonly string[]> {
  const { localCollections } = await import('../repository/local-collections.ts');
  const found: string[] = [];
  for await (const { gun } of localCollections(trustDir)) found.push(printable(gun));
  return found.sort();
}

async function serials(session: AgentSession, call: CallOptions): Promise<readonly string[]> {
  return (await tokens(session, call)).map(({ token }) => `${printable(token?.serial ?? '')}\t${labelOf(token)}`);
}

/** Serial numbers that no two tokens have, and every URI. */
async function tokenNames(session: AgentSession, call: CallOptions): Promise<readonly string[]> {
  const found = await tokens(session, call);
  return found.flatMap(({ token, location }) => {
    const serial = token?.serial ?? '';
    const isUnique = serial !== '' && found.filter((other) => other.token?.serial === serial).length === 1;
    return [...(isUnique ? [serial] : []), location].map((name) => `${printable(name)}\t${labelOf(token)}`);
  });
}

async function tokens(session: AgentSession, call: CallOptions): Promise<readonly TokenStatusMessage[]> {
  const agent = await session.running();
  return (await agent?.listTokens(call))?.tokens ?? [];
}

function labelOf(token: TokenMessage | null): string {
  return printable(token?.label ?? '');
}
