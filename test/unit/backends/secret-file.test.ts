import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { readPrivateSecret } from '../../../src/backends/secret-file.ts';
import { temporaryDirectory } from '../../support/temp.ts';

async function fileWith(content: string): Promise<string> {
  const directory = await temporaryDirectory();
  onTestFinished(() => directory[Symbol.asyncDispose]());
  const path = join(directory.path, 'pin');
  await writeFile(path, content, { mode: 0o600 });
  return path;
}

test.each([
  ['123456', '123456'],
  ['123456\n', '123456'],
  ['123456\r\n', '123456'],
  ['12 34\n\n', '12 34\n'],
])('%j is the secret %j: one final line break does not belong to it', async (content, secret) => {
  using read = await readPrivateSecret(await fileWith(content), 'pin-source');
  expect(Buffer.from(read.bytes()).toString()).toBe(secret);
});

test.each(['', '\n', '\r\n', '\n\n', '\r\n\r\n\n'])('%j is no secret: a try would be spent on it', async (content) => {
  const path = await fileWith(content);
  await expect(readPrivateSecret(path, 'pin-source')).rejects.toMatchObject({
    code: 'CONFIGURATION',
    message: `pin-source ${path} is empty`,
  });
});
