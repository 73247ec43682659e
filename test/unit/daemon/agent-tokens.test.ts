import { generateKeyPairSync } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { KeyBackend, SignContext, TokenManager } from '../../../src/backends/backend.ts';
import { MemoryBackend } from '../../../src/backends/memory/memory-backend.ts';
import { SignetError } from '../../../src/errors.ts';
import { type AgentServer, type AgentServerOptions, startAgentServer } from '../../support/agent-server.ts';
import { waitFor } from '../../support/conditions.ts';
import { person } from '../../support/conversation.ts';
import { fakeBackend } from '../../support/fake-backend.ts';
import { fakeTokenBackend, TOKEN_KEY } from '../../support/fake-token-backend.ts';

const PIN = '123456';
const OWNER = { role: 'root', gun: '' };
const bytes = (text: string) => Buffer.from(text);
const opened: Disposable[] = [];
let server: AgentServer;

async function start(backends: readonly KeyBackend[], options: AgentServerOptions = {}) {
  server = await startAgentServer({ ...options, backends: [...backends, new MemoryBackend()] });
  return server.agent();
}

afterEach(async () => {
  for (const session of opened.splice(0)) session[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
  expect(server.log()).not.toContain(PIN);
  expect(server.log()).not.toContain('654321');
});

async function asking(agent: ReturnType<AgentServer['agent']>, answer: Parameters<typeof person>[0]) {
  const who = person(answer);
  const interaction = await agent.interact(who);
  opened.push(interaction);
  return { who, interaction: interaction.id };
}

describe('signing on a token', () => {
  it('asks for the PIN with what people know the token by, and shows the touch while it waits', async () => {
    let touch: () => void = () => undefined;
    const touched = new Promise<void>((resolve) => {
      touch = resolve;
    });
    const agent = await start([fakeTokenBackend({ touched })]);
    const { who, interaction } = await asking(agent, () => PIN);
    const signing = agent.sign({ key_id: TOKEN_KEY, message: bytes('x') }, { interaction });
    await waitFor('the touch notice', () => who.touches.length === 1);
    const token = { backend: 'yubikey', label: 'Test', serial: '4711' };
    expect(who.asked).toEqual([
      { kind: 'pin', key_id: '', role: '', gun: '', token, attempt: 0, tries_left: 3, reason: '' },
    ]);
    expect(who.touches[0]).toEqual({ touch: { token, key_id: TOKEN_KEY, role: 'root', gun: '' }, isOver: false });
    touch();
    expect((await signing).signature).toHaveLength(64);
    await waitFor('the end of the notice', () => who.touches[0]?.isOver);
  });

  it('takes as long as the person does', async () => {
    const agent = await start([fakeTokenBackend()], { callTimeoutMs: 200 });
    // Five times what other calls may take.
    const { interaction } = await asking(agent, () => delay(1000, PIN));
    expect((await agent.sign({ key_id: TOKEN_KEY, message: bytes('x') }, { interaction })).signature).toHaveLength(64);
  });

  it('spends no try when the person declines, or types nothing', async () => {
    const token = fakeTokenBackend();
    const agent = await start([token]);
    for (const answer of [undefined, '']) {
      const { interaction } = await asking(agent, () => answer);
      const signing = agent.sign({ key_id: TOKEN_KEY, message: bytes('x') }, { interaction });
      await expect(signing).rejects.toMatchObject({ code: 'PIN_REQUIRED' });
    }
    await expect(agent.sign({ key_id: TOKEN_KEY, message: bytes('x') })).rejects.toMatchObject({
      code: 'PIN_REQUIRED',
    });
    expect(token.state.tries).toBe(3);
  });

  it('tells how many tries are left after a wrong PIN', async () => {
    const agent = await start([fakeTokenBackend()]);
    const { interaction } = await asking(agent, () => '654321');
    const signing = agent.sign({ key_id: TOKEN_KEY, message: bytes('x') }, { interaction });
    await expect(signing).rejects.toMatchObject({ code: 'PIN_INCORRECT', retriesLeft: 2 });
  });
});

describe('ListTokens', () => {
  it('shows every token, also one that cannot be asked', async () => {
    const absent = fakeTokenBackend({ serial: '2' });
    absent.state.isPresent = false;
    const agent = await start([fakeTokenBackend(), absent]);
    const { tokens } = await agent.listTokens();
    expect(tokens).toHaveLength(2);
    expect(tokens[0]).toMatchObject({
      token: { backend: 'yubikey', label: 'Test', serial: '4711' },
      firmware: '5.4.3',
      present: true,
      logged_in: false,
      pin_tries_left: 3,
      puk_tries_left: -1,
      warnings: ['old firmware'],
      location: 'token 4711',
      problem: '',
    });
    expect(tokens[1]).toMatchObject({ present: false, location: 'token 2', problem: 'token 2 is not plugged in' });
  });
});

describe('the PIN', () => {
  it('is changed with the old one', async () => {
    const token = fakeTokenBackend();
    const agent = await start([token]);
    const { who, interaction } = await asking(agent, ({ kind }) => (kind === 'pin' ? PIN : '654321'));
    await agent.changePin({ serial: '', secret: '' }, { interaction });
    expect(who.asked.map(({ kind }) => kind)).toEqual(['pin', 'new pin']);
    expect(token.state.pin).toBe('654321');
    await agent.unblockPin({ serial: '4711' }, { interaction });
    expect(who.asked.at(-1)?.kind).toBe('new pin');
  });

  it('is that of the token which is named, where several are configured', async () => {
    const [one, two] = [fakeTokenBackend({ serial: '1' }), fakeTokenBackend({ serial: '2' })];
    const agent = await start([one, two]);
    const { interaction } = await asking(agent, ({ kind }) => (kind === 'pin' ? PIN : '654321'));
    await expect(agent.changePin({ serial: '', secret: 'pin' }, { interaction })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: '2 tokens are configured',
    });
    await expect(agent.changePin({ serial: '3', secret: 'pin' }, { interaction })).rejects.toMatchObject({
      code: 'TOKEN_NOT_PRESENT',
      hint: 'those that answer are: 1, 2',
    });
    await agent.changePin({ serial: '2', secret: 'pin' }, { interaction });
    expect([one.state.pin, two.state.pin]).toEqual([PIN, '654321']);
    expect([one.state.timesAsked, two.state.timesAsked]).toEqual([0, 0]);
  });

  it.each([
    ['a secret that no token has', { serial: '', secret: 'password' }, 'INVALID_ARGUMENT'],
    ['a secret that this token has not', { serial: '', secret: 'puk' }, 'UNSUPPORTED'],
  ])('is not %s', async (_what, request, code) => {
    const agent = await start([fakeTokenBackend()]);
    await expect(agent.changePin(request)).rejects.toMatchObject({ code });
  });
});

describe('InitialiseToken', () => {
  it('erases none of two tokens with one serial number', async () => {
    const tokens = [fakeTokenBackend({ serial: '0000' }), fakeTokenBackend({ serial: '0000' })];
    const agent = await start(tokens);
    await expect(agent.initialiseToken({ serial: '0000', label: 'ci' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: '2 configured tokens have the serial number "0000"',
    });
    expect(tokens.map(({ state }) => state.label)).toEqual(['Test', 'Test']);
  });

  it('gives the token its label', async () => {
    const token = fakeTokenBackend();
    const agent = await start([token]);
    await agent.initialiseToken({ serial: '4711', label: 'ci' });
    expect(token.state.label).toBe('ci');
  });

  it.each(['', ' ci', 'a\nb', 'x'.repeat(33)])('refuses the label %j', async (label) => {
    const agent = await start([fakeTokenBackend()]);
    await expect(agent.initialiseToken({ serial: '', label })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});

describe('AttestKey', () => {
  it('gives the chain, the root and what is known of the device', async () => {
    const agent = await start([fakeTokenBackend()]);
    const { chain, root, device } = await agent.attestKey(TOKEN_KEY);
    expect([chain.map((certificate) => [...certificate]), root]).toEqual([[[0x30, 0]], 'CN=Test Root']);
    expect(device).toMatchObject({ serial: '4711', slot: '9c', attested: 'yes', touch_policy: 'always' });
  });
});

describe('a token that was named', () => {
  it('is the only one that its PINs are changed on, or that is erased', async () => {
    const fake = fakeTokenBackend();
    const meant: unknown[] = [];
    const note = async (context: SignContext) => void meant.push(context.token);
    if (fake.token === undefined) throw new Error('it is a token');
    const token: TokenManager = {
      ...fake.token,
      changePin: (_, context) => note(context),
      unblockPin: note,
      initialise: (_, context) => note(context),
    };
    const agent = await start([{ ...fake, token }]);
    await agent.changePin({ serial: '4711', secret: 'pin' });
    await agent.unblockPin({ serial: '', token: 'Test' });
    await agent.initialiseToken({ serial: '4711', label: 'new' });
    const which = { backend: 'yubikey', label: 'Test', serial: '4711' };
    expect(meant).toEqual([which, which, which]);
  });
});

describe('Remember, for a token', () => {
  it('keeps a PIN that opens it, and only that', async () => {
    const token = fakeTokenBackend();
    const agent = await start([token]);
    const wrong = agent.remember({ key_id: '', serial: '4711', secret: bytes('000000') });
    await expect(wrong).rejects.toMatchObject({ code: 'PIN_INCORRECT', retriesLeft: 2 });
    expect([...server.kept]).toEqual([]);
    const { who, interaction } = await asking(agent, () => PIN);
    await agent.remember({ key_id: '', serial: '4711', secret: bytes('') }, { interaction });
    expect(who.asked.map(({ kind, tries_left }) => [kind, tries_left])).toEqual([['pin', 2]]);
    expect([...server.kept]).toEqual([['pin:pkcs11:token=Test;serial=4711', PIN]]);
    expect(await agent.forget({ key_id: '', serial: '4711' })).toEqual({ forgotten: true });
  });

  it('asks the token how many tries are left only if a person is asked', async () => {
    const token = fakeTokenBackend();
    const agent = await start([token]);
    await agent.remember({ key_id: '', serial: '4711', secret: bytes(PIN) });
    const nothing = agent.remember({ key_id: '', serial: '4711', secret: bytes('') });
    await expect(nothing).rejects.toMatchObject({ code: 'PIN_REQUIRED' });
    await agent.forget({ key_id: '', serial: '4711' });
    expect(token.state.timesAsked).toBe(0);
    const { interaction } = await asking(agent, () => PIN);
    await agent.remember({ key_id: '', serial: '4711', secret: bytes('') }, { interaction });
    expect(token.state.timesAsked).toBe(1);
  });

  it('checks the PIN of one that is open as well', async () => {
    const token = fakeTokenBackend();
    const agent = await start([token]);
    token.state.loggedIn = true;
    const wrong = agent.remember({ key_id: '', serial: '4711', secret: bytes('000000') });
    await expect(wrong).rejects.toMatchObject({ code: 'PIN_INCORRECT' });
    expect([...server.kept]).toEqual([]);
  });

  it('tells tokens of one serial number apart by their labels', async () => {
    const [one, two] = ['one', 'two'].map((label) => fakeTokenBackend({ serial: '0000', label }));
    if (one === undefined || two === undefined) throw new Error('two tokens');
    two.state.pin = '654321';
    const agent = await start([one, two]);
    const subject = { key_id: '', serial: '0000' };
    await expect(agent.remember({ ...subject, secret: bytes(PIN) })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: '2 configured tokens have the serial number "0000"',
    });
    await agent.remember({ ...subject, label: 'one', secret: bytes(PIN) });
    await agent.remember({ ...subject, label: 'two', secret: bytes('654321') });
    expect([...server.kept]).toEqual([
      ['pin:pkcs11:token=one;serial=0000', PIN],
      ['pin:pkcs11:token=two;serial=0000', '654321'],
    ]);
    expect([one.state.tries, two.state.tries]).toEqual([3, 3]);
    await expect(agent.forget(subject)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(await agent.forget({ ...subject, label: 'two' })).toEqual({ forgotten: true });
    one.state.isPresent = false;
    expect(await agent.forget({ ...subject, label: 'one' })).toEqual({ forgotten: true });
    expect([...server.kept]).toEqual([]);
  });

  it('needs a key on it to check the PIN with', async () => {
    const agent = await start([fakeTokenBackend({ hasKey: false })]);
    const remember = agent.remember({ key_id: '', serial: '4711', secret: bytes(PIN) });
    await expect(remember).rejects.toMatchObject({ code: 'UNSUPPORTED', hint: 'make a key on the token first' });
  });
});

describe('where a new key goes', () => {
  const placement = new Map([['*', ['yubikey', 'storage']]]);

  it('is the token of the serial number', async () => {
    const agent = await start([fakeTokenBackend({ serial: '1' }), fakeTokenBackend({ serial: '2' })]);
    const key = await agent.generateKey({ algorithm: 'ecdsa', ...OWNER, serial: '2' });
    expect(key).toMatchObject({ location: 'token 2', backend: 'yubikey' });
  });

  it('is told to the person when the first home makes no such keys', async () => {
    const agent = await start([fakeTokenBackend()], { placement });
    const key = await agent.generateKey({ algorithm: 'ed25519', ...OWNER });
    expect(key).toMatchObject({ backend: 'memory', passed_over: ['token 4711'] });
    expect(server.log()).toContain('"passedOver":["token 4711"]');
  });

  it('is never a file when hardware is required', async () => {
    const agent = await start([fakeTokenBackend()], { placement });
    const generate = agent.generateKey({ algorithm: 'ed25519', ...OWNER, require_hardware: true });
    await expect(generate).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: 'no configured backend makes ed25519 keys for role "root"',
      hint: "the role's backends are: yubikey",
    });
    expect((await agent.generateKey({ algorithm: 'ecdsa', ...OWNER, require_hardware: true })).backend).toBe('yubikey');
  });

  it('is not the next home when the first is absent', async () => {
    const token = fakeBackend({
      name: 'yubikey',
      generator: {
        algorithms: ['ecdsa'],
        generate: () => Promise.reject(new SignetError('TOKEN_NOT_PRESENT', 'not plugged in', { hint: 'plug it in' })),
      },
    });
    const agent = await start([token], { placement });
    await expect(agent.generateKey({ algorithm: 'ecdsa', ...OWNER })).rejects.toMatchObject({
      code: 'TOKEN_NOT_PRESENT',
      hint: 'plug it in; to make the key elsewhere, name the backend: memory',
    });
    expect((await agent.generateKey({ algorithm: 'ecdsa', ...OWNER, backend: 'storage' })).backend).toBe('memory');
  });
});

describe('where an imported key goes', () => {
  const pkcs8 = () =>
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'der', type: 'pkcs8' });
  const placement = new Map([['*', ['yubikey', 'storage']]]);

  it('is no token, unless the caller names it', async () => {
    const agent = await start([fakeTokenBackend()], { placement });
    expect((await agent.importKey({ pkcs8: pkcs8(), ...OWNER })).backend).toBe('memory');
    expect((await agent.importKey({ pkcs8: pkcs8(), ...OWNER, backend: 'yubikey' })).backend).toBe('yubikey');
    expect((await agent.importKey({ pkcs8: pkcs8(), ...OWNER, serial: '4711', slot: '9c' })).backend).toBe('yubikey');
  });

  it('is nowhere, where the rule names only tokens', async () => {
    const agent = await start([fakeTokenBackend()], { placement: new Map([['*', ['yubikey']]]) });
    await expect(agent.importKey({ pkcs8: pkcs8(), ...OWNER })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: 'no configured backend takes imported keys for role "root"',
    });
  });
});

describe('homes that cannot do it', () => {
  it('say so', async () => {
    const agent = await start([]);
    const { key_id } = await agent.generateKey({ algorithm: 'ecdsa', ...OWNER });
    const unsupported = { code: 'UNSUPPORTED' };
    await expect(agent.exportKey(key_id)).rejects.toMatchObject(unsupported);
    await expect(agent.relabelKey({ key_id, ...OWNER })).rejects.toMatchObject(unsupported);
    const change = agent.changePassphrase({ key_id, new_passphrase: bytes('12345678') });
    await expect(change).rejects.toMatchObject(unsupported);
    await expect(agent.remember({ key_id, serial: '', secret: bytes('x') })).rejects.toMatchObject(unsupported);
    const sealed = agent.generateKey({ algorithm: 'ecdsa', ...OWNER, passphrase: bytes('12345678') });
    await expect(sealed).rejects.toMatchObject(unsupported);
    await expect(
      agent
        .backup({ passphrase: bytes('x') })
        [Symbol.asyncIterator]()
        .next(),
    ).rejects.toMatchObject(unsupported);
  });
});
