/** One client with as many sessions as it may have, and another one, over the real socket. */
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { startAgentDaemon } from '../support/agent-daemon.ts';
import { waitFor } from '../support/conditions.ts';
import { person } from '../support/conversation.ts';
import { startProgram } from '../support/processes.ts';
import { temporaryDirectory } from '../support/temp.ts';

const ASKED_CLIENT = fileURLToPath(new URL('../support/asked-client.mjs', import.meta.url));
const PASSPHRASE = 'a passphrase for these tests';

it('a client that has its share of sessions gets no more, and others are asked all the same', async () => {
  await using directory = await temporaryDirectory();
  await using daemon = await startAgentDaemon(directory.path);
  const agent = daemon.agent();
  const open = (client = agent) => client.interact(person(() => PASSPHRASE));
  const { id: interaction } = await open();
  const key = await agent.generateKey({ algorithm: 'ecdsa', role: 'targets', gun: '' }, { interaction });
  await agent.lock(key.key_id);

  const connections = Array.from({ length: 4 }, () => daemon.agent());
  const sessions = (
    await Promise.all(connections.map((client) => Promise.all(Array.from({ length: 60 }, () => open(client)))))
  ).flat();
  while (sessions.length < 255) sessions.push(await open());
  await expect(open()).rejects.toMatchObject({ code: 'OVERLOADED', message: 'too many interactions of one client' });

  const other = [ASKED_CLIENT, daemon.socket, key.key_id];
  const env = { PATH: process.env['PATH'] ?? '' };
  await using _other = await startProgram(process.execPath, other, { env }, { output: /asked/ });

  for (const session of sessions) session[Symbol.dispose]();
  await waitFor('room for another session', () =>
    open().then(
      () => true,
      () => false,
    ),
  );
});
