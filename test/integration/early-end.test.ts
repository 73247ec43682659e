/** The end before the beginning: a daemon that is told to stop while it still waits for its database. */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { waitFor } from '../support/conditions.ts';
import { startProgram } from '../support/processes.ts';
import { Resources } from '../support/resources.ts';
import { temporaryDirectory } from '../support/temp.ts';

const SIGNETD = fileURLToPath(new URL('../../bin/signetd', import.meta.url));

it('is graceful: the database that does not answer is not waited for', async () => {
  await using resources = new Resources();
  const { path: directory } = resources.use(await temporaryDirectory());
  const connections: Socket[] = [];
  const silent = createServer((socket) => connections.push(socket)).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  resources.use({
    [Symbol.asyncDispose]: async () => {
      for (const socket of connections) socket.destroy();
      silent.close();
    },
  });
  const address = silent.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: directory,
    SIGNET_SOCKET: join(directory, 'run', 's'),
    NOTARY_SIGNER_STORAGE_BACKEND: 'mysql',
    NOTARY_SIGNER_STORAGE_DB_URL: `signer@tcp(127.0.0.1:${address.port})/notarysigner?timeout=1h`,
    NOTARY_SIGNER_DEFAULT_ALIAS: 'a',
    NOTARY_SIGNER_A: 'passphrase',
  };
  const daemon = resources.use(await startProgram(SIGNETD, [], { env }, { output: /signetd starts/ }));
  await waitFor('its connection', () => connections.length > 0);
  daemon.kill('SIGTERM');
  const { ending, stderr } = await daemon.ended;
  expect(ending).toBe(0);
  expect(stderr).toContain('"msg":"shutting down"');
  expect(stderr).not.toContain('"level":"fatal"');
});
