/** Completion: what the scripts ask, and the one for bash in a real bash. */
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CommandLineHome, commandLineHome, generatedKeyId, SIGNET } from '../support/cli.ts';
import { runProgram } from '../support/processes.ts';

let home: CommandLineHome;
let keyId: string;

beforeAll(async () => {
  home = await commandLineHome();
  await mkdir(join(home.path, 'bin'));
  await symlink(SIGNET, join(home.path, 'bin', 'signet'));
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
    expect(await names('')).toEqual(['key', 'unlock', 'lock', 'token', 'daemon', 'doctor', 'completion', 'help']);
    expect(await complete('daemon', 'sta')).toEqual([
      'start\tstart signetd in the background',
      'status\tshow what the running signetd serves, and which backends are up',
    ]);
    expect(await names('-d', 'somewhere', 'token', 'l')).toEqual(['list']);
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
  /** Completes as the tab key does. */
  const inBash = async (...words: string[]) => {
    const script = `
      source <(signet completion bash)
      compopt() { :; }
      COMP_WORDS=("$@")
      COMP_CWORD=$(($# - 1))
      _signet
      printf '%s\\n' "\${COMPREPLY[@]}"`;
    const env = { ...home.env, PATH: `${join(home.path, 'bin')}:${home.env['PATH']}` };
    const result = await runProgram('bash', ['-c', script, 'bash', 'signet', ...words], { env, cwd: home.path });
    expect(result).toMatchObject({ ending: 0, stderr: '' });
    return result.stdout.trimEnd().split('\n');
  };

  it('completes verbs, options, files and key IDs', async () => {
    expect(await inBash('key', 'ge')).toEqual(['generate']);
    expect(await inBash('key', 'sign', '--form')).toEqual(['--format']);
    expect(await inBash('key', 'import', 'some')).toEqual(['some-key.pem']);
    expect(await inBash('key', 'show', '-d', 'there', '')).toEqual([keyId]);
  });
});
