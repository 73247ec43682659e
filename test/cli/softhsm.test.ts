/** Keys on a real module's token, from the command line: SoftHSM, whose PIN is in no configuration. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CommandLineHome, commandLineHome, generatedKeyId } from '../support/cli.ts';
import { SOFTHSM_MODULE, type SoftHsm, softHsm, TEST_PIN } from '../support/softhsm.ts';

let home: CommandLineHome;
let token: SoftHsm;
let pinFile: string;
let env: Readonly<Record<string, string>>;
let keyId: string;
const signet = (...args: string[]) => home.signet(args, { env });

beforeAll(async () => {
  home = await commandLineHome();
  token = await softHsm();
  await token.createToken('ci');
  pinFile = await token.pinFile();
  env = token.env;
  await mkdir(join(home.path, '.signet'), { mode: 0o700 });
  const config = {
    tokens: [{ uri: `pkcs11:token=ci?module-path=${SOFTHSM_MODULE}` }],
    placement: { root: ['pkcs11'], '*': ['storage'] },
  };
  await writeFile(join(home.path, '.signet', 'signetd.json'), JSON.stringify(config));
  await writeFile(join(home.path, 'message'), 'hello');
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
  await token[Symbol.asyncDispose]();
});

describe('a token', () => {
  it('is listed before anyone has typed its PIN', async () => {
    expect(JSON.parse((await signet('token', 'list', '--json')).stdout)).toMatchObject([
      { backend: 'pkcs11', label: 'ci', present: true, loggedIn: false, pinLocked: false },
    ]);
  });

  it('makes a key when its PIN is typed, and is named in the prompt', async () => {
    const result = await home.signetOnTerminal(
      ['key', 'generate', '--require-hardware'],
      [
        ['\\[signet key generate\\] Enter the PIN of ci \\(serial [0-9a-f]+\\): ', `${TEST_PIN}\r`],
        ['the key is in pkcs11:token=ci;', null],
      ],
      { env },
    );
    expect(result).toMatchObject({ ending: 0, echo: true });
    keyId = generatedKeyId({ ending: 0, stdout: result.output.replaceAll('\r', ''), stderr: '' });
    expect(result.output).not.toContain(TEST_PIN);
  });

  it('signs with the PIN from a file, and not with a wrong one', async () => {
    await signet('lock');
    const sign = ['key', 'sign', keyId, '--in', 'message', '-o', 'signature', '--force'];
    expect(await signet(...sign)).toMatchObject({ ending: 4 });
    expect(await signet(...sign, '--pin-file', await token.pinFile('00000000'))).toMatchObject({ ending: 4 });
    expect(await signet(...sign, '--pin-file', pinFile)).toMatchObject({ ending: 0 });
    const verified = await signet('key', 'verify', keyId, '--signature', 'signature', '--in', 'message');
    expect(verified).toMatchObject({ ending: 0, stdout: 'The signature is valid.\n' });
  });

  it('keeps its keys to itself', async () => {
    expect(await signet('key', 'export', '--key', keyId)).toMatchObject({ ending: 1, stdout: '' });
    const all = await signet('key', 'export');
    expect(all).toMatchObject({ ending: 3, stdout: '' });
    expect(all.stderr).toContain('signet: left out: one key whose home gives no key away\n');
  });

  it('takes another PIN', async () => {
    await signet('lock');
    const result = await home.signetOnTerminal(
      ['token', 'change-pin'],
      [
        ['Enter the PIN of ci', `${TEST_PIN}\r`],
        ['Enter the new PIN of ci', '24682468\r'],
        ['Repeat the new PIN of ci', '24682468\r'],
        ['The PIN was changed', null],
      ],
      { env },
    );
    expect(result).toMatchObject({ ending: 0, echo: true });
    await signet('lock');
    const newPin = await token.pinFile('24682468');
    expect(await signet('key', 'sign', keyId, '--in', 'message', '--pin-file', newPin)).toMatchObject({ ending: 0 });
  });
});
