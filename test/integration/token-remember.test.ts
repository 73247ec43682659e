/** The PIN of a token in the operating system's keyring: the built daemon, a real gnome-keyring, SoftHSM. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type AgentDaemon, startAgentDaemon } from '../support/agent-daemon.ts';
import { person } from '../support/conversation.ts';
import { type FaultyModule, faultyToken } from '../support/faulty-module.ts';
import { outcomeOf } from '../support/outcome.ts';
import { runProgram } from '../support/processes.ts';
import { Resources } from '../support/resources.ts';
import { type SecretService, startSecretService } from '../support/secret-service.ts';
import { SOFTHSM_MODULE, type SoftHsm, TEST_PIN } from '../support/softhsm.ts';

const NEW_PIN = '246813579';
const OWNER = { role: 'timestamp', gun: 'registry.example.com/team/app' };

let resources: Resources;
let hsm: SoftHsm;
let module: FaultyModule;
let keyring: SecretService;

beforeEach(async () => {
  resources = new Resources();
  ({ hsm, module } = await faultyToken(resources));
  keyring = resources.use(await startSecretService(hsm.directory, { unlocked: true }));
});
afterEach(() => resources[Symbol.asyncDispose]());

async function start(): Promise<AgentDaemon> {
  const uri = `pkcs11:token=ci?module-path=${module.modulePath}`;
  const config = { tokens: [{ uri }], placement: { timestamp: ['pkcs11'], '*': ['storage'] } };
  return resources.use(await startAgentDaemon(hsm.directory, { config, env: { ...module.env, ...keyring.env } }));
}

/** A daemon that a person made a key with, and whom they had remember the PIN. */
async function remembered() {
  const daemon = await start();
  const agent = daemon.agent();
  const who = person(() => TEST_PIN);
  using interaction = await agent.interact(who);
  const key = await agent.generateKey({ algorithm: 'ecdsa', ...OWNER }, { interaction: interaction.id });
  expect(who.asked.map(({ kind, token }) => [kind, token?.label])).toEqual([['pin', 'ci']]);
  const serial = key.device?.serial ?? '';
  await agent.remember({ key_id: '', serial, secret: Buffer.from(TEST_PIN) });
  await daemon[Symbol.asyncDispose]();
  return { keyId: key.key_id, serial };
}

const sign = (daemon: AgentDaemon, keyId: string) =>
  outcomeOf(daemon.agent().sign({ key_id: keyId, message: Buffer.from('x') }));

it('opens it after a restart without a person, and is in no file of the daemon and no log', async () => {
  const { keyId } = await remembered();
  const daemon = await start();
  expect(await sign(daemon, keyId)).not.toHaveProperty('code');
  const found = await runProgram('grep', ['-rlF', TEST_PIN, daemon.home], { env: {} });
  expect(found).toMatchObject({ ending: 1, stdout: '' });
  expect(daemon.program.stderr).not.toContain(TEST_PIN);
});

it('that the token refuses is tried once, forgotten, and nothing is tried after that', async () => {
  const { keyId, serial } = await remembered();
  const args = ['--module', SOFTHSM_MODULE, '--token-label', 'ci', '--login', '--pin', TEST_PIN];
  const changed = await runProgram('pkcs11-tool', [...args, '--change-pin', '--new-pin', NEW_PIN], { env: hsm.env });
  expect(changed, changed.stderr).toMatchObject({ ending: 0 });
  const before = await module.logins();
  for (let restart = 0; restart < 3; restart++) {
    await using daemon = await start();
    for (let call = 0; call < 3; call++) {
      expect(await sign(daemon, keyId)).toMatchObject({ code: expect.stringMatching(/^PIN_(REQUIRED|INCORRECT)$/) });
    }
    expect(await daemon.agent().forget({ key_id: '', serial })).toEqual({ forgotten: false });
  }
  expect((await module.logins()) - before).toBe(1);
});
