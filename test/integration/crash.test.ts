/** signetd killed at any moment, and signetd told to end: what is on disk afterwards, and what callers were told. */
import { mkdir, readdir, readFile, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openKeyPem, readKeyPem } from '../../src/crypto/key-pem.ts';
import type { PublicKey } from '../../src/crypto/public-key.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { GRPC_STATUS } from '../../src/errors.ts';
import type { PublicKeyMessage } from '../../src/rpc/messages.ts';
import { type AgentDaemon, startAgentDaemon } from '../support/agent-daemon.ts';
import { waitFor } from '../support/conditions.ts';
import { freePort, isListening } from '../support/ports.ts';
import { Resources } from '../support/resources.ts';
import { temporaryDirectory } from '../support/temp.ts';
import { verifyIndependently } from '../support/verify.ts';

const GUN = 'registry.example.com/team/app';
const CONTENT = Buffer.from('content');

let resources: Resources;
let directory: string;

beforeEach(async () => {
  resources = new Resources();
  directory = resources.use(await temporaryDirectory()).path;
});
afterEach(() => resources[Symbol.asyncDispose]());

async function kill(daemon: AgentDaemon): Promise<void> {
  daemon.program.kill('SIGKILL');
  await daemon.program.ended;
  await daemon[Symbol.asyncDispose](); // its clients
}

/** Daemons leave younger temporary files alone, as another container may be writing them. */
async function ageTemporaryFiles(place: string): Promise<void> {
  const names = await readdir(place).catch(() => []);
  for (const name of names) if (name.endsWith('.tmp')) await utimes(join(place, name), 0, 0);
}

const publicKeyOf = ({ keyInfo, publicKey }: PublicKeyMessage) =>
  ({ algorithm: keyInfo.algorithm.algorithm, bytes: publicKey }) as PublicKey;

/** CreateKey again and again, until the daemon is gone. */
async function createUntilGone(daemon: AgentDaemon, created: Map<string, PublicKey>): Promise<void> {
  const signer = daemon.signer();
  for (let number = 0; ; number++) {
    const algorithm = number % 2 === 0 ? 'ecdsa' : 'ed25519';
    try {
      const key = await signer.createKey(algorithm, GUN, 'timestamp');
      created.set(key.keyInfo.keyID.ID, publicKeyOf(key));
    } catch {
      return;
    }
  }
}

describe('signetd killed while it changes passphrases', () => {
  it('leaves each key whole, under the old passphrase or the new one', { timeout: 180_000 }, async () => {
    const passphrases = ['passphrase one', 'passphrase two'];
    const env = {
      NOTARY_TARGETS_PASSPHRASE: passphrases[0] ?? '',
      DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE: passphrases[1] ?? '',
    };
    let keyId = '';
    for (let round = 0; round < 20; round++) {
      const daemon = resources.use(await startAgentDaemon(directory, { env }));
      const agent = daemon.agent();
      if (round === 0) ({ key_id: keyId } = await agent.generateKey({ algorithm: 'ecdsa', role: 'targets', gun: GUN }));
      let changes = 0;
      const changing = async () => {
        for (;;) {
          const next = Buffer.from(passphrases[changes % 2] ?? '');
          await agent.changePassphrase({ key_id: keyId, new_passphrase: next });
          changes++;
        }
      };
      const gone = changing().catch(() => undefined);
      await waitFor('the first change of the round', () => changes > 0, { intervalMs: 2 });
      await delay(Math.random() * 30);
      await kill(daemon);
      await gone;
      const text = await readFile(join(directory, 'keys', `${keyId}.key`));
      const opened = await Promise.allSettled(
        passphrases.map(async (passphrase) => {
          using secret = Secret.fromText(passphrase);
          using key = await openKeyPem(readKeyPem(text), secret);
          return key.keyId;
        }),
      );
      expect(opened.filter(({ status }) => status === 'fulfilled')).toEqual([{ status: 'fulfilled', value: keyId }]);
    }
  });
});

describe('signetd killed while it creates keys', () => {
  it('leaves whole keys only, and every key that it had confirmed', { timeout: 180_000 }, async () => {
    const rounds = 40;
    const created = new Map<string, PublicKey>();
    for (let round = 0; round < rounds; round++) {
      const daemon = resources.use(await startAgentDaemon(directory));
      const before = created.size;
      const traffic = Array.from({ length: 8 }, () => createUntilGone(daemon, created));
      await waitFor('the first key of the round', () => created.size > before, { intervalMs: 2 });
      await delay(Math.random() * 60);
      await kill(daemon);
      await Promise.all(traffic);
    }

    await ageTemporaryFiles(join(directory, 'keys'));
    const daemon = resources.use(await startAgentDaemon(directory));
    const names = await waitFor('the temporary files to be removed', async () => {
      const found = await readdir(daemon.storagePath);
      return found.every((name) => name.endsWith('.key')) && found;
    });
    const passphrase = (await readFile(join(daemon.home, '.signet', 'secrets', 'passphrase'), 'utf8')).trimEnd();
    for (const name of names) {
      const path = join(daemon.storagePath, name);
      expect((await stat(path)).mode & 0o7777).toBe(0o600);
      using secret = Secret.fromText(passphrase);
      using key = await openKeyPem(readKeyPem(await readFile(path)), secret);
      expect(`${key.keyId}.key`).toBe(name);
    }
    expect(created.size).toBeGreaterThan(rounds);
    expect(names).toEqual(expect.arrayContaining([...created.keys()].map((keyId) => `${keyId}.key`)));

    const signer = daemon.signer();
    for (const [keyId, publicKey] of created) {
      const { content } = await signer.sign(keyId, CONTENT);
      expect(verifyIndependently(publicKey, CONTENT, content)).toBe(true);
    }
    expect(await readdir(join(directory, 'run'))).toEqual(['s']);
  });
});

describe('signetd killed during its first start', () => {
  it('leaves the random passphrase whole or not at all', { timeout: 120_000 }, async () => {
    let madeByTheKilled = 0;
    /** Rounds after which there was something to do or to clear away. */
    const unfinished: number[] = [];
    for (let round = 0; round < 25; round++) {
      const place = join(directory, String(round));
      await mkdir(place);
      const killed = resources.use(await startAgentDaemon(place, { awaitReady: false }));
      const file = join(killed.home, '.signet', 'secrets', 'passphrase');
      // Around the moment when it is made: nobody knows when that is on this machine.
      const secrets = join(killed.home, '.signet', 'secrets');
      await waitFor('the secrets directory', () => stat(secrets).catch(() => false as const), { intervalMs: 1 });
      if (round % 2 === 1) await delay(Math.random() * 10);
      await kill(killed);
      const left = await readFile(file, 'utf8').catch(() => undefined);
      if (left !== undefined) madeByTheKilled++;
      if ((await readdir(secrets)).join() !== 'passphrase') unfinished.push(round);
      expect(left ?? `${'x'.repeat(43)}\n`).toMatch(/^[\w-]{43}\n$/);
    }
    expect(madeByTheKilled).toBeGreaterThan(0);
    for (const round of unfinished.slice(0, 8)) {
      await ageTemporaryFiles(join(directory, String(round), 'home', '.signet', 'secrets'));
      const next = resources.use(await startAgentDaemon(join(directory, String(round))));
      const { keyInfo } = await next.signer().createKey('ecdsa', GUN, 'timestamp');
      expect(await readdir(join(next.home, '.signet', 'secrets'))).toEqual(['passphrase']);
      expect(await readdir(next.storagePath)).toEqual([`${keyInfo.keyID.ID}.key`]);
    }
  });
});

describe('two daemons at once', () => {
  it('with one HOME share the passphrase that the faster one made', async () => {
    const places = ['a', 'b'].map((name) => join(directory, name));
    for (const place of places) await mkdir(place);
    const env = { HOME: join(directory, 'shared-home') };
    await mkdir(env.HOME, { mode: 0o700 });
    const storagePath = join(directory, 'shared-keys');
    const daemons = await Promise.all(places.map((place) => startAgentDaemon(place, { storagePath, env })));
    for (const daemon of daemons) resources.use(daemon);
    const [first, second] = daemons;
    if (first === undefined || second === undefined) throw new Error('two were started');
    const key = await first.signer().createKey('ecdsa', GUN, 'timestamp');
    const { content } = await second.signer().sign(key.keyInfo.keyID.ID, CONTENT);
    expect(verifyIndependently(publicKeyOf(key), CONTENT, content)).toBe(true);
    expect(await readdir(join(env.HOME, '.signet', 'secrets'))).toEqual(['passphrase']);
  });

  it('for one stale socket: one of them serves, the other ends and names it', async () => {
    for (let round = 0; round < 3; round++) {
      await kill(resources.use(await startAgentDaemon(directory)));
      const both = [0, 1].map(() => startAgentDaemon(directory));
      const results = await Promise.allSettled(both);
      const winners = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
      for (const winner of winners) resources.use(winner);
      expect(winners).toHaveLength(1);
      const pid = winners[0]?.program.pid;
      const [loser] = results.flatMap((result) => (result.status === 'rejected' ? [String(result.reason)] : []));
      expect(loser).toMatch(new RegExp(`is held by (pid ${pid}|another process)`));
      expect((await winners[0]?.agent().status())?.pid).toBe(pid);
      await winners[0]?.program.stop();
    }
  });
});

describe('signetd told to end', () => {
  /** Slow enough to be in flight when the signal comes. */
  const slow = { kdfIterations: 1_000_000 };

  it('answers the calls in flight, says NOT_SERVING, refuses new calls, abandons none, and exits with 0', async () => {
    const daemon = resources.use(await startAgentDaemon(directory, slow));
    const signer = daemon.signer();
    const health = signer.watch('grpc.health.v1.Health.Signer');
    const unknown = signer.watch('no.such.Service');
    await waitFor('the health', () => health.seen.length > 0 && unknown.seen.length > 0);
    const inFlight = Promise.all([1, 2, 3, 4].map(() => signer.createKey('ecdsa', GUN, 'timestamp')));
    await delay(100);
    daemon.program.kill('SIGTERM');
    await waitFor('NOT_SERVING', () => health.seen.includes(2));
    await waitFor('the first refusal', async () => {
      const refusal = await signer.sign('0'.repeat(64), CONTENT).catch((error: { code: number }) => error.code);
      return refusal === GRPC_STATUS.UNAVAILABLE;
    });
    const keys = await inFlight;
    const { ending, stderr } = await daemon.program.ended;
    expect(ending).toBe(0);
    expect(stderr).not.toContain('calls abandoned');
    expect([health.seen, unknown.seen]).toEqual([[1, 2], [3]]);
    expect(stderr).toMatch(/"signal":"SIGTERM","msg":"shutting down"[\s\S]*"msg":"stopped"/);
    expect(await readdir(join(directory, 'run'))).toEqual([]);
    const names = keys.map(({ keyInfo }) => `${keyInfo.keyID.ID}.key`);
    expect((await readdir(daemon.storagePath)).sort()).toEqual(names.sort());
  });

  it('without any call does not wait for one to end', async () => {
    const daemon = resources.use(await startAgentDaemon(directory));
    await daemon.agent().status();
    const { ending, stderr } = await daemon.program.stop();
    expect(ending).toBe(0);
    expect(stderr).not.toContain('calls abandoned');
  });

  it('twice by one keypress, as under npm, still ends gracefully', async () => {
    const daemon = resources.use(await startAgentDaemon(directory));
    await daemon.agent().status();
    daemon.program.kill('SIGINT');
    daemon.program.kill('SIGINT');
    const { ending, stderr } = await daemon.program.ended;
    expect(ending).toBe(0);
    expect(stderr).not.toContain('second signal');
  });

  it('twice ends at once, and leaves no half-written key', async () => {
    const daemon = resources.use(await startAgentDaemon(directory, slow));
    const signer = daemon.signer();
    const inFlight = Array.from({ length: 20 }, () => signer.createKey('ecdsa', GUN, 'timestamp').catch(() => 'lost'));
    await delay(100);
    daemon.program.kill('SIGTERM');
    await waitFor('the drain', () => daemon.program.stderr.includes('shutting down'));
    await delay(150); // sooner would be taken for the same keypress
    daemon.program.kill('SIGINT');
    const { ending, stderr } = await daemon.program.ended;
    expect(ending).toBe(1);
    expect(stderr).toContain('"signal":"SIGINT","msg":"second signal: ending at once"');
    expect(await Promise.all(inFlight)).toContain('lost');
    for (const name of await readdir(daemon.storagePath)) expect(name).toMatch(/^[0-9a-f]{64}\.key$/);
  });
});

describe('the log level', () => {
  it("is raised by SIGUSR1 and lowered by SIGUSR2, with notary-signer's texts, and no debugger opens", async () => {
    const inspectorPort = await freePort();
    const env = { NODE_OPTIONS: `--inspect-port=127.0.0.1:${inspectorPort}` };
    const daemon = resources.use(await startAgentDaemon(directory, { env }));
    let expected = '';
    const send = async (signal: NodeJS.Signals, line: string) => {
      expected += `${line}\n`;
      daemon.program.kill(signal);
      await waitFor(line, () => daemon.program.stdout === expected);
    };
    await send('SIGUSR1', 'Successfully setting log level to debug');
    await send(
      'SIGUSR1',
      'Attempt to increase log level failed, will remain at debug level, error: log level can not be set higher than Debug',
    );
    for (const level of ['info', 'warning', 'error', 'fatal', 'panic']) {
      await send('SIGUSR2', `Successfully setting log level to ${level}`);
    }
    await send(
      'SIGUSR2',
      'Attempt to decrease log level failed, will remain at panic level, error: log level can not be set lower than Panic',
    );
    await send('SIGUSR1', 'Successfully setting log level to fatal');
    expect((await daemon.agent().status()).log_level).toBe('fatal');
    expect(await isListening(inspectorPort)).toBe(false);
    expect(daemon.program.stderr).not.toContain('Debugger');
  });
});

describe('an idle agent', () => {
  it('ends by itself after its time, which every call puts off', async () => {
    const daemon = resources.use(await startAgentDaemon(directory, { idleTimeout: '1500ms' }));
    const agent = daemon.agent();
    let lastCallAt = 0;
    for (let call = 0; call < 5; call++) {
      await delay(600);
      await agent.status();
      lastCallAt = Date.now();
    }
    const { ending } = await daemon.program.ended;
    expect(ending).toBe(0);
    expect(Date.now() - lastCallAt).toBeGreaterThanOrEqual(1400);
    expect(await readdir(join(directory, 'run'))).toEqual([]);
  });
});
