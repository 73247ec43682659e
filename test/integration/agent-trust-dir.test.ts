/** Trust directories that a call names, as `signet -d DIR`, on the built daemon. */
import { chmod, lstat, mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AgentClient } from '../../src/client/agent-client.ts';
import type { AgentKey } from '../../src/rpc/messages.ts';
import { type AgentDaemon, startAgentDaemon } from '../support/agent-daemon.ts';
import { writeKeyFile } from '../support/key-files.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';

const PASSPHRASE = 'a passphrase for these tests';
const OWNER = { role: 'targets', gun: 'registry.example.com/team/app' };

let directory: TemporaryDirectory;
let daemon: AgentDaemon;
let agent: AgentClient;
let place: TemporaryDirectory;
let trustDir: string;

beforeAll(async () => {
  directory = await temporaryDirectory();
  daemon = await startAgentDaemon(directory.path, { storagePath: join(directory.path, 'trust', 'private') });
  agent = daemon.agent();
});
beforeEach(async () => {
  place = await temporaryDirectory();
  trustDir = join(place.path, 'notary');
});
afterEach(() => place[Symbol.asyncDispose]());
afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  expect(daemon.program.stderr).not.toContain(PASSPHRASE);
  await directory[Symbol.asyncDispose]();
});

async function list(options: { trustDir?: string } = {}): Promise<string[]> {
  const keys: AgentKey[] = [];
  for await (const key of agent.listKeys(options)) keys.push(key);
  return keys.map(({ key_id }) => key_id);
}

const generate = (options: { trustDir?: string } = {}) =>
  agent.generateKey({ algorithm: 'ecdsa', ...OWNER, passphrase: Buffer.from(PASSPHRASE) }, options);

describe('a trust directory that a call names', () => {
  it('takes the place of the storage for that call only', async () => {
    const inStorage = await generate();
    const inDirectory = await generate({ trustDir });
    expect(inDirectory.location).toBe(join(trustDir, 'private', `${inDirectory.key_id}.key`));
    expect(await list({ trustDir })).toEqual([inDirectory.key_id]);
    expect(await list()).toContain(inStorage.key_id);
    await expect(agent.findKey(inDirectory.key_id)).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
    await expect(agent.findKey(inStorage.key_id, { trustDir })).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
  });

  it('is made for the first key, closed to others, and not before', async () => {
    expect(await list({ trustDir })).toEqual([]);
    expect(await readdir(place.path)).toEqual([]);
    await generate({ trustDir });
    for (const path of [trustDir, join(trustDir, 'private')]) expect((await lstat(path)).mode & 0o777).toBe(0o700);
  });

  it('keeps its unlocked keys between calls, until they are locked', async () => {
    const { key_id } = await generate({ trustDir });
    const sign = () => agent.sign({ key_id, message: Buffer.from('x') }, { trustDir });
    expect((await sign()).signature).toHaveLength(64);
    expect((await agent.status()).unlocked_keys).toBeGreaterThan(0);
    expect((await agent.lock(key_id)).locked).toBe(1);
    await expect(sign()).rejects.toMatchObject({ code: 'PASSPHRASE_INCORRECT' });
  });

  it("may hold notary's old layouts", async () => {
    const old = join(trustDir, 'private', 'tuf_keys', 'registry.example.com', 'app');
    await mkdir(old, { recursive: true, mode: 0o700 });
    const { key } = await writeKeyFile(old, { passphrase: PASSPHRASE });
    expect(await agent.findKey(key.keyId, { trustDir })).toMatchObject({ gun: 'registry.example.com/app' });
  });

  it('that is the configured one is the storage itself', async () => {
    const { key_id } = await generate();
    const configured = { trustDir: join(directory.path, 'trust') };
    // Unlocked already.
    expect((await agent.sign({ key_id, message: Buffer.from('x') }, configured)).signature).toHaveLength(64);
  });
});

describe('a directory that is refused', () => {
  it.each([
    ['a relative path', 'notary', 'the trust directory is not an absolute path'],
    ['a control character', '/tmp/a\nb', 'the trust directory has a path that is no text'],
    ['a path beyond PATH_MAX', `/${'a'.repeat(4096)}`, 'the trust directory has a path of more than 4096 bytes'],
  ])('has %s', async (_what, path, message) => {
    await expect(list({ trustDir: path })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message });
  });

  it('is a file', async () => {
    await writeFile(trustDir, '');
    await expect(list({ trustDir })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: `the trust directory ${trustDir} is not a directory`,
    });
  });

  it('cannot be made', async () => {
    await expect(generate({ trustDir: '/proc/signet-test' })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(/^cannot create the key directory \/proc\/signet-test\/private \(E[A-Z]+\)$/),
    });
  });

  it.each(['the directory', 'its private folder'])('is a symbolic link: %s', async (what) => {
    const real = join(place.path, 'real');
    await mkdir(join(real, 'private'), { recursive: true, mode: 0o700 });
    let link = trustDir;
    if (what === 'the directory') await symlink(real, trustDir);
    else {
      await mkdir(trustDir, { mode: 0o700 });
      link = join(trustDir, 'private');
      await symlink(join(real, 'private'), link);
    }
    await expect(list({ trustDir })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: `the trust directory ${link} is a symbolic link`,
      hint: `name the directory itself: ${link === trustDir ? real : join(real, 'private')}`,
    });
  });

  it.each(['', 'private'])('can be written to by others: DIR/%s', async (name) => {
    await mkdir(join(trustDir, 'private'), { recursive: true, mode: 0o700 });
    const path = join(trustDir, name);
    await chmod(path, 0o770);
    await expect(list({ trustDir })).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `the trust directory ${path.replace(/\/$/, '')} can be written to by others`,
    });
  });
});

describe('a directory that changes while it is in use', () => {
  it('is looked at again by each call', async () => {
    const { key_id } = await generate({ trustDir });
    await rename(trustDir, join(place.path, 'moved'));
    expect(await list({ trustDir })).toEqual([]);
    await rename(join(place.path, 'moved'), trustDir);
    expect(await list({ trustDir })).toEqual([key_id]);
    await rm(trustDir, { recursive: true });
    await symlink(place.path, trustDir);
    await expect(list({ trustDir })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('gives way to others when many are in use', async () => {
    const names = Array.from({ length: 40 }, (_, index) => join(place.path, `dir${index}`));
    const keys: string[] = [];
    for (const name of names) keys.push((await generate({ trustDir: name })).key_id);
    const found = await Promise.all(names.slice(0, 16).map((name) => list({ trustDir: name })));
    expect(found.flat()).toEqual(keys.slice(0, 16));
  });
});
