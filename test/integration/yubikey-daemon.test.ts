/** signetd with a YubiKey, on machines with and without a USB bus. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import { AgentClient } from '../../src/client/agent-client.ts';
import { fromSpki, verifySignature } from '../../src/crypto/public-key.ts';
import type { AgentKey } from '../../src/rpc/messages.ts';
import { waitFor } from '../support/conditions.ts';
import { outcomeOf } from '../support/outcome.ts';
import { type RunningProgram, startProgram } from '../support/processes.ts';
import { Resources } from '../support/resources.ts';
import { temporaryDirectory } from '../support/temp.ts';
import { FACTORY_PIN } from '../support/virtual-yubikey/card/settings.ts';
import {
  SHARING_VIOLATION,
  takeExclusively,
  takeExclusivelyOrThrow,
} from '../support/virtual-yubikey/exclusive-program.ts';
import { yubikeyUri } from '../support/virtual-yubikey/library.ts';
import { startVirtualYubikeys, type VirtualYubikeys } from '../support/virtual-yubikey/virtual-yubikeys.ts';

const SIGNETD = fileURLToPath(new URL('../../bin/signetd', import.meta.url));
const NAME = 'yubikey:serial=12345678';

let resources = new Resources();

afterEach(async () => {
  const used = resources;
  resources = new Resources();
  await used[Symbol.asyncDispose]();
});

interface Machine {
  readonly yubikeys: VirtualYubikeys;
  readonly daemon: RunningProgram;
  readonly agent: AgentClient;
  /** Waits until the daemon's log has it. */
  logged(text: string): Promise<unknown>;
  keys(): Promise<readonly AgentKey[]>;
}

/** A machine with signetd and a YubiKey that lies beside it. */
async function start(hasUsb: boolean): Promise<Machine> {
  const { path: directory } = resources.use(await temporaryDirectory());
  const card = { serial: 12345678, isInserted: false, keys: [{ slot: 0x9a, certificate: 'root' }] };
  const yubikeys = resources.use(await startVirtualYubikeys({ hasUsb, cards: [card] }));
  const home = join(directory, 'home');
  const socket = join(directory, 'run', 's');
  const configFile = join(directory, 'signetd.json');
  await mkdir(home, { mode: 0o700 });
  await writeFile(join(directory, 'pin'), FACTORY_PIN, { mode: 0o600 });
  const config = {
    storage: { backend: 'file', path: 'keys' },
    agent: { socket },
    tokens: [{ uri: yubikeyUri(`${NAME}?pin-source=file:pin`) }],
    placement: { root: ['yubikey'] },
  };
  await writeFile(configFile, JSON.stringify(config));
  const { command, args } = yubikeys.enter(process.execPath, [SIGNETD, '--config', configFile]);
  const options = { cwd: directory, env: { ...yubikeys.env, HOME: home } };
  const daemon = resources.use(await startProgram(command, args, options, { output: /"msg":"ready"/ }));
  const agent = new AgentClient(socket);
  resources.use({ [Symbol.asyncDispose]: async () => agent[Symbol.dispose]() });
  return {
    yubikeys,
    daemon,
    agent,
    logged: (text) => waitFor(text, () => daemon.stderr.includes(text) || daemon.stdout.includes(text)),
    keys: async () => {
      const keys = [];
      for await (const key of agent.listKeys()) keys.push(key);
      return keys;
    },
  };
}

test('with a USB bus, a YubiKey is found as soon as it is plugged in, and missed when it is not any more', async () => {
  const { yubikeys, logged, keys } = await start(true);
  await logged('the USB bus tells when YubiKeys come and go');
  expect(await outcomeOf(keys())).toEqual({ value: [] });
  await yubikeys.usb.plug();
  await yubikeys.card().insert();
  await logged(`${NAME} is there`);
  expect(await keys()).toMatchObject([
    { role: 'root', location: 'pkcs11:token=YubiKey%20PIV%20%2312345678;serial=12345678;type=private;id=%01' },
  ]);
  await yubikeys.card().remove();
  await yubikeys.usb.unplug();
  await logged(`${NAME} was taken out`);
});

test('without one, it is found all the same', async () => {
  const { yubikeys, logged, keys } = await start(false);
  await logged('they are looked for each second');
  await yubikeys.card().insert();
  await logged(`${NAME} is there`);
  expect((await keys()).length).toBe(1);
});

test('a root key is made on the YubiKey by the placement, and signs', async () => {
  const { yubikeys, agent, logged } = await start(false);
  await yubikeys.card().insert();
  await logged(`${NAME} is there`);
  const made = await agent.generateKey({ algorithm: 'ecdsa', role: 'root', gun: 'example.com/app' });
  expect(made).toMatchObject({
    role: 'root',
    gun: 'example.com/app',
    backend: 'yubikey',
    device: { serial: '12345678', slot: '9c', firmware: '5.4.3', pin_policy: 'always', touch_policy: 'never' },
  });
  const message = Buffer.from('root.json');
  const { bytes } = await agent.getPublicKey(made.key_id);
  const { signature } = await agent.sign({ key_id: made.key_id, input: 'message', message });
  expect(verifySignature(fromSpki(bytes), message, signature)).toBe(true);
  expect((await agent.attestKey(made.key_id)).chain.length).toBe(2);
  expect((await yubikeys.card().statistics()).pin.failures).toBe(0);
});

test('SIGHUP lets go of the card, so that another program can have it alone, until it is used again', async () => {
  const { yubikeys, daemon, agent, keys, logged } = await start(false);
  await yubikeys.card().insert();
  await logged(`${NAME} is there`);
  const [key] = await keys();
  const sign = () => agent.sign({ key_id: key?.key_id ?? '', input: 'message', message: Buffer.from('x') });
  await sign();
  expect((await tokenHosts(daemon.pid)).length).toBe(1);
  expect(await takeExclusively(yubikeys)).toBe(SHARING_VIOLATION);
  daemon.kill('SIGHUP');
  await waitFor('the card to be let go of', async () => (await tokenHosts(daemon.pid)).length === 0);
  {
    await using _program = await takeExclusivelyOrThrow(yubikeys);
    expect(await outcomeOf(sign())).toMatchObject({
      code: 'TOKEN_NOT_PRESENT',
      message: expect.stringMatching(/or another program has it for itself$/),
    });
  }
  await waitFor("the card to be Signet's again", async () => (await outcomeOf(sign()))['value'] !== undefined);
  expect((await yubikeys.card().statistics()).pin.failures).toBe(0);
});

/** The processes below one that have loaded a module. */
async function tokenHosts(pid: number): Promise<readonly string[]> {
  const found: string[] = [];
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  for (const child of children.split(' ').filter((text) => text !== '')) {
    const command = await readFile(`/proc/${child}/cmdline`, 'utf8').catch(() => '');
    found.push(...(command.includes('pkcs11/host.js') ? [command] : []), ...(await tokenHosts(Number(child))));
  }
  return found;
}
