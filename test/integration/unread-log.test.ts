/** A log that is connected, but read by nobody: a collector that has stopped. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants, createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { AgentClient } from '../../src/client/agent-client.ts';
import { waitFor } from '../support/conditions.ts';
import { Resources } from '../support/resources.ts';
import { temporaryDirectory } from '../support/temp.ts';

const SIGNETD = fileURLToPath(new URL('../../bin/signetd', import.meta.url));
/** Each is a line of more than 400 bytes: together more than the 8 MiB that may wait. */
const SIGNATURES = 25_000;

async function signMany(agent: AgentClient, keyId: string, count: number): Promise<void> {
  let left = count;
  const one = async () => {
    while (left-- > 0) await agent.sign({ key_id: keyId, message: Buffer.from('x') });
  };
  await Promise.all(Array.from({ length: 32 }, one));
}

it('does not stop the daemon from signing or from ending, and what is lost is counted', async () => {
  await using resources = new Resources();
  const { path: directory } = resources.use(await temporaryDirectory());
  const fifo = join(directory, 'log');
  execFileSync('mkfifo', [fifo]);
  // Open for both: opening does not wait for the other end, and nothing is read.
  const pipe = await open(fifo, constants.O_RDWR);
  const env = { PATH: process.env['PATH'] ?? '', HOME: directory, NOTARY_SIGNER_STORAGE_BACKEND: 'memory' };
  const daemon = spawn(SIGNETD, [], { env, stdio: ['ignore', 'ignore', pipe.fd] });
  const ended = once(daemon, 'exit') as Promise<[number | null, string | null]>;
  resources.use({
    [Symbol.asyncDispose]: async () => {
      daemon.kill('SIGKILL');
      await ended;
    },
  });
  const agent = new AgentClient(join(directory, '.signet', 'run', 'signetd.sock'));
  const { key_id: keyId } = await waitFor('the daemon', () =>
    agent.generateKey({ algorithm: 'ecdsa', role: 'timestamp', gun: 'g'.repeat(200) }).catch(() => undefined),
  );

  await signMany(agent, keyId, SIGNATURES);
  let log = '';
  const reader = createReadStream(fifo);
  reader.on('data', (chunk) => {
    log += chunk.toString();
  });
  await waitFor('the count of lost lines', () => /"lines":\d+,"msg":"log lines lost: nobody read them"/.test(log));
  const lost = Number(/"lines":(\d+),"msg":"log lines lost/.exec(log)?.[1]);
  expect(lost).toBeGreaterThan(0);
  expect(lost + log.split('"msg":"signed"').length - 1).toBeGreaterThanOrEqual(SIGNATURES);

  reader.destroy();
  await signMany(agent, keyId, 1000); // more than the pipe holds: a thread is stuck again
  agent[Symbol.dispose]();
  daemon.kill('SIGTERM');
  expect(await ended).toEqual([null, 'SIGKILL']); // by its own hand
  await pipe.close();
});
