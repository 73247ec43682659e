/** Callers of one token that wait for one answer, and the one who is asked goes away. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { AgentClient } from '../../../src/client/agent-client.ts';
import type { SignetError } from '../../../src/errors.ts';
import { type AgentServer, startAgentServer } from '../../support/agent-server.ts';
import { waitFor } from '../../support/conditions.ts';
import { person } from '../../support/conversation.ts';
import { AGREED, FAKE_PIN, type FakeToken, fakeToken } from '../../support/fake-token.ts';
import { Resources } from '../../support/resources.ts';
import { temporaryDirectory } from '../../support/temp.ts';

let resources: Resources;
let fake: FakeToken;
let server: AgentServer;

beforeEach(async () => {
  resources = new Resources();
  fake = resources.use(await fakeToken());
  server = resources.use(await startAgentServer({ backends: [await fake.open()] }));
});
afterEach(() => resources[Symbol.asyncDispose]());

/** A client whose connection can be cut, as by the end of its process. */
async function cuttable(): Promise<{ readonly agent: AgentClient; readonly cut: () => void }> {
  const directory = resources.use(await temporaryDirectory());
  const path = join(directory.path, 's');
  const sockets: Socket[] = [];
  const proxy = createServer((near) => {
    const far = connect(server.socket);
    sockets.push(near, far);
    for (const socket of [near, far]) socket.on('error', () => undefined);
    near.pipe(far).pipe(near);
  });
  proxy.listen(path);
  await once(proxy, 'listening');
  const agent = new AgentClient(path);
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  resources.use({
    [Symbol.asyncDispose]: async () => {
      agent[Symbol.dispose]();
      cut();
      proxy.close();
    },
  });
  return { agent, cut };
}

it.each(['connection', 'session'])('asks the next who waits when the %s of the one who is asked ends', async (what) => {
  const { agent: first, cut } = await cuttable();
  const second = server.agent();
  let keyId = '';
  for await (const { key_id } of second.listKeys()) keyId = key_id;
  const request = { key_id: keyId, message: AGREED.message };
  const gone = person(() => new Promise(() => undefined));
  const asked = await first.interact(gone);
  const lost = first.sign(request, { interaction: asked.id }).then(
    () => 'signed',
    (error: unknown) => (error as SignetError).code,
  );
  await waitFor('the question', () => gone.asked.length === 1);
  const here = person(() => FAKE_PIN);
  using session = await second.interact(here);
  const signing = second.sign(request, { interaction: session.id });
  await delay(200); // the second call waits with the first
  expect(here.asked).toEqual([]);
  if (what === 'session') asked[Symbol.dispose]();
  else cut();
  expect((await signing).signature).toHaveLength(64);
  expect(here.asked).toHaveLength(1);
  expect(await lost).toMatch(what === 'session' ? /^CANCELLED$/ : /^(CANCELLED|UNAVAILABLE)$/);
});
