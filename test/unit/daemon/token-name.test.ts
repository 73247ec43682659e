/** Which token is meant, where serial numbers do not tell. */
import { generateKeyPairSync } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import type { TokenRequest } from '../../../src/rpc/messages.ts';
import { type AgentServer, startAgentServer } from '../../support/agent-server.ts';
import { type FakeToken, type FakeTokenOptions, fakeTokenBackend } from '../../support/fake-token-backend.ts';

const ZEROS = '0000000000000000';
let server: AgentServer;

afterEach(async () => {
  await server[Symbol.asyncDispose]();
});

async function start(...options: readonly FakeTokenOptions[]) {
  const tokens = options.map((more) => fakeTokenBackend({ name: 'pkcs11', serial: ZEROS, ...more }));
  server = await startAgentServer({ backends: tokens });
  return { tokens, agent: server.agent() };
}

/** Labels after the token that is meant was given another one. */
async function labelsAfter(
  { tokens, agent }: { tokens: readonly FakeToken[]; agent: ReturnType<AgentServer['agent']> },
  request: TokenRequest,
): Promise<readonly string[]> {
  await agent.initialiseToken({ ...request, label: 'new' });
  return tokens.map(({ state }) => state.label);
}

const ONE = { label: 'one', location: 'pkcs11:token=one', modulePath: '/a.so' };
const TWO = { label: 'two', location: 'pkcs11:token=two', modulePath: '/b.so' };

describe('a token', () => {
  it.each([
    ['its label', 'two'],
    ['its location', 'pkcs11:token=two'],
    ['its URI in the configuration', 'pkcs11:token=two?module-path=/b.so&pin-source=file:pin'],
    ['another URI that fits it alone', `pkcs11:manufacturer=Test;serial=${ZEROS};token=t%77o`],
    ['its module', 'pkcs11:?module-path=/b.so'],
  ])('is named by %s', async (_what, token) => {
    expect(await labelsAfter(await start(ONE, TWO), { token })).toEqual(['one', 'new']);
  });

  it('is named by serial number and another name together, if both are right', async () => {
    const both = await start(ONE, TWO);
    await expect(labelsAfter(both, { token: 'two', serial: '4711' })).rejects.toMatchObject({
      code: 'TOKEN_NOT_PRESENT',
      message: 'no configured token has the serial number "4711" and answers to "two"',
    });
    expect(await labelsAfter(both, { token: 'two', serial: ZEROS })).toEqual(['one', 'new']);
  });

  it('that is away is named by its location', async () => {
    const both = await start(ONE, TWO);
    for (const { state } of both.tokens) state.isPresent = false;
    await expect(both.agent.changePin({ token: 'pkcs11:token=two', secret: 'pin' })).rejects.toMatchObject({
      code: 'PIN_REQUIRED',
    });
    await expect(both.agent.changePin({ token: 'two', secret: 'pin' })).rejects.toMatchObject({
      code: 'TOKEN_NOT_PRESENT',
    });
  });

  it('of a YubiKey is named by its own URI', async () => {
    const yubikey = { name: 'yubikey', serial: '7', location: 'yubikey:', label: 'PIV' };
    const both = await start({ ...ONE, serial: '7' }, yubikey);
    expect(await labelsAfter(both, { token: 'yubikey:serial=7' })).toEqual(['one', 'new']);
  });

  it('takes a new key, and an imported one, where it is named', async () => {
    const { agent } = await start(ONE, TWO);
    const key = await agent.generateKey({ algorithm: 'ecdsa', role: 'root', gun: '', token: 'two' });
    expect(key.location).toBe('pkcs11:token=two');
    const pkcs8 = generateKeyPairSync('ed25519').privateKey.export({ format: 'der', type: 'pkcs8' });
    const imported = await agent.importKey({ pkcs8, role: 'root', gun: '', token: 'pkcs11:token=one' });
    expect(imported.location).toBe('pkcs11:token=one');
  });

  it('whose PIN is kept in the keyring is named like any other', async () => {
    const { agent } = await start(ONE, TWO);
    const secret = Buffer.from('123456');
    await agent.remember({ key_id: '', serial: '', token: 'pkcs11:token=two', secret });
    expect([...server.kept.keys()]).toEqual([`pin:pkcs11:token=two;serial=${ZEROS}`]);
    expect(await agent.forget({ key_id: '', serial: '', token: 'two' })).toEqual({ forgotten: true });
  });
});

describe('a name that is not one token’s', () => {
  it('names none of them, and the error says what to write', async () => {
    const both = await start(ONE, TWO);
    const hint = 'name one of them by its URI: "pkcs11:token=one", "pkcs11:token=two"';
    await expect(labelsAfter(both, { token: ZEROS })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: `2 configured tokens answer to "${ZEROS}"`,
      hint,
    });
    await expect(labelsAfter(both, { serial: ZEROS })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: `2 configured tokens have the serial number "${ZEROS}"`,
      hint,
    });
    await expect(labelsAfter(both, {})).rejects.toMatchObject({
      message: '2 tokens are configured',
      hint: 'say which one: "pkcs11:token=one", "pkcs11:token=two"',
    });
    expect(both.tokens.map(({ state }) => state.label)).toEqual(['one', 'two']);
  });

  it('is told with the module where label and serial number are the same', async () => {
    const same = await start(ONE, { ...ONE, modulePath: '/b b.so' });
    await expect(labelsAfter(same, { token: 'pkcs11:token=one' })).rejects.toMatchObject({
      hint: 'name one of them by its URI: "pkcs11:token=one?module-path=/a.so", "pkcs11:token=one?module-path=/b%20b.so"',
    });
    expect(await labelsAfter(same, { token: 'pkcs11:token=one?module-path=/b%20b.so' })).toEqual(['one', 'new']);
  });

  it('is told when nothing tells two tokens apart', async () => {
    await expect(labelsAfter(await start(ONE, ONE), { token: 'one' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      hint: 'nothing tells them apart: give one of them another label, or configure only one',
    });
  });

  it.each(['three', 'pkcs11:token=three', 'yubikey:serial=3', 'pkcs11:slot-id=3'])('is no token: %s', async (token) => {
    const both = await start(ONE, TWO);
    const failure = labelsAfter(both, { token });
    await expect(failure).rejects.toMatchObject({ hint: expect.stringContaining('"pkcs11:token=one"') });
    await expect(failure).rejects.toThrow(JSON.stringify(token));
  });

  it('is refused where it is no URI', async () => {
    await expect(labelsAfter(await start(ONE, TWO), { token: 'pkcs11:tokn=two' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'malformed pkcs11 URI: unknown attribute "tokn" in its path',
    });
  });
});
