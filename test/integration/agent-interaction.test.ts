/** Questions of the built daemon to the person behind a client, over the real socket. */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { startAgentDaemon } from '../support/agent-daemon.ts';
import { agentHome } from '../support/agent-home.ts';
import { waitFor } from '../support/conditions.ts';
import { THINKING } from '../support/conversation.ts';
import { startProgram } from '../support/processes.ts';
import { temporaryDirectory } from '../support/temp.ts';

const ASKED_CLIENT = fileURLToPath(new URL('../support/asked-client.mjs', import.meta.url));
const PASSPHRASE = 'a passphrase for these tests';
const OTHER = 'another passphrase for these tests';
const OWNER = { role: 'targets', gun: 'registry.example.com/team/app' };

const home = agentHome([PASSPHRASE, OTHER]);

async function lockedKey(): Promise<string> {
  const { interaction, end } = await home.session(() => PASSPHRASE);
  const { key_id } = await home.agent.generateKey({ algorithm: 'ecdsa', ...OWNER }, { interaction });
  end();
  await home.agent.lock(key_id);
  return key_id;
}

const sign = (keyId: string, options: { interaction?: string; signal?: AbortSignal } = {}, client = home.agent) =>
  client.sign({ key_id: keyId, message: Buffer.from('x') }, options);

describe('a new key', () => {
  it('is sealed under what the person chooses, who is told for which key', async () => {
    const { who, interaction } = await home.session(() => PASSPHRASE);
    const key = await home.agent.generateKey({ algorithm: 'ecdsa', ...OWNER }, { interaction });
    expect(who.asked).toEqual([
      { kind: 'new passphrase', key_id: key.key_id, ...OWNER, token: null, attempt: 0, tries_left: -1, reason: '' },
    ]);
    await home.agent.lock(key.key_id);
    await home.agent.unlock({ key_id: key.key_id, passphrase: Buffer.from(PASSPHRASE), ttl_ms: 0 });
  });

  it('is not made when the person declines', async () => {
    const { interaction } = await home.session(() => undefined);
    await expect(home.agent.generateKey({ algorithm: 'ecdsa', ...OWNER }, { interaction })).rejects.toMatchObject({
      code: 'PASSPHRASE_REQUIRED',
      message: 'no passphrase is configured for new keys',
    });
  });

  it('is not made under an empty passphrase', async () => {
    const { interaction } = await home.session(() => '');
    await expect(home.agent.generateKey({ algorithm: 'ecdsa', ...OWNER }, { interaction })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
  });

  it('is made under a short one, which a variable may hold: the client checks what a person chooses', async () => {
    const { interaction } = await home.session(() => 'short');
    const key = await home.agent.generateKey({ algorithm: 'ecdsa', ...OWNER }, { interaction });
    await home.agent.lock(key.key_id);
    await home.agent.unlock({ key_id: key.key_id, passphrase: Buffer.from('short'), ttl_ms: 0 });
  });
});

describe('a sealed key', () => {
  it('is opened with the answer, and asked about again after a wrong one', async () => {
    const keyId = await lockedKey();
    const { who, interaction } = await home.session(({ attempt }) => (attempt === 0 ? OTHER : PASSPHRASE));
    expect((await sign(keyId, { interaction })).signature).toHaveLength(64);
    expect(who.asked.map(({ kind, key_id, attempt }) => [kind, key_id, attempt])).toEqual([
      ['passphrase', keyId, 0],
      ['passphrase', keyId, 1],
    ]);
  });

  it('stays closed after four wrong answers', async () => {
    const keyId = await lockedKey();
    const { who, interaction } = await home.session(() => OTHER);
    await expect(sign(keyId, { interaction })).rejects.toMatchObject({ code: 'PASSPHRASE_INCORRECT' });
    expect(who.asked).toHaveLength(4);
  });

  it('stays closed when the person declines, or nobody is there', async () => {
    const keyId = await lockedKey();
    const { interaction } = await home.session(() => undefined);
    await expect(sign(keyId, { interaction })).rejects.toMatchObject({ code: 'PASSPHRASE_REQUIRED' });
    // The passphrase that Signet made for servers' keys was tried.
    await expect(sign(keyId)).rejects.toMatchObject({ code: 'PASSPHRASE_INCORRECT' });
  });

  it('is answered for every caller when a hundred ask at once', async () => {
    const keyId = await lockedKey();
    const clients = Array.from({ length: 100 }, () => home.daemon.agent());
    const sessions = await Promise.all(clients.map((client) => home.session(() => PASSPHRASE, client)));
    const signatures = await Promise.all(
      clients.map((client, index) => sign(keyId, { interaction: sessions[index]?.interaction ?? '' }, client)),
    );
    expect(signatures).toHaveLength(100);
    expect(sessions.reduce((sum, { who }) => sum + who.asked.length, 0)).toBeGreaterThan(0);
  });
});

describe('a question', () => {
  it('is withdrawn when its call is cancelled', async () => {
    const keyId = await lockedKey();
    const { who, interaction } = await home.session(() => THINKING);
    const controller = new AbortController();
    const call = sign(keyId, { interaction, signal: controller.signal });
    await waitFor('the question', () => who.asked.length === 1);
    controller.abort();
    await expect(call).rejects.toMatchObject({ code: 'CANCELLED' });
    await waitFor('the end of the prompt', () => who.withdrawn.length === 1);
  });

  it('counts as declined when the session ends', async () => {
    const keyId = await lockedKey();
    const { who, interaction, end } = await home.session(() => THINKING);
    const call = sign(keyId, { interaction });
    await waitFor('the question', () => who.asked.length === 1);
    end();
    await expect(call).rejects.toMatchObject({ code: 'PASSPHRASE_REQUIRED' });
  });

  it('ends with a client that is killed', async () => {
    const keyId = await lockedKey();
    const env = { PATH: process.env['PATH'] ?? '' };
    const client = await startProgram(
      process.execPath,
      [ASKED_CLIENT, home.daemon.socket, keyId],
      { env },
      { output: /asked/ },
    );
    client.kill('SIGKILL');
    await waitFor('the end of its call', () =>
      home.daemon.program.stderr
        .split('\n')
        .some((line) => line.includes(keyId) && line.includes('"outcome":"CANCELLED"')),
    );
    const { interaction } = await home.session(() => PASSPHRASE);
    expect((await sign(keyId, { interaction })).signature).toHaveLength(64);
  });

  it('is not answered with more than 1 KiB', async () => {
    const keyId = await lockedKey();
    const { interaction } = await home.session(() => 'x'.repeat(1025));
    await expect(sign(keyId, { interaction })).rejects.toMatchObject({ code: 'PASSPHRASE_REQUIRED' });
    await expect(sign(keyId, { interaction })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'no such interaction is open on this connection',
    });
  });
});

describe('a session', () => {
  it('is of use on its own connection only', async () => {
    const keyId = await lockedKey();
    const { who, interaction } = await home.session(() => PASSPHRASE);
    await expect(sign(keyId, { interaction }, home.daemon.agent())).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'no such interaction is open on this connection',
    });
    expect(who.asked).toEqual([]);
  });

  it('delays no end of the daemon: its question is withdrawn, and the call told why', async () => {
    await using other = await temporaryDirectory();
    await using second = await startAgentDaemon(other.path);
    const client = second.agent();
    const { who, interaction } = await home.session(() => THINKING, client);
    const call = client.generateKey({ algorithm: 'ecdsa', ...OWNER }, { interaction });
    await waitFor('the question', () => who.asked.length === 1);
    second.program.kill('SIGTERM');
    await expect(call).rejects.toMatchObject({ code: 'UNAVAILABLE', message: 'the daemon is shutting down' });
    expect((await second.program.ended).ending).toBe(0);
    expect(who.withdrawn).toHaveLength(1);
    expect(second.program.stderr).not.toContain('calls abandoned');
  });

  it('ends with the daemon', async () => {
    await using other = await temporaryDirectory();
    await using second = await startAgentDaemon(other.path);
    const client = second.agent();
    const { who, interaction } = await home.session(() => PASSPHRASE, client);
    const { key_id } = await client.generateKey({ algorithm: 'ecdsa', ...OWNER }, { interaction });
    expect(who.asked).toHaveLength(1);
    await client.stop();
    expect((await second.program.ended).ending).toBe(0);
    await expect(client.findKey(key_id)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });
});
