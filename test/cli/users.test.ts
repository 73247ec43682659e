/** docs/users.md: every command in it, as it stands there, prints what stands there. */
import { mkdir, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CommandLineHome, commandLineHome, SIGNET } from '../support/cli.ts';
import { runOnTerminal, type Turn } from '../support/terminal.ts';

const GUIDE = fileURLToPath(new URL('../../docs/users.md', import.meta.url));
/** The home in the guide. */
const DOCUMENTED_HOME = '/home/alice';
const PASSPHRASE = 'correct horse battery staple';
const ID = /[0-9a-f]{64}/;
/** ECMA-48 EL, as a pattern. */
const ERASE_LINE = '\u001b\\[K';

interface Step {
  readonly command: string;
  readonly output: readonly string[];
}

const guide = await readFile(GUIDE, 'utf8');
const steps = [...guide.matchAll(/^```console\n(.*?)^```$/gms)].flatMap(([, block = '']) => stepsOf(block));

function stepsOf(block: string): Step[] {
  return block
    .split(/^\$ /m)
    .slice(1)
    .map((text) => {
      const [command = '', ...output] = text.trimEnd().split('\n');
      return { command, output };
    });
}

let home: CommandLineHome;
/** Keys of the guide → keys of this run. */
const actualIds = new Map<string, string>();

beforeAll(async () => {
  home = await commandLineHome();
  await mkdir(join(home.path, 'bin'));
  await symlink(SIGNET, join(home.path, 'bin', 'signet'));
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

/** Words that begin a key ID of the guide → the same beginning of the key of this run. */
function commandHere(command: string): string {
  return command.replace(/\b[0-9a-f]{7,64}\b/g, (word) => {
    const [, actual] = [...actualIds].find(([documented]) => documented.startsWith(word)) ?? [];
    return actual === undefined ? word : actual.slice(0, word.length);
  });
}

/** What the person in the guide is asked, and types. */
function dialogueOf(output: readonly string[]): Turn[] {
  return output.flatMap((line): Turn[] => {
    if (/^\[signet .*passphrase for .*: *$/.test(line)) return [[patternOf(line.trimEnd()).source, `${PASSPHRASE}\r`]];
    const typed = /^(Type ".*" to go ahead: )(\w+)$/.exec(line);
    return typed === null ? [] : [[patternOf(typed[1] ?? '').source, `${typed[2]}\r`]];
  });
}

/** What varies from run to run, as patterns. A key ID that is new in the guide is a group of its own. */
function patternOf(line: string): RegExp {
  const varying: readonly (readonly [RegExp, (found: string) => string])[] = [
    [ID, (id) => actualIds.get(id) ?? '([0-9a-f]{64})'],
    [/(?<=ID )[0-9a-f]{7}\b/, () => '[0-9a-f]{7}'],
    [/\d{4}-\d\d-\d\dT[\d:.]+Z/, () => '\\S+Z'],
    [/pid \d+/, () => 'pid \\d+'],
    [/[A-Za-z0-9+/]{86}==/, () => '[A-Za-z0-9+/]{86}=='],
    [/(?<=^note {5}).*YubiKey.*/, () => '.*YubiKey.*'],
    // notary cuts long paths.
    [new RegExp(`${DOCUMENTED_HOME}\\S*/private$`), () => '\\S+/private'],
    [new RegExp(DOCUMENTED_HOME), () => escaped(home.path)],
  ];
  const any = new RegExp(varying.map(([pattern]) => `(?:${pattern.source})`).join('|'), 'g');
  const source: string[] = [];
  let end = 0;
  for (const match of line.matchAll(any)) {
    const [, replacement] = varying.find(([pattern]) => matchesHere(pattern, line, match)) ?? [];
    source.push(escaped(line.slice(end, match.index)), replacement?.(match[0]) ?? '');
    end = match.index + match[0].length;
  }
  return new RegExp(source.join('') + escaped(line.slice(end)));
}

function matchesHere(pattern: RegExp, line: string, match: RegExpExecArray): boolean {
  const sticky = new RegExp(pattern.source, 'y');
  sticky.lastIndex = match.index;
  return sticky.exec(line)?.[0] === match[0];
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/** Which modules are installed differs. */
function isOfEveryMachine(line: string): boolean {
  return !line.includes('PKCS#11 module');
}

/** What a person sees: lines that were drawn over are gone. */
function seen(output: string): string[] {
  return output
    .replace(new RegExp(`[^\\n]*${ERASE_LINE}`, 'g'), '')
    .replaceAll('\r', '')
    .trimEnd()
    .split('\n')
    .map((line) => line.trimEnd());
}

describe('docs/users.md', () => {
  it('has commands', () => {
    expect(steps.length).toBeGreaterThan(25);
  });

  it.each(steps)('$command', async ({ command, output }) => {
    const env = { ...home.env, PATH: `${join(home.path, 'bin')}:${home.env['PATH']}` };
    const result = await runOnTerminal(
      ['bash', '-c', commandHere(command)],
      { env, cwd: home.path },
      dialogueOf(output),
    );
    const printed = seen(result.output).filter(isOfEveryMachine);
    const documented = output.map((line) => line.trimEnd()).filter(isOfEveryMachine);
    // Listings are in the order of key IDs, which is another one in each run.
    const remaining = [...printed];
    for (const line of documented) {
      const pattern = new RegExp(`^${patternOf(line).source}$`);
      const index = remaining.findIndex((candidate) => pattern.test(candidate));
      expect(index, `"${line}" is not in:\n${printed.join('\n')}`).toBeGreaterThanOrEqual(0);
      const actual = pattern.exec(remaining.splice(index, 1)[0] ?? '')?.[1];
      const id = ID.exec(line)?.[0];
      if (id !== undefined && actual !== undefined) actualIds.set(id, actual);
    }
    expect(remaining.filter((line) => line !== '')).toEqual([]);
  });
});
