/** A bug ends signetd with one line that names it. Its text, which may hold anything, is for those who want details. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runProgram, startProgram } from '../support/processes.ts';
import { Resources } from '../support/resources.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';

const SIGNETD = fileURLToPath(new URL('../../bin/signetd', import.meta.url));
const PRELOAD = fileURLToPath(new URL('../support/has-a-bug.cjs', import.meta.url));
const TEXT = 'text that nobody knows';

let resources: Resources;
let directory: TemporaryDirectory;

beforeEach(async () => {
  resources = new Resources();
  directory = resources.use(await temporaryDirectory());
});
afterEach(() => resources[Symbol.asyncDispose]());

const environment = (bug: string) => ({
  PATH: process.env['PATH'] ?? '',
  HOME: directory.path,
  NODE_OPTIONS: `--require=${PRELOAD}`,
  BUG: bug,
});

function lastLine(text: string): Record<string, unknown> {
  return JSON.parse(text.trimEnd().split('\n').at(-1) ?? '') as Record<string, unknown>;
}

describe('a bug at the start', () => {
  it.each([
    [[], 'unexpected error: TypeError'],
    [['-debug'], `unexpected error: TypeError: ${TEXT}`],
  ])('with %j is told as %j', async (flags, msg) => {
    const result = await runProgram(SIGNETD, flags, { cwd: directory.path, env: environment('at start') });
    expect(result).toMatchObject({ ending: 1, stdout: '' });
    expect(lastLine(result.stderr)).toMatchObject({ level: 'fatal', msg });
    expect(result.stderr.includes(TEXT)).toBe(flags.length > 0);
  });
});

describe('a bug later on', () => {
  it.each(['info', 'debug'])('at level %s names the error, and tells its text at debug only', async (level) => {
    const configFile = join(directory.path, 'signetd.json');
    const agent = { socket: join(directory.path, 'run', 's') };
    await writeFile(configFile, JSON.stringify({ storage: { backend: 'memory' }, agent, logging: { level } }));
    const trigger = join(directory.path, 'trigger');
    const options = { cwd: directory.path, env: environment(trigger) };
    const daemon = resources.use(
      await startProgram(SIGNETD, ['-config', configFile], options, { output: /"msg":"ready"/ }),
    );
    await writeFile(trigger, '');
    const { ending, stderr } = await daemon.ended;
    expect(ending).toBe(1);
    expect(lastLine(stderr)).toMatchObject({ level: 'fatal', msg: 'this is a bug: ending', error: 'TypeError' });
    expect(stderr.includes(TEXT)).toBe(level === 'debug');
    expect(Object.hasOwn(lastLine(stderr), 'stack')).toBe(level === 'debug');
  });
});
