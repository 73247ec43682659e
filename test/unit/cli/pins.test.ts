/** PINs that nobody typed: a wrong one must never be tried twice. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Person } from '../../../src/cli/prompts/person.ts';
import { SecretSources } from '../../../src/cli/prompts/sources.ts';
import type { QuestionMessage } from '../../../src/rpc/messages.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/temp.ts';

const TOKEN = { backend: 'pkcs11', label: 'ci', serial: '1234' };
const { signal } = new AbortController();

let directory: TemporaryDirectory;
let person: Person;
beforeAll(async () => {
  directory = await temporaryDirectory();
  await writeFile(join(directory.path, 'pin'), '123456\n', { mode: 0o600 });
});
afterAll(async () => {
  await directory[Symbol.asyncDispose]();
});
beforeEach(() => {
  // Every passphrase variable is set: none of them is a PIN.
  const env = { NOTARY_DELEGATION_PASSPHRASE: '123456', DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE: '123456' };
  const sources = new SecretSources({ pinFile: join(directory.path, 'pin') }, env);
  person = new Person({ sources, program: 'signet key sign', mayAsk: false, env, signal });
});

const question = (more: Partial<QuestionMessage> = {}): QuestionMessage => ({
  kind: 'pin',
  key_id: '',
  role: '',
  gun: '',
  token: TOKEN,
  attempt: 0,
  tries_left: 3,
  reason: '',
  ...more,
});
async function answer(more: Partial<QuestionMessage> = {}): Promise<string | undefined> {
  using secret = await person.answer(question(more), signal);
  return secret === undefined ? undefined : Buffer.from(secret.bytes()).toString();
}

describe('a PIN that nobody gives', () => {
  it('is told with why the configured one is not used', async () => {
    const alone = new Person({
      sources: new SecretSources({}, {}),
      program: 'signet key sign',
      mayAsk: false,
      env: {},
      signal,
    });
    expect(await alone.answer(question({ reason: 'the PIN of pin-source /pin was refused' }), signal)).toBeUndefined();
    expect(alone.refusal).toMatchObject({
      code: 'PIN_REQUIRED',
      message: 'the PIN of ci (serial 1234) is needed and nobody can be asked for it',
      hint: 'the PIN of pin-source /pin was refused; or use --pin-file or --pin-fd, or run it on a terminal',
    });
  });
});

describe('the PIN from a file', () => {
  it('is given once where the token counts one try less afterwards', async () => {
    expect(await answer({ tries_left: 3 })).toBe('123456');
    expect(await answer({ tries_left: 2 })).toBeUndefined();
    expect(person.refusal).toMatchObject({
      code: 'PIN_INCORRECT',
      message: `the PIN from ${join(directory.path, 'pin')} is not the PIN of ci (serial 1234)`,
    });
  });

  it('is given once in a call where the token does not count', async () => {
    expect(await answer({ tries_left: -1 })).toBe('123456');
    expect(await answer({ tries_left: -1 })).toBeUndefined();
  });

  it('is given to each of two tokens with one serial number', async () => {
    expect(await answer({ tries_left: -1 })).toBe('123456');
    expect(await answer({ tries_left: -1, token: { ...TOKEN, label: 'another' } })).toBe('123456');
  });

  it('is given again where the token counts as many tries as before, and in the next call', async () => {
    expect(await answer({ tries_left: 3 })).toBe('123456');
    expect(await answer({ tries_left: 3 })).toBe('123456');
    person.endCall();
    expect(await answer({ tries_left: -1 })).toBe('123456');
  });

  it('is never the last try', async () => {
    expect(await answer({ tries_left: 1 })).toBeUndefined();
    expect(person.refusal).toMatchObject({
      code: 'PIN_REQUIRED',
      message: 'the PIN of ci (serial 1234) has one try left, which is not spent unattended',
    });
  });

  it.each([['puk'], ['so-pin'], ['management-key'], ['new pin'], ['new puk']])('is no %s', async (kind) => {
    expect(await answer({ kind })).toBeUndefined();
    expect(person.refusal).toMatchObject({ code: 'PIN_REQUIRED' });
  });
});

describe('a PIN', () => {
  it('is never taken from a passphrase variable', async () => {
    const env = { NOTARY_DELEGATION_PASSPHRASE: '123456', NOTARY_ROOT_PASSPHRASE: '123456' };
    person = new Person({ sources: new SecretSources({}, env), program: 'signet', mayAsk: false, env, signal });
    expect(await answer()).toBeUndefined();
    expect(person.refusal).toMatchObject({
      code: 'PIN_REQUIRED',
      message: 'the PIN of ci (serial 1234) is needed and nobody can be asked for it',
      hint: 'use --pin-file or --pin-fd, or run it on a terminal',
    });
  });
});
