/** A trust directory that cannot be written to: a clear sentence, nothing half-done, and the keys in it still sign. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type CommandLineHome, commandLineHome, generatedKeyId, SIGNET } from '../support/cli.ts';
import { type SmallDisk, startSmallDisk } from '../support/small-disk.ts';

const PASSPHRASE = 'root-passphrase';

let home: CommandLineHome;
let disk: SmallDisk;
let trustDir: string;
let keyId: string;

const inHome = (name: string) => join(home.path, name);
const signet = (...args: string[]) =>
  disk.run('setsid', ['--wait', SIGNET, '-d', trustDir, ...args], {
    env: { ...home.env, NOTARY_ROOT_PASSPHRASE: PASSPHRASE },
  });
/** Names of all files in the trust directory. */
const files = async () => (await disk.run('find', [trustDir, '-type', 'f'], { env: home.env })).stdout;

beforeEach(async () => {
  home = await commandLineHome();
  trustDir = inHome('trust');
  disk = await startSmallDisk(trustDir);
  keyId = generatedKeyId(await signet('key', 'generate'));
  await writeFile(inHome('message'), 'hello\n');
  await writeFile(inHome('new-passphrase'), 'another passphrase\n', { mode: 0o600 });
});
afterEach(async () => {
  await signet('daemon', 'stop');
  await disk[Symbol.asyncDispose]();
  await home[Symbol.asyncDispose]();
});

async function signsAfterLock(): Promise<void> {
  await signet('lock');
  expect(await signet('key', 'sign', keyId, '--in', inHome('message'))).toMatchObject({ ending: 0, stderr: '' });
}

describe('a full disk', () => {
  it('takes no new key, and leaves nothing of it behind', async () => {
    await disk.fill();
    const before = await files();
    expect(await signet('key', 'generate')).toEqual({
      ending: 5,
      stdout: '',
      stderr: expect.stringMatching(/^signet: cannot create \S+\/private\/[0-9a-f]{64}\.key \(ENOSPC\)\n$/),
    });
    expect(await files()).toBe(before);
    await signsAfterLock();
    await disk.free();
    expect(await signet('key', 'generate')).toMatchObject({ ending: 0 });
  });

  it('leaves a key under its old passphrase', async () => {
    await disk.fill();
    const before = await files();
    const passwd = await signet('key', 'passwd', keyId, '--new-passphrase-file', inHome('new-passphrase'));
    expect(passwd).toMatchObject({ ending: 5, stdout: '', stderr: expect.stringContaining('(ENOSPC)') });
    expect(await files()).toBe(before);
    await signsAfterLock();
  });

  it('restores nothing of a backup that does not fit', async () => {
    for (let made = 1; made < 4; made++) await signet('key', 'generate');
    const options = ['--passphrase-file', inHome('new-passphrase')];
    expect(await signet('key', 'backup', '-o', inHome('backup'), ...options)).toMatchObject({ ending: 0 });
    for (const id of (await files()).match(/[0-9a-f]{64}/g) ?? []) {
      if (id !== keyId) await signet('key', 'remove', id, '--yes');
    }
    await disk.fill();
    const before = await files();
    const restored = await signet('key', 'restore', inHome('backup'), ...options);
    expect(restored).toMatchObject({ ending: 5, stdout: '', stderr: expect.stringContaining('(ENOSPC)') });
    expect(await files()).toBe(before);
    await disk.free();
    expect(await signet('key', 'restore', inHome('backup'), ...options)).toMatchObject({
      ending: 0,
      stderr: 'signet: 3 restored, 0 replaced, 1 unchanged\n',
    });
  });
});

describe('a read-only disk', () => {
  it('changes in nothing, and says why', async () => {
    await disk.makeReadOnly();
    const before = await files();
    const commands = [
      ['key', 'generate'],
      ['key', 'passwd', keyId, '--new-passphrase-file', inHome('new-passphrase')],
      ['key', 'rename-role', keyId, 'alice'],
      ['key', 'remove', keyId, '--yes'],
    ];
    for (const command of commands) {
      const result = await signet(...command);
      expect(result).toMatchObject({ ending: 5, stdout: '' });
      expect(result.stderr).toMatch(/^signet: cannot .*\(EROFS\)\n$/);
    }
    expect(await files()).toBe(before);
    await signsAfterLock();
  });
});
