/** Passphrases in the operating system's keyring: the built daemon with a real gnome-keyring, with a bare bus, and without. */
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { AgentClient } from '../../src/client/agent-client.ts';
import { type AgentDaemon, startAgentDaemon } from '../support/agent-daemon.ts';
import { waitFor } from '../support/conditions.ts';
import { person } from '../support/conversation.ts';
import { type SecretService, startSecretService } from '../support/secret-service.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';

const PASSPHRASE = 'a passphrase for these tests';
const OTHER = 'another passphrase for these tests';
const OWNER = { role: 'targets', gun: 'registry.example.com/team/app' };
const bytes = (text: string) => Buffer.from(text);

let directory: TemporaryDirectory;
let service: SecretService | undefined;
let daemon: AgentDaemon;
let agent: AgentClient;

async function start(kind: 'unlocked' | 'bare' | 'none'): Promise<void> {
  directory = await temporaryDirectory();
  service = kind === 'none' ? undefined : await startSecretService(directory.path, { unlocked: kind === 'unlocked' });
  daemon = await startAgentDaemon(directory.path, service === undefined ? {} : { env: service.env });
  agent = daemon.agent();
}

async function end(): Promise<void> {
  await daemon[Symbol.asyncDispose]();
  await service?.[Symbol.asyncDispose]();
  expect(daemon.program.stderr).not.toContain(PASSPHRASE);
  expect(daemon.program.stderr).not.toContain(OTHER);
  await directory[Symbol.asyncDispose]();
}

async function lockedKey(): Promise<string> {
  const { key_id } = await agent.generateKey({ algorithm: 'ecdsa', ...OWNER, passphrase: bytes(PASSPHRASE) });
  await agent.lock(key_id);
  return key_id;
}

const remember = (keyId: string, secret: string, interaction?: string) =>
  agent.remember({ key_id: keyId, serial: '', secret: bytes(secret) }, { interaction });
const sign = (keyId: string, interaction?: string) =>
  agent.sign({ key_id: keyId, message: bytes('x') }, { interaction });

describe('with an unlocked keyring', () => {
  const opened: Disposable[] = [];
  beforeAll(() => start('unlocked'));
  afterEach(() => {
    for (const session of opened.splice(0)) session[Symbol.dispose]();
  });
  afterAll(end);

  async function asking(answer: Parameters<typeof person>[0]) {
    const who = person(answer);
    const interaction = await agent.interact(who);
    opened.push(interaction);
    return { who, interaction: interaction.id };
  }

  it('a remembered passphrase opens its key without a question, until it is forgotten', async () => {
    const keyId = await lockedKey();
    await remember(keyId, PASSPHRASE);
    await agent.lock(keyId);
    const { who, interaction } = await asking(() => undefined);
    expect((await sign(keyId, interaction)).signature).toHaveLength(64);
    expect(who.asked).toEqual([]);
    await agent.lock(keyId);
    expect(await agent.forget({ key_id: keyId, serial: '' })).toEqual({ forgotten: true });
    expect(await agent.forget({ key_id: keyId, serial: '' })).toEqual({ forgotten: false });
    await expect(sign(keyId, interaction)).rejects.toMatchObject({ code: 'PASSPHRASE_REQUIRED' });
    expect(who.asked).toHaveLength(1);
  });

  it('asks for the passphrase where the request has none', async () => {
    const keyId = await lockedKey();
    const { who, interaction } = await asking(() => PASSPHRASE);
    await remember(keyId, '', interaction);
    expect(who.asked.map(({ kind, key_id }) => [kind, key_id])).toEqual([['passphrase', keyId]]);
    await expect(remember(keyId, '')).rejects.toMatchObject({ code: 'PASSPHRASE_REQUIRED' });
  });

  it('does not keep a wrong passphrase', async () => {
    const keyId = await lockedKey();
    await expect(remember(keyId, OTHER)).rejects.toMatchObject({ code: 'PASSPHRASE_INCORRECT' });
    expect(await agent.forget({ key_id: keyId, serial: '' })).toEqual({ forgotten: false });
  });

  it('forgets a passphrase with its change', async () => {
    const keyId = await lockedKey();
    await remember(keyId, PASSPHRASE);
    await agent.changePassphrase({ key_id: keyId, new_passphrase: bytes(OTHER) });
    expect(await agent.forget({ key_id: keyId, serial: '' })).toEqual({ forgotten: false });
  });

  it('forgets a passphrase that is refused, and does not try it again', async () => {
    const trustDir = `${directory.path}/copy`;
    const keyId = await lockedKey();
    await remember(keyId, PASSPHRASE);
    // The same key under another passphrase: what is remembered does not open it.
    const { pem } = await agent.exportKey(keyId);
    await agent.changePassphrase({ key_id: keyId, new_passphrase: bytes(OTHER) });
    await remember(keyId, OTHER);
    await mkdir(`${trustDir}/private`, { recursive: true, mode: 0o700 });
    await writeFile(`${trustDir}/private/${keyId}.key`, pem, { mode: 0o600 });
    const refused = agent.sign({ key_id: keyId, message: bytes('x') }, { trustDir });
    await expect(refused).rejects.toMatchObject({ code: 'PASSPHRASE_INCORRECT' });
    expect(await agent.forget({ key_id: keyId, serial: '' })).toEqual({ forgotten: false });
  });

  it('wants either a key or a token', async () => {
    const neither = { code: 'INVALID_ARGUMENT', message: 'the request names neither a key nor a token, or both' };
    await expect(agent.remember({ key_id: '', serial: '', secret: bytes('x') })).rejects.toMatchObject(neither);
    await expect(agent.forget({ key_id: '0'.repeat(64), serial: '1' })).rejects.toMatchObject(neither);
    const noKey = agent.remember({ key_id: '0'.repeat(64), serial: '', secret: bytes('x') });
    await expect(noKey).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
    const noToken = agent.remember({ key_id: '', serial: '77', secret: bytes('x') });
    await expect(noToken).rejects.toMatchObject({ code: 'TOKEN_NOT_PRESENT' });
  });
});

describe('on a bus without a Secret Service', () => {
  beforeAll(() => start('bare'));
  afterAll(end);

  it('says that nothing answers, and signs as before', async () => {
    const keyId = await lockedKey();
    const unavailable = {
      code: 'UNAVAILABLE',
      message: "the system's keyring cannot be used: no unlocked Secret Service answers",
    };
    await expect(remember(keyId, PASSPHRASE)).rejects.toMatchObject(unavailable);
    await expect(sign(keyId)).rejects.toMatchObject({ code: 'PASSPHRASE_INCORRECT' });
    await agent.unlock({ key_id: keyId, passphrase: bytes(PASSPHRASE), ttl_ms: 0 });
    expect((await sign(keyId)).signature).toHaveLength(64);
  });
});

describe('on a bus that hangs', () => {
  const connections: Socket[] = [];
  let bus: Server;
  beforeAll(async () => {
    directory = await temporaryDirectory();
    const path = join(directory.path, 'bus');
    bus = createServer((connection) => connections.push(connection));
    await new Promise<void>((resolve) => bus.listen(path, resolve));
    daemon = await startAgentDaemon(directory.path, { env: { DBUS_SESSION_BUS_ADDRESS: `unix:path=${path}` } });
    agent = daemon.agent();
  });
  afterAll(async () => {
    for (const connection of connections) connection.destroy();
    bus.close();
    await end();
  });

  it('everything else goes on, and who wants something kept is told', async () => {
    const keyId = await lockedKey();
    let isOver = false;
    const refused = remember(keyId, PASSPHRASE).catch((error: unknown) => {
      isOver = true;
      return error;
    });
    await waitFor('a process that waits for the bus', () => connections.length > 0);
    await agent.unlock({ key_id: keyId, passphrase: bytes(PASSPHRASE), ttl_ms: 0 });
    expect((await sign(keyId)).signature).toHaveLength(64);
    expect(isOver).toBe(false);
    expect(await refused).toMatchObject({ code: 'UNAVAILABLE', message: "the system's keyring did not answer" });
  });
});

describe('without D-Bus', () => {
  beforeAll(() => start('none'));
  afterAll(end);

  it('says so before anybody types a secret, and is quiet otherwise', async () => {
    const keyId = await lockedKey();
    const who = person(() => PASSPHRASE);
    using interaction = await agent.interact(who);
    const unavailable = {
      code: 'UNAVAILABLE',
      message: "the system's keyring cannot be used: signetd runs outside of a D-Bus session",
      hint: 'start signetd inside your session, or unlock by hand',
    };
    await expect(remember(keyId, '', interaction.id)).rejects.toMatchObject(unavailable);
    await expect(agent.forget({ key_id: keyId, serial: '' })).rejects.toMatchObject(unavailable);
    expect(who.asked).toEqual([]);
    await expect(sign(keyId)).rejects.toMatchObject({ code: 'PASSPHRASE_INCORRECT' });
    expect(daemon.program.stderr).not.toContain('keyring');
  });
});
