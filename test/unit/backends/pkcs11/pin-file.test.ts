import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { PinFile } from '../../../../src/backends/pkcs11/pin-file.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../../support/temp.ts';

let directory: TemporaryDirectory;
let path: string;
let file: PinFile;

beforeEach(async () => {
  directory = await temporaryDirectory();
  path = join(directory.path, 'pin');
  await put('1234');
  file = new PinFile(path);
});
afterEach(() => directory[Symbol.asyncDispose]());

const put = (pin: string) => writeFile(path, `${pin}\n`, { mode: 0o600 });
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

it('gives the PIN for one try, and again once the token took it', async () => {
  for (let i = 0; i < 3; i++) {
    const { pin, outcome } = await file.read();
    expect(text(pin.bytes())).toBe('1234');
    outcome('accepted');
  }
});

it('never gives a PIN again that the token refused, until the file changes', async () => {
  (await file.read()).outcome('refused');
  for (let i = 0; i < 3; i++) {
    await expect(file.read()).rejects.toMatchObject({
      code: 'PIN_INCORRECT',
      message: `the PIN in ${path} was refused and is not tried again`,
    });
  }
  await put('5678');
  const { pin, outcome } = await file.read();
  expect(text(pin.bytes())).toBe('5678');
  outcome('accepted');
});

it('never gives a PIN again whose try had no answer, unless the token had taken it before', async () => {
  await file.read();
  await expect(file.read()).rejects.toMatchObject({
    code: 'PIN_REQUIRED',
    message: `the PIN in ${path} was tried without an answer and is not tried again`,
  });
  await put('5678');
  (await file.read()).outcome('accepted');
  await file.read(); // no answer
  (await file.read()).outcome('accepted');
});

it('gives a PIN again that was not tried after all', async () => {
  (await file.read()).outcome('not tried');
  (await file.read()).outcome('accepted');
});

it('forgets that a PIN was taken when the token refuses it later', async () => {
  (await file.read()).outcome('accepted');
  (await file.read()).outcome('refused');
  await expect(file.read()).rejects.toMatchObject({ code: 'PIN_INCORRECT' });
});

it('refuses a file that others may read', async () => {
  await chmod(path, 0o644);
  await expect(file.read()).rejects.toMatchObject({
    code: 'CONFIGURATION',
    message: `pin-source ${path} is open to others`,
  });
});
