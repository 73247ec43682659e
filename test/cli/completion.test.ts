/** Completion: what the scripts ask, and the one for bash in a real bash. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { completeInBash } from '../support/bash-completion.ts';
import { type CommandLineHome, commandLineHome, generatedKeyId } from '../support/cli.ts';

let home: CommandLineHome;
let keyId: string;

beforeAll(async () => {
  home = await commandLineHome();
  await writeFile(join(home.path, 'some-key.pem'), '');
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

const complete = async (...words: string[]) =>
  (await home.signet(['complete', '--', ...words])).stdout.trimEnd().split('\n');
const names = async (...words: string[]) => (await complete(...words)).map((line) => line.split('\t')[0]);

describe('signet complete', () => {
  it('asks no daemon that does not run, and starts none', async () => {
    expect(await complete('key', 'show', '')).toEqual(['']);
    expect(await home.signet(['daemon', 'status'])).toMatchObject({ ending: 5 });
  });

  it('knows nouns, verbs and what they do', async () => {
    expect(await names('')).toEqual([
      ...[
        'init',
        'add',
        'addhash',
        'remove',
        'publish',
        'status',
        'reset',
        'list',
        'lookup',
        'verify',
        'witness',
        'delete',
      ],
      ...['delegation', 'key', 'unlock', 'lock', 'token', 'daemon', 'doctor', 'completion', 'help'],
    ]);
    expect(await complete('daemon', 'sta')).toEqual([
      'start\tstart signetd in the background',
      'status\tshow what the running signetd serves, and which backends are up',
    ]);
    expect(await names('-d', 'somewhere', 'token', 'l')).toEqual(['list']);
  });

  it('knows the collections of a trust directory', async () => {
    for (const gun of ['example.com/a', 'example.com/a/b']) {
      await mkdir(join(home.path, 'other', 'tuf', gun, 'metadata'), { recursive: true });
    }
    expect(await names('-d', 'other', 'list', '')).toEqual(['example.com/a', 'example.com/a/b']);
    expect(await names('list', '')).toEqual(['']);
  });

  it('knows options, their values, and roles', async () => {
    expect(await names('key', 'generate', '--re')).toEqual(['--really-overwrite-slot', '--require-hardware']);
    expect(await names('key', 'generate', '--curve', '')).toEqual(['P-256', 'P-384']);
    expect(await names('key', 'generate', '-r', 't')).toEqual(['targets', 'timestamp', 'targets/releases']);
    expect(await names('completion', '')).toEqual(['bash', 'zsh', 'fish']);
  });

  it('leaves files and directories to the shell', async () => {
    expect(await complete('key', 'import', '')).toEqual([':file']);
    expect(await complete('key', 'list', '--trust-dir', '')).toEqual([':directory']);
  });

  it('knows the IDs of the keys in the trust directory that is named', async () => {
    const env = { NOTARY_ROOT_PASSPHRASE: 'a passphrase' };
    keyId = generatedKeyId(await home.signet(['key', 'generate', '-d', 'there'], { env }));
    expect(await complete('key', 'show', '-d', 'there', keyId.slice(0, 3))).toEqual([`${keyId}\troot key`]);
    expect(await complete('key', 'export', '-d', 'there', '--key', '')).toEqual([`${keyId}\troot key`]);
    expect(await complete('key', 'show', '')).toEqual(['']);
  });
});

describe('the completion script of bash', () => {
  const inBash = (...words: string[]) => completeInBash(home, words);

  it('completes verbs, options, files and key IDs', async () => {
    expect(await inBash('key', 'ge')).toEqual(['generate']);
    expect(await inBash('key', 'sign', '--form')).toEqual(['--format']);
    expect(await inBash('key', 'import', 'some')).toEqual(['some-key.pem']);
    expect(await inBash('key', 'show', '-d', 'there', '')).toEqual([keyId]);
  });

  it('completes what has a ":", which bash takes apart', async () => {
    await mkdir(join(home.path, 'other', 'tuf', 'example.com:5000', 'a b', 'metadata'), { recursive: true });
    expect(await inBash('-d', 'other', 'list', 'example.com', ':', '50')).toEqual(['5000/a\\ b']);
  });
});
