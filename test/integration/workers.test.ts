/** `workers: N`: several processes behind one port behave as one daemon. */
import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { AgentClient } from '../../src/client/agent-client.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { type Certificate, createAuthority } from '../support/certificates.ts';
import { waitFor } from '../support/conditions.ts';
import { freePort } from '../support/ports.ts';
import { Resources } from '../support/resources.ts';
import { connectSigner, type SignerClient } from '../support/signer-client.ts';
import { type Signetd, startSignetd } from '../support/signetd.ts';
import { temporaryDirectory } from '../support/temp.ts';

const resources = new Resources();
let signetd: Signetd;
let caFile: string;
let clientCertificate: Certificate;
let metricsPort: number;
const clients: Disposable[] = [];
let agent: AgentClient;

beforeAll(async () => {
  const { path } = resources.use(await temporaryDirectory());
  const authority = await createAuthority(path, 'ca');
  caFile = authority.certFile;
  clientCertificate = await authority.issue('client', { extendedKeyUsage: ['clientAuth'] });
  const certificate = await authority.issue('signer', { extendedKeyUsage: ['serverAuth'] });
  metricsPort = await freePort();
  const config = { metrics: { http_addr: `127.0.0.1:${metricsPort}` } };
  const tls = { certificate, clientCaFile: caFile };
  const env = { NOTARY_SIGNER_WORKERS: '2', NOTARY_SIGNER_STORAGE_KDF_ITERATIONS: '2048' };
  signetd = resources.use(await startSignetd(path, tls, { config, env }));
  agent = new AgentClient(signetd.socket);
  clients.push(agent);
});
afterAll(async () => {
  for (const client of clients) client[Symbol.dispose]();
  await resources[Symbol.asyncDispose]();
});

async function connect(): Promise<SignerClient> {
  const client = await connectSigner(signetd.port, caFile, clientCertificate);
  clients.push(client);
  return client;
}

function workersOf(daemon: Signetd): number[] {
  // It fails if there are none.
  const { stdout } = spawnSync('pgrep', ['-P', String(daemon.program.pid)], { encoding: 'utf8' });
  return stdout.split('\n').filter(Boolean).map(Number);
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

const workerPids = () => workersOf(signetd);
const workersReady = (count: number) => waitFor(`${count} workers`, () => logged('worker is up').length === count);

async function scrape(): Promise<{ readonly text: string; readonly contentType: string | null; status: number }> {
  const response = await fetch(`http://127.0.0.1:${metricsPort}/metrics`);
  return { text: await response.text(), contentType: response.headers.get('content-type'), status: response.status };
}

async function stepLevel(signal: 'SIGUSR1' | 'SIGUSR2', level: string): Promise<void> {
  const answers = () => signetd.program.stdout.split(`Successfully setting log level to ${level}\n`).length;
  const before = answers();
  signetd.program.kill(signal);
  await waitFor(`log level ${level}`, () => answers() > before);
}

/** @returns A key that both workers have signed with, so that both have it open. */
async function keyOpenInBoth(): Promise<string> {
  const four = await Promise.all([connect(), connect(), connect(), connect()]);
  const created = await four[0]?.createKey('ecdsa', 'example.com/workers', 'snapshot');
  const id = created?.keyInfo.keyID.ID ?? '';
  for (const client of four) await client.sign(id, Buffer.from('message'));
  return id;
}

const logged = (msg: string) => signetd.log().filter((line) => line['msg'] === msg);

describe('two workers', () => {
  it('are two processes besides the supervisor', async () => {
    expect(workerPids()).toHaveLength(2);
    await workersReady(2);
  });

  it('appear in the status with the port they share', async () => {
    const { listeners } = await agent.status();
    expect(listeners).toContainEqual({ kind: 'grpc', address: `127.0.0.1:${signetd.port}` });
    expect(listeners.map(({ kind }) => kind).sort()).toEqual(['agent', 'grpc', 'metrics']);
  });

  it('close their keys when the agent is told to lock, and count them', async () => {
    await agent.lock('');
    expect((await agent.status()).unlocked_keys).toBe(0);
    const id = await keyOpenInBoth();
    expect((await agent.status()).unlocked_keys).toBe(2);
    expect(await agent.lock(id)).toEqual({ locked: 2 });
    expect((await agent.status()).unlocked_keys).toBe(0);
    expect(await agent.lock(id)).toEqual({ locked: 0 });
  });

  it('sign with each other’s keys at once, over connections that reach both', async () => {
    const four = await Promise.all([connect(), connect(), connect(), connect()]);
    const [first] = four;
    const created = await first?.createKey('ecdsa', 'example.com/workers', 'timestamp');
    const id = created?.keyInfo.keyID.ID ?? '';
    const publicKey = { algorithm: 'ecdsa', bytes: created?.publicKey ?? new Uint8Array() } as const;
    for (const client of four) {
      const { content } = await client.sign(id, Buffer.from('message'));
      expect(verifySignature(publicKey, Buffer.from('message'), content)).toBe(true);
    }
    // Deleted through one, gone in all, within the bound that README names.
    await four[1]?.deleteKey(id);
    await waitFor('both workers to see the deletion', async () => {
      const codes = await Promise.all(
        four.map((client) =>
          client.sign(id, Buffer.from('x')).then(
            () => 0,
            (error: { code: number }) => error.code,
          ),
        ),
      );
      return codes.every((code) => code === 5);
    });
  });

  it('add up their metrics at the supervisor', async () => {
    const { text, contentType } = await scrape();
    expect(contentType).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(
      Number(/^signet_grpc_calls_total\{method="Sign",code="OK"\} (\d+)$/m.exec(text)?.[1]),
    ).toBeGreaterThanOrEqual(4);
    expect(text).toMatch(/^signet_grpc_calls_total\{method="CreateKey",code="OK"\} 2$/m);
    // What the first process did itself.
    expect(text).toMatch(/^signet_grpc_calls_total\{method="Lock",code="OK"\} 3$/m);
    expect(text).toMatch(/^signet_backend_up\{backend="file"\} 1$/m);
    const health = await fetch(`http://127.0.0.1:${metricsPort}/debug/health`);
    expect([health.status, await health.text()]).toEqual([200, '{}']);
  });

  it('change their log level and re-read their certificates when the supervisor is told to', async () => {
    signetd.program.kill('SIGUSR1');
    await waitFor('the answer', () => signetd.program.stdout.includes('Successfully setting log level to debug'));
    signetd.program.kill('SIGHUP');
    await waitFor('both to re-read', () => logged('TLS files re-read').length === 2);
    signetd.program.kill('SIGUSR2');
    await waitFor('the answer', () => signetd.program.stdout.includes('Successfully setting log level to info'));
  });

  it('are replaced when one dies, while the other goes on', async () => {
    const [victim = 0] = workerPids();
    process.kill(victim, 'SIGKILL');
    await waitFor('the supervisor to notice', () => logged('worker died').some((line) => line['worker'] === victim));
    const survivor = await connect();
    expect(await survivor.checkHealth()).toEqual({ status: 1 });
    await workersReady(3);
    expect(workerPids()).toHaveLength(2);
    expect(workerPids()).not.toContain(victim);
  });

  it('are told apart and replaced when one hangs, while the daemon stays honest about it', async () => {
    const [stopped = 0] = workerPids();
    process.kill(stopped, 'SIGSTOP');
    onTestFinished(() => {
      if (isAlive(stopped)) process.kill(stopped, 'SIGCONT');
    });
    const silence = {
      code: 'UNAVAILABLE',
      message: `worker ${stopped} did not answer within 2000 ms`,
      hint: 'try again: a worker that hangs is replaced after 20 seconds',
    };
    await expect(agent.lock('')).rejects.toMatchObject(silence);
    await expect(agent.status()).rejects.toMatchObject(silence);

    const { status, text } = await scrape();
    expect(status).toBe(200);
    expect(text).toMatch(/^signet_grpc_calls_total\{method="Lock",code="UNAVAILABLE"\} 1$/m);
    expect(text).toMatch(/^process_resident_memory_bytes \d+$/m);
    await waitFor('the warning', () => logged('metrics of a worker are left out').length > 0);
    expect(logged('metrics of a worker are left out')[0]).toMatchObject({
      level: 'warning',
      worker: stopped,
      code: 'UNAVAILABLE',
      error: `worker ${stopped} did not answer within 1000 ms`,
    });

    await waitFor('the end of it', () => logged('worker hangs: killing it').length === 1, { timeoutMs: 30_000 });
    expect(logged('worker hangs: killing it')[0]).toMatchObject({ worker: stopped, heartbeatsMissed: 3 });
    await workersReady(4);
    expect(workerPids()).not.toContain(stopped);
    expect(await agent.lock('')).toEqual({ locked: expect.any(Number) });
  });

  it('log at the level that a signal set, also those that came later', async () => {
    const signedWith = (keyId: string) => logged('signed').filter((line) => line['keyId'] === keyId);
    const loud = await keyOpenInBoth();
    await waitFor('the log', () => signedWith(loud).length === 4);
    await stepLevel('SIGUSR2', 'warning');
    await stepLevel('SIGUSR2', 'error');
    const before = logged('signed').length;
    await keyOpenInBoth();

    const old = workerPids();
    for (const pid of old) process.kill(pid, 'SIGKILL');
    await waitFor('their end', () => !old.some(isAlive));
    expect((await scrape()).text).toMatch(/^process_resident_memory_bytes \d+$/m); // of the first process
    await waitFor('two new workers', () => workerPids().filter((pid) => !old.includes(pid)).length === 2);
    await waitFor(
      'both to sign',
      async () => {
        await agent.lock('');
        const signed = await keyOpenInBoth().catch(() => undefined); // refused while nobody listens
        return signed !== undefined && (await agent.status()).unlocked_keys === 2;
      },
      { intervalMs: 200 },
    );

    await stepLevel('SIGUSR1', 'warning');
    await stepLevel('SIGUSR1', 'info');
    const last = await keyOpenInBoth();
    // A process writes its lines in order: with these four, whatever it signed before would be there too.
    await waitFor('the log', () => signedWith(last).length === 4);
    expect(logged('signed')).toHaveLength(before + 4);
  });

  it('end with the supervisor, gracefully', async () => {
    const pids = workerPids();
    expect(await signetd.stop()).toMatchObject({ ending: 0 });
    expect(pids.filter(isAlive)).toEqual([]);
  });
});

it('workers do not outlive a supervisor that is killed', async () => {
  const { path } = resources.use(await temporaryDirectory());
  const authority = await createAuthority(path, 'ca');
  const certificate = await authority.issue('signer', { extendedKeyUsage: ['serverAuth'] });
  const tls = { certificate, clientCaFile: authority.certFile };
  const daemon = resources.use(await startSignetd(path, tls, { env: { NOTARY_SIGNER_WORKERS: '2' } }));
  const pids = workersOf(daemon);
  expect(pids).toHaveLength(2);
  daemon.program.kill('SIGKILL');
  await waitFor('the workers to end', () => pids.every((pid) => !isAlive(pid)));
});

it('one worker that cannot start fails the start, with its reason', async () => {
  const { path } = resources.use(await temporaryDirectory());
  const authority = await createAuthority(path, 'ca');
  const certificate = await authority.issue('signer', { extendedKeyUsage: ['serverAuth'] });
  const blocker = resources.use(await startSignetd(path, { certificate, clientCaFile: authority.certFile }));
  const other = resources.use(await temporaryDirectory());
  const config = { server: { grpc_addr: `127.0.0.1:${blocker.port}` } };
  const starting = startSignetd(
    other.path,
    { certificate, clientCaFile: authority.certFile },
    { config: { ...config, agent: { socket: `${other.path}/run/s` } }, env: { NOTARY_SIGNER_WORKERS: '2' } },
  );
  // The port answers at once: the blocker listens there. What counts is how the second daemon ends.
  const second = await starting.catch((error: Error) => error);
  if (second instanceof Error) {
    expect(second.message).toContain(`cannot listen on 127.0.0.1:${blocker.port} (EADDRINUSE)`);
    return;
  }
  const { ending, stderr } = await second.program.ended;
  expect(ending).toBe(1);
  expect(stderr).toContain(`"msg":"cannot listen on 127.0.0.1:${blocker.port} (EADDRINUSE)"`);
});
