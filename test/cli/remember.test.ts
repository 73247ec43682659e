/** `signet key remember` and `signet key forget`, with a keyring of the test's own. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type CommandLineHome, commandLineHome, generatedKeyId } from '../support/cli.ts';
import { type SecretService, startSecretService } from '../support/secret-service.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';

const PASSPHRASE = 'a passphrase for these tests';

let home: CommandLineHome;
let directory: TemporaryDirectory;
let service: SecretService;
let keyId: string;

const signet = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  home.signet(args, { env: { ...service.env, ...env }, input: 'message' });
const signUnattended = async () => {
  await signet(['lock']);
  return await signet(['key', 'sign', keyId]);
};

beforeAll(async () => {
  home = await commandLineHome();
  directory = await temporaryDirectory();
  service = await startSecretService(directory.path, { unlocked: true });
  keyId = generatedKeyId(await signet(['key', 'generate'], { NOTARY_ROOT_PASSPHRASE: PASSPHRASE }));
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
  await service[Symbol.asyncDispose]();
  await directory[Symbol.asyncDispose]();
});

it('a key whose passphrase is remembered signs without a person, until it is forgotten', async () => {
  const remember = ['key', 'remember', keyId.slice(0, 8)];
  const { output, ending } = await home.signetOnTerminal(
    remember,
    [['root key with ID [0-9a-f]+: $', `${PASSPHRASE}\r`]],
    {
      env: service.env,
    },
  );
  expect(ending).toBe(0);
  expect(output).toContain(`The system's keyring keeps the passphrase of key ${keyId}`);
  expect(output).not.toContain(PASSPHRASE);
  expect(await signUnattended()).toMatchObject({ ending: 0, stderr: '' });
  expect(await signet(['key', 'forget', keyId])).toEqual({
    ending: 0,
    stdout: `The system's keyring does not keep the passphrase of key ${keyId} any more\n`,
    stderr: '',
  });
  expect(await signUnattended()).toMatchObject({ ending: 4, stdout: '' });
  expect(await signet(['key', 'forget', keyId])).toEqual({
    ending: 3,
    stdout: '',
    stderr: `signet: the system's keyring has no passphrase of key ${keyId}\n`,
  });
});

it('a wrong passphrase is not kept', async () => {
  const file = join(home.path, 'wrong');
  await writeFile(file, 'not the passphrase\n', { mode: 0o600 });
  await signet(['lock']);
  const result = await signet(['key', 'remember', keyId, '--passphrase-file', file]);
  expect(result).toMatchObject({ ending: 4, stdout: '' });
  expect(result.stderr).toMatch(/^signet: .*passphrase/);
  expect(await signet(['key', 'forget', keyId])).toMatchObject({ ending: 3 });
});
