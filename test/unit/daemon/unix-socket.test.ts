import { once } from 'node:events';
import { chmod, chown, mkdir, readdir, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { claimSocket, releaseSocket, type SocketClaim } from '../../../src/daemon/unix-socket.ts';
import { loadNative } from '../../../src/native.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/temp.ts';

const OWN_DIRECTORY_HINT = 'set agent.socket, or SIGNET_SOCKET, to a path in a directory of its own';

let temporary: TemporaryDirectory;
let directory: string;
let path: string;
let servers: Server[];

beforeEach(async () => {
  temporary = await temporaryDirectory();
  directory = join(temporary.path, 'run');
  path = join(directory, 's');
  servers = [];
});
afterEach(async () => {
  vi.restoreAllMocks();
  for (const server of servers) server.close();
  await temporary[Symbol.asyncDispose]();
});

async function listenOn(socket: string): Promise<Server> {
  const server = createServer((connection) => connection.end());
  servers.push(server);
  server.listen(socket);
  await once(server, 'listening');
  return server;
}

/** Claims, listens and publishes, as a daemon does. On failure nothing listens any more. */
async function start(target = path): Promise<{ readonly claim: SocketClaim; readonly server: Server }> {
  const claim = await claimSocket(target, undefined);
  const server = await listenOn(claim.temporary);
  try {
    await claim.publish();
    return { claim, server };
  } catch (error) {
    server.close();
    throw error;
  }
}

/** A socket that nobody listens on, as a killed daemon leaves it. */
async function leaveStale(): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const server = await listenOn(join(directory, 'former'));
  await rename(join(directory, 'former'), path);
  await new Promise((resolve) => server.close(resolve));
}

async function answers(socket = path): Promise<boolean> {
  const connection = connect(socket);
  return new Promise((resolve) => {
    connection.once('connect', () => resolve(true)).once('error', () => resolve(false));
  }).finally(() => connection.destroy()) as Promise<boolean>;
}

describe('the socket', () => {
  it('is for the owner alone, in a directory for the owner alone, and nothing else is left there', async () => {
    await start();
    expect((await stat(directory)).mode & 0o7777).toBe(0o700);
    expect((await stat(path)).mode & 0o7777).toBe(0o600);
    expect(await readdir(directory)).toEqual(['s']);
    expect(await answers()).toBe(true);
  });

  it('that a dead daemon left is replaced', async () => {
    await leaveStale();
    expect(await answers()).toBe(false);
    await start();
    expect(await answers()).toBe(true);
    expect(await readdir(directory)).toEqual(['s']);
  });

  it('stays ours when another starting daemon moves it aside for a moment, to see whether we live', async () => {
    for (let round = 0; round < 20; round++) {
      const claim = await claimSocket(path, undefined);
      const server = await listenOn(claim.temporary);
      const aside = (async () => {
        while (
          !(await rename(path, `${path}-aside`).then(
            () => true,
            () => false,
          ))
        );
        await rename(`${path}-aside`, path);
      })();
      await claim.publish();
      await aside;
      await releaseSocket(path, claim);
      expect(await readdir(directory)).toEqual([]);
      server.close();
    }
  });

  it('of a live daemon is refused, by its pid where the system tells it', async () => {
    await start();
    const native = await loadNative();
    for (const [known, holder] of [
      [undefined, 'another process'],
      [native, native === undefined ? 'another process' : `pid ${process.pid}`],
    ] as const) {
      const claim = await claimSocket(path, known);
      await listenOn(claim.temporary);
      await expect(claim.publish()).rejects.toMatchObject({
        code: 'UNAVAILABLE',
        message: `the agent socket ${path} is held by ${holder}`,
        hint: 'another signetd is running; stop it, or set agent.socket',
      });
    }
    expect(await answers()).toBe(true);
    expect(await readdir(directory)).toEqual(['s']);
  });
});

describe('what is in the way', () => {
  it.each(['file', 'directory', 'link'])('as a %s is refused and left alone', async (kind) => {
    await mkdir(directory, { mode: 0o700 });
    if (kind === 'file') await writeFile(path, 'precious');
    else if (kind === 'directory') await mkdir(path);
    else await symlink('/nowhere', path);
    await expect(start()).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `${path} exists and is not a socket`,
      hint: 'remove it, or set agent.socket',
    });
    expect(await readdir(directory)).toEqual(['s']);
    if (kind === 'file') expect(await readFile(path, 'utf8')).toBe('precious');
  });

  it.each([0o750, 0o701, 0o777])('as a directory of mode %o is refused', async (mode) => {
    await mkdir(directory);
    await chmod(directory, mode);
    await expect(claimSocket(path, undefined)).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `the socket directory ${directory} is open to others`,
      hint: `run: chmod 700 ${directory}`,
    });
  });

  it.each(['sticky, as /tmp', "another user's"])('as a directory that is %s is never to be closed', async (kind) => {
    await mkdir(directory);
    await chmod(directory, kind.startsWith('sticky') ? 0o1777 : 0o755);
    if (!kind.startsWith('sticky')) vi.spyOn(process, 'getuid').mockReturnValue((await stat(directory)).uid + 1);
    await expect(claimSocket(path, undefined)).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `the socket directory ${directory} is open to others`,
      hint: OWN_DIRECTORY_HINT,
    });
  });

  it('as a private directory of another user is refused', async () => {
    await mkdir(directory, { mode: 0o700 });
    if (process.getuid?.() === 0) await chown(directory, 12_345, 12_345);
    else vi.spyOn(process, 'getuid').mockReturnValue(12_345);
    await expect(claimSocket(path, undefined)).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `the socket directory ${directory} belongs to another user`,
      hint: OWN_DIRECTORY_HINT,
    });
    expect(await readdir(directory)).toEqual([]);
  });

  it('as a file in the place of the directory is refused', async () => {
    await writeFile(directory, '');
    await expect(claimSocket(path, undefined)).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `the socket directory ${directory} is not a directory`,
      hint: OWN_DIRECTORY_HINT,
    });
  });

  it('as a path that the system would cut is refused', async () => {
    const long = join(directory, 'x'.repeat(100));
    await expect(claimSocket(long, undefined)).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: expect.stringMatching(/^the socket path .* is longer than \d+ bytes$/),
      hint: 'set agent.socket, or SIGNET_SOCKET, to a shorter path',
    });
  });
});

describe('releasing', () => {
  it('removes the socket', async () => {
    const { claim } = await start();
    await releaseSocket(path, claim);
    expect(await readdir(directory)).toEqual([]);
  });

  it('leaves the socket of another daemon', async () => {
    const { claim, server } = await start();
    await new Promise((resolve) => server.close(resolve));
    await start();
    await releaseSocket(path, claim);
    expect(await answers()).toBe(true);
  });

  it('of a socket that is gone is nothing', async () => {
    const { claim } = await start();
    await rename(path, `${path}-moved`);
    await expect(releaseSocket(path, claim)).resolves.toBeUndefined();
  });
});

describe('daemons that race', () => {
  it.each([
    ['for a socket that a dead daemon left', true],
    ['for a place where no socket is', false],
  ])('%s: exactly one wins, and it can be reached', async (_, isStale) => {
    for (let round = 0; round < 50; round++) {
      if (isStale) await leaveStale();
      const results = await Promise.allSettled([start(), start()]);
      const winners = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
      const reasons = results.flatMap((result) => (result.status === 'rejected' ? [String(result.reason)] : []));
      expect({ round, winners: winners.length, reasons }).toEqual({
        round,
        winners: 1,
        reasons: [expect.stringContaining('is held by another process')],
      });
      expect(await answers()).toBe(true);
      expect(await readdir(directory)).toEqual(['s']);
      for (const { claim, server } of winners) {
        await releaseSocket(path, claim);
        server.close();
      }
    }
  });
});
