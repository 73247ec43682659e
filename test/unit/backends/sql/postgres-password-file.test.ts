import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Endpoint } from '../../../../src/backends/sql/data-source-name.ts';
import { passwordFromFile } from '../../../../src/backends/sql/postgres-password-file.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../../support/temp.ts';

const SERVER = { host: 'db.example', port: 5432 };
const SOCKET = { socketPath: '/run/postgresql/.s.PGSQL.5433' };
const WHO = { user: 'signer', database: 'keys' };

let temporary: TemporaryDirectory;
let path: string;
beforeEach(async () => {
  temporary = await temporaryDirectory();
  path = join(temporary.path, '.pgpass');
});
afterEach(() => temporary[Symbol.asyncDispose]());

async function passwordIn(content: string, endpoint: Endpoint = SERVER): Promise<string> {
  await writeFile(path, content, { mode: 0o600 });
  return passwordFromFile(path, endpoint, WHO);
}

describe('a password file', () => {
  it.each([
    ['db.example:5432:keys:signer:secret', 'secret'],
    ['*:*:*:*:secret', 'secret'],
    ['other:5432:keys:signer:1\ndb.example:5432:keys:signer:2\n*:*:*:*:3\n', '2'],
    ['# db.example:5432:keys:signer:no\n\ndb.example:*:*:signer:yes\r\n', 'yes'],
    ['db.example:5432:keys:signer:a\\:b\\\\c', 'a:b\\c'],
    ['db.example:5432:keys:signer:', ''],
    ['db.example:5432:keys:signer', ''],
    ['db.example:5432:keys:signer:a:b', ''],
    ['localhost:5432:keys:signer:secret', ''],
    ['db.example:5433:keys:signer:secret', ''],
    ['db.example:5432:other:signer:secret', ''],
    ['db.example:5432:keys:other:secret', ''],
    ['', ''],
  ])('gives the password of the first line that fits: %j', async (content, password) => {
    expect(await passwordIn(content)).toBe(password);
  });

  it.each(['/run/postgresql:5433:keys:signer:secret', 'localhost:5433:*:*:secret', '\\/run/postgresql:*:*:*:secret'])(
    'knows a Unix socket by its directory and as localhost: %s',
    async (line) => {
      expect(await passwordIn(line, SOCKET)).toBe('secret');
    },
  );

  it('need not be there, nor be a file', async () => {
    expect(await passwordFromFile(path, SERVER, WHO)).toBe('');
    await mkdir(path);
    expect(await passwordFromFile(path, SERVER, WHO)).toBe('');
  });

  it.each([0o640, 0o604, 0o620])('is refused if others may access it (mode %o)', async (mode) => {
    await passwordIn('*:*:*:*:secret');
    await chmod(path, mode);
    await expect(passwordFromFile(path, SERVER, WHO)).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `the password file ${path} is open to others`,
      hint: `run: chmod 600 ${path}`,
    });
  });

  it('is refused if it is too large to be one', async () => {
    const error = await passwordIn(`${'*:*:*:*:secret\n'.repeat(20_000)}`).catch((caught: unknown) => caught);
    expect(error).toMatchObject({
      code: 'CONFIGURATION',
      message: `the password file ${path} is larger than 262144 bytes`,
    });
  });
});
