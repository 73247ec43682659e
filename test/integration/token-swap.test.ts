/** Another token in the place of the first, where the URI fits both: it gets nothing that was meant for the first. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { KeyInfo, SignContext } from '../../src/backends/backend.ts';
import { MemoryBackend } from '../../src/backends/memory/memory-backend.ts';
import type { Pkcs11Backend, Pkcs11Options } from '../../src/backends/pkcs11/pkcs11-backend.ts';
import { startAgentServer } from '../support/agent-server.ts';
import { waitFor } from '../support/conditions.ts';
import { person } from '../support/conversation.ts';
import { AGREED, FAKE_PIN, type FakeToken, fakeToken } from '../support/fake-token.ts';
import { outcomeOf } from '../support/outcome.ts';
import { pinPerson } from '../support/pin-person.ts';

const CONTEXT: SignContext = { caller: 'test' };
const SWAPPED = {
  code: 'TOKEN_NOT_PRESENT',
  message:
    'the operation began with token "fake" (serial number 0001), and now token "another" (serial number 0001) is there',
  hint: 'nothing was done to that one: put the first one back, or begin again',
};

let fake: FakeToken;

beforeEach(async () => {
  fake = await fakeToken();
});
afterEach(() => fake[Symbol.asyncDispose]());

/** Both tokens have the one key. */
async function openWithKey(options: Partial<Pkcs11Options> = {}) {
  const backend = await fake.open({ uri: { modulePath: '/nowhere/fake.so' }, ...options });
  for await (const key of backend.list()) return { backend, key };
  throw new Error('the fake token has one key');
}

/** The one that is there now is noticed at the next use. */
async function swap(backend: Pkcs11Backend): Promise<void> {
  await fake.plan({ tokens: ['another'] });
  const { hostPid } = backend;
  if (hostPid !== undefined) process.kill(hostPid, 'SIGKILL');
  await waitFor('the end of the host', () => backend.hostPid === undefined);
}

/** What the hosts began beside listings. */
const deeds = async () => (await fake.log()).filter((line) => line !== 'keys').map((line) => line.split(' ')[0]);

describe('a token that takes the place of another one', () => {
  it('does not get the PIN that a person gave for that one, though it is still remembered', async () => {
    const { backend, key } = await openWithKey({ pinCacheMs: 600_000 });
    await backend.sign(key.keyId, AGREED, pinPerson(() => FAKE_PIN).context);
    await swap(backend);
    expect((await backend.token.describe()).identity.label).toBe('another');
    expect(await outcomeOf(backend.sign(key.keyId, AGREED, CONTEXT))).toMatchObject({ code: 'PIN_REQUIRED' });
    expect(await deeds()).toEqual(['login', 'sign']);
  });

  it('does get the PIN of a file that is for whatever token fits', async () => {
    const { backend, key } = await openWithKey({ pinFile: await fake.pinFile() });
    await backend.sign(key.keyId, AGREED, CONTEXT);
    await swap(backend);
    expect((await backend.token.status()).identity.label).toBe('another');
    await backend.sign(key.keyId, AGREED, CONTEXT);
    expect(await deeds()).toEqual(['login', 'sign', 'login', 'sign']);
  });

  it('before a further host has found the first is not opened there', async () => {
    const events: string[] = [];
    const { backend, key } = await openWithKey({ hosts: 2, onEvent: (what) => events.push(what) });
    const person = pinPerson(async () => {
      await fake.plan({ tokens: ['another'] });
      return FAKE_PIN;
    });
    await backend.sign(key.keyId, AGREED, person.context);
    await waitFor('the further host to be of no help', () => events.includes('a further token host cannot help'));
    expect(await deeds()).toEqual(['login', 'sign']);
  });

  type Call = (backend: Pkcs11Backend, key: KeyInfo, context: SignContext) => Promise<unknown> | undefined;
  const calls: readonly (readonly [string, Call])[] = [
    ['a signature', (backend, { keyId }, context) => backend.sign(keyId, AGREED, context)],
    [
      'a new key',
      (backend, _, context) => backend.generator.generate({ algorithm: 'ecdsa', role: '', gun: '' }, context),
    ],
    ['another PIN', (backend, _, context) => backend.token.changePin('pin', context)],
    ['another SO PIN', (backend, _, context) => backend.token.changePin('so-pin', context)],
    ['a new PIN by the SO PIN', (backend, _, context) => backend.token.unblockPin(context)],
    ['initialising it', (backend, _, context) => backend.token.initialise?.('fake', context)],
  ];

  it.each(calls)('while a person is asked gets neither the answer nor what comes after: %s', async (_, call) => {
    const { backend, key } = await openWithKey();
    const person = pinPerson(async () => {
      if (person.questions.length === 1) await swap(backend);
      return FAKE_PIN;
    });
    expect(await outcomeOf(call(backend, key, person.context) ?? Promise.resolve())).toEqual(SWAPPED);
    expect(await deeds()).toEqual([]);
    expect(new Set(person.questions.map((question) => question.token.label))).toEqual(new Set(['fake']));
  });

  it('while a person is asked for a PIN to remember does not get it', async () => {
    const { backend } = await openWithKey();
    await using server = await startAgentServer({ backends: [backend, new MemoryBackend()] });
    const agent = server.agent();
    const who = person(async () => {
      await swap(backend);
      return FAKE_PIN;
    });
    using interaction = await agent.interact(who);
    const remember = agent.remember(
      { key_id: '', serial: '0001', secret: Buffer.alloc(0) },
      { interaction: interaction.id },
    );
    expect(await outcomeOf(remember)).toEqual(SWAPPED);
    expect(who.asked.map(({ token }) => token?.label)).toEqual(['fake']);
    expect(await deeds()).toEqual([]);
    expect([...server.kept]).toEqual([]);
  });

  it.each(calls.slice(1))('before the call began gets nothing where the first one was named: %s', async (_, call) => {
    const { backend, key } = await openWithKey();
    await swap(backend);
    const who = pinPerson(() => FAKE_PIN);
    const token = { label: 'fake', serial: '0001' };
    const context = { ...who.context, token };
    expect(await outcomeOf(call(backend, key, context) ?? Promise.resolve())).toEqual(SWAPPED);
    expect(await deeds()).toEqual([]);
    expect(who.questions).toEqual([]);
  });

  it('of a blank one is not erased', async () => {
    await fake.plan({ tokens: [''] });
    const backend = await fake.open({ uri: { modulePath: '/nowhere/fake.so' } });
    const person = pinPerson(async () => {
      await swap(backend);
      return FAKE_PIN;
    });
    expect(await outcomeOf(backend.token.initialise?.('new', person.context) ?? Promise.resolve())).toEqual({
      ...SWAPPED,
      message: SWAPPED.message.replace('"fake"', '""'),
    });
    expect(await deeds()).toEqual([]);
  });
});
