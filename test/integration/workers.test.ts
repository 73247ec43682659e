/** `workers: N`: several processes behind one port behave as one daemon. */
import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
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
const clients: SignerClient[] = [];

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
  const children = execFileSync('pgrep', ['-P', String(daemon.program.pid)], { encoding: 'utf8' });
  return children.split('\n').filter(Boolean).map(Number);
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

const workerPids = () => workersOf(signetd);
const logged = (msg: string) => signetd.log().filter((line) => line['msg'] === msg);

describe('two workers', () => {
  it('are two processes besides the supervisor', async () => {
    expect(workerPids()).toHaveLength(2);
    await waitFor('the log', () => logged('worker is up').length === 2);
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
    await waitFor(
      'both workers to see the deletion',
      async () => {
        const codes = await Promise.all(
          four.map((client) =>
            client.sign(id, Buffer.from('x')).then(
              () => 0,
              (error: { code: number }) => error.code,
            ),
          ),
        );
        return codes.every((code) => code === 5);
      },
      { timeoutMs: 1000 },
    );
  });

  it('add up their metrics at the supervisor', async () => {
    const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
    expect(
      Number(/^signet_grpc_calls_total\{method="Sign",code="OK"\} (\d+)$/m.exec(text)?.[1]),
    ).toBeGreaterThanOrEqual(4);
    expect(text).toMatch(/^signet_grpc_calls_total\{method="CreateKey",code="OK"\} 1$/m);
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
    await waitFor('a new worker', () => logged('worker is up').length === 3);
    expect(workerPids()).toHaveLength(2);
    expect(workerPids()).not.toContain(victim);
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
