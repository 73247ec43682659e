/** systemd's credentials in the place of variables. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { withCredentials } from '../../../src/daemon/credentials.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/temp.ts';

let directory: TemporaryDirectory;
let env: NodeJS.ProcessEnv;
beforeEach(async () => {
  directory = await temporaryDirectory();
  env = { CREDENTIALS_DIRECTORY: directory.path };
});
afterEach(() => directory[Symbol.asyncDispose]());

const put = (name: string, content: string | Uint8Array) =>
  writeFile(join(directory.path, name), content, { mode: 0o400 });

it('that are named like a variable stand in for it, without the line break at the end', async () => {
  await put('NOTARY_SIGNER_ALIAS1', 'pass phrase \u00e9\n');
  await put('NOTARY_SIGNER_STORAGE_DB_URL', 'user:p@ss@tcp(db)/keys');
  await put('signet-passphrase', 'of another kind');
  await put('HOME', '/elsewhere');
  expect(await withCredentials(env)).toEqual({
    ...env,
    NOTARY_SIGNER_ALIAS1: 'pass phrase \u00e9',
    NOTARY_SIGNER_STORAGE_DB_URL: 'user:p@ss@tcp(db)/keys',
  });
  expect(env).toEqual({ CREDENTIALS_DIRECTORY: directory.path });
});

it('give way to a variable that is set, but not to an empty one', async () => {
  await put('NOTARY_SIGNER_ALIAS1', 'credential');
  await put('NOTARY_SIGNER_ALIAS2', 'credential');
  const merged = await withCredentials({ ...env, NOTARY_SIGNER_ALIAS1: 'variable', NOTARY_SIGNER_ALIAS2: '' });
  expect(merged).toMatchObject({ NOTARY_SIGNER_ALIAS1: 'variable', NOTARY_SIGNER_ALIAS2: 'credential' });
});

it('are not needed', async () => {
  expect(await withCredentials({ HOME: '/home' })).toEqual({ HOME: '/home' });
  const gone = { CREDENTIALS_DIRECTORY: join(directory.path, 'gone') };
  expect(await withCredentials(gone)).toEqual(gone);
  await put('NOTARY_SIGNER_ALIAS1', '\n');
  expect(await withCredentials(env)).toEqual(env);
});

it('that cannot be read are an error that names the credential and nothing of its content', async () => {
  await put('NOTARY_SIGNER_ALIAS1', 's3cret'.repeat(1000));
  const error = await withCredentials(env).catch((reason: unknown) => reason);
  expect(error).toMatchObject({
    code: 'CONFIGURATION',
    message: expect.stringMatching(
      /^the credential NOTARY_SIGNER_ALIAS1 cannot be read: .* is larger than 4096 bytes$/,
    ),
    hint: 'check LoadCredential= of the unit',
  });
  expect(String(error)).not.toContain('s3cret');
  await mkdir(join(directory.path, 'sub'));
  await mkdir(join(directory.path, 'sub', 'NOTARY_SIGNER_ALIAS1'));
  await expect(withCredentials({ CREDENTIALS_DIRECTORY: join(directory.path, 'sub') })).rejects.toMatchObject({
    code: 'CONFIGURATION',
  });
  await put('file', '');
  await expect(withCredentials({ CREDENTIALS_DIRECTORY: join(directory.path, 'file') })).rejects.toMatchObject({
    code: 'CONFIGURATION',
    message: expect.stringMatching(/^the credentials directory .*file cannot be read: /),
  });
});
