/** Two tokens with one serial number, as all of NSS have: which one is meant is never guessed. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { completeInBash } from '../support/bash-completion.ts';
import { type CommandLineHome, commandLineHome } from '../support/cli.ts';
import { type Nss, nss } from '../support/nss.ts';

const SERIAL = '0000000000000000';
const NEW_PIN = '24682468';
let home: CommandLineHome;
let databases: readonly [Nss, Nss];
const signet = (...args: string[]) => home.signet(args);

beforeAll(async () => {
  home = await commandLineHome();
  databases = [await nss({ label: 'first' }), await nss({ label: 'other' })];
  await mkdir(join(home.path, '.signet'), { mode: 0o700 });
  const tokens = databases.map(({ modulePath, libraryParameters }, index) => ({
    uri: `pkcs11:token=${index === 0 ? 'first' : 'other'}?module-path=${modulePath}`,
    library_parameters: libraryParameters,
  }));
  await writeFile(join(home.path, '.signet', 'signetd.json'), JSON.stringify({ tokens }));
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
  for (const database of databases) await database[Symbol.asyncDispose]();
});

function changePin(token: string, from: string, to: string) {
  return home.signetOnTerminal(
    ['token', 'change-pin', token],
    [
      ['Enter the PIN of other', `${from}\r`],
      ['Enter the new PIN of other', `${to}\r`],
      ['Repeat the new PIN of other', `${to}\r`],
      ['The PIN was changed', null],
    ],
  );
}

describe('of two tokens with one serial number', () => {
  it('none is meant by the number, and the error says what to write', async () => {
    const hint = '"pkcs11:token=first", "pkcs11:token=other"\n';
    expect(await signet('token', 'change-pin', SERIAL)).toEqual({
      ending: 2,
      stdout: '',
      stderr:
        `signet: 2 configured tokens answer to "${SERIAL}"\n` + `signet: hint: name one of them by its URI: ${hint}`,
    });
    expect(await signet('token', 'change-pin')).toMatchObject({
      ending: 2,
      stderr: expect.stringContaining(`hint: say which one: ${hint}`),
    });
    expect(await signet('key', 'generate', '--serial', SERIAL)).toMatchObject({
      ending: 2,
      stderr:
        `signet: 2 configured tokens have the serial number "${SERIAL}"\n` +
        `signet: hint: name one of them by its URI: ${hint}`,
    });
  });

  it('one is meant by its URI or its label', async () => {
    const [{ pin }] = databases;
    expect(await changePin('pkcs11:token=other', pin, NEW_PIN)).toMatchObject({ ending: 0 });
    expect(await changePin('other', NEW_PIN, pin)).toMatchObject({ ending: 0 });
  });

  it('one is meant for a new key', async () => {
    const pinFile = await databases[1].pinFile();
    const made = await signet('key', 'generate', '--role', 'alice', '--token', 'other', '--pin-file', pinFile);
    expect(made).toMatchObject({ ending: 0, stderr: expect.stringContaining('the key is in pkcs11:token=other;') });
  });

  it('each has names that the shell completes', async () => {
    const { stdout } = await signet('complete', '--', 'token', 'unblock', 'pkcs11:');
    expect(stdout.trimEnd().split('\n')).toEqual(['pkcs11:token=first\tfirst', 'pkcs11:token=other\tother']);
    expect((await signet('complete', '--', 'key', 'generate', '--token', '0')).stdout).toBe('');
    expect(await completeInBash(home, ['token', 'unblock', 'pkcs11', ':', 'token', '=', 'o'])).toEqual(['other']);
  });
});
