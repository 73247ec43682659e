import { join } from 'node:path';
import { Metadata } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { KeyBackend } from '../../../src/backends/backend.ts';
import { TrustDirectories } from '../../../src/daemon/trust-directories.ts';
import { Keyring } from '../../../src/keyring/keyring.ts';
import { fakeBackend } from '../../support/fake-backend.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/temp.ts';

let place: TemporaryDirectory;
let directories: TrustDirectories;
let opened: string[];
let closed: string[];
const token = fakeBackend({ name: 'yubikey' });
const storage = fakeBackend({ name: 'sql' });
const placement = new Map([
  ['root', ['yubikey', 'sql']],
  ['*', ['storage']],
]);
const keyring = new Keyring({ backends: [token, storage], storage, placement });

beforeEach(async () => {
  place = await temporaryDirectory();
  opened = [];
  closed = [];
});
afterEach(async () => {
  vi.useRealTimers();
  await directories[Symbol.asyncDispose]();
  await place[Symbol.asyncDispose]();
});

function start(uid: number | undefined = process.getuid?.()): void {
  directories = new TrustDirectories({
    keyring,
    placement,
    uidOf: () => uid,
    open: async (path): Promise<KeyBackend> => {
      opened.push(path);
      return fakeBackend({ name: 'file', [Symbol.asyncDispose]: async () => void closed.push(path) });
    },
  });
}

function lease(name?: string) {
  const metadata = new Metadata();
  if (name !== undefined) metadata.set('signet-trust-dir-bin', Buffer.from(join(place.path, name)));
  return directories.lease({ metadata, peer: 'unix:1' });
}

describe('a call', () => {
  it('that names none works on what is configured', async () => {
    start();
    using homes = await lease();
    expect(homes.keyring).toBe(keyring);
  });

  it('works on the directory and on the tokens; rules about the storage are about the directory', async () => {
    start();
    using homes = await lease('a');
    expect(homes.keyring.backends.map(({ name }) => name)).toEqual(['yubikey', 'file']);
    expect(homes.keyring.storage.name).toBe('file');
    expect(opened).toEqual([join(place.path, 'a', 'private')]);
  });

  it('of another user may name none', async () => {
    start((process.getuid?.() ?? 0) + 1);
    await expect(lease('a')).rejects.toMatchObject({
      code: 'PERMISSION_DENIED',
      message: "only the daemon's own user may name a trust directory",
    });
    using homes = await lease();
    expect(homes.keyring).toBe(keyring);
  });

  it('names one directory, in UTF-8', async () => {
    start();
    const metadata = new Metadata();
    metadata.set('signet-trust-dir-bin', Buffer.from([0x2f, 0xff]));
    const call = directories.lease({ metadata, peer: '' });
    await expect(call).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'the trust directory has a path that is no text',
    });
    metadata.set('signet-trust-dir-bin', Buffer.from('/a'));
    metadata.add('signet-trust-dir-bin', Buffer.from('/b'));
    const both = directories.lease({ metadata, peer: '' });
    await expect(both).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'the trust directory is named twice',
    });
  });
});

describe('what is open', () => {
  it('is opened once for all who ask at once', async () => {
    start();
    const leases = await Promise.all(Array.from({ length: 10 }, () => lease('a')));
    expect(opened).toHaveLength(1);
    for (const one of leases) one[Symbol.dispose]();
  });

  it('gives way when there are sixteen, unless it is in use', async () => {
    start();
    const used = await lease('used');
    for (let index = 0; index < 20; index++) (await lease(`d${index}`))[Symbol.dispose]();
    expect(closed).toEqual(Array.from({ length: 5 }, (_, index) => join(place.path, `d${index}`, 'private')));
    used[Symbol.dispose]();
    const all = await Promise.all(Array.from({ length: 16 }, (_, index) => lease(`e${index}`)));
    await expect(lease('one more')).rejects.toMatchObject({
      code: 'OVERLOADED',
      message: '16 trust directories are in use',
    });
    for (const one of all) one[Symbol.dispose]();
  });

  it('is closed when it has been idle, and with the daemon', async () => {
    vi.useFakeTimers();
    start();
    (await lease('a'))[Symbol.dispose]();
    const used = await lease('b');
    await vi.advanceTimersByTimeAsync(15 * 60_000);
    expect(closed).toEqual([join(place.path, 'a', 'private')]);
    used[Symbol.dispose]();
    await directories[Symbol.asyncDispose]();
    expect(closed).toHaveLength(2);
  });
});
