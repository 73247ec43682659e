/** systemd's way of handing over a port, played by a shell: descriptor 3, LISTEN_FDS and LISTEN_PID. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Certificate, createAuthority } from '../support/certificates.ts';
import { waitFor } from '../support/conditions.ts';
import { freePort } from '../support/ports.ts';
import { Resources } from '../support/resources.ts';
import { connectSigner } from '../support/signer-client.ts';
import { temporaryDirectory } from '../support/temp.ts';

const SIGNETD = fileURLToPath(new URL('../../bin/signetd', import.meta.url));
const resources = new Resources();
let directory: string;
let caFile: string;
let client: Certificate;

beforeAll(async () => {
  directory = resources.use(await temporaryDirectory()).path;
  const authority = await createAuthority(directory, 'ca');
  caFile = authority.certFile;
  client = await authority.issue('client', { extendedKeyUsage: ['clientAuth'] });
  const { certFile, keyFile } = await authority.issue('signer', { extendedKeyUsage: ['serverAuth'] });
  await mkdir(join(directory, 'home'));
  const server = {
    // Another port than the one that is handed over: that it is not used shows that the other one is.
    grpc_addr: `127.0.0.1:${await freePort()}`,
    tls_cert_file: certFile,
    tls_key_file: keyFile,
    client_ca_file: caFile,
  };
  const storage = { backend: 'file', path: join(directory, 'keys') };
  await writeFile(join(directory, 'signer.json'), JSON.stringify({ server, storage }));
});
afterAll(() => resources[Symbol.asyncDispose]());

/** Runs signetd with the descriptors of listening servers as 3, 4, … */
async function startWith(listeners: readonly Server[], workers: number) {
  const script = `export LISTEN_PID=$$ LISTEN_FDS=${listeners.length}; exec "$0" -config "$1"`;
  const child = spawn('sh', ['-c', script, SIGNETD, join(directory, 'signer.json')], {
    env: { PATH: process.env['PATH'] ?? '', HOME: join(directory, 'home'), NOTARY_SIGNER_WORKERS: String(workers) },
    stdio: [
      'ignore',
      'ignore',
      'pipe',
      ...listeners.map((server) => (server as unknown as { _handle: { fd: number } })._handle.fd),
    ],
  });
  let log = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  const ended = once(child, 'exit') as Promise<[number | null, string | null]>;
  resources.use({
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  });
  return { child, ended, log: () => log };
}

async function listen(): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  resources.use({ [Symbol.asyncDispose]: async () => void server.close() });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return { server, port: address.port };
}

it.each([1, 2])('serves on the socket it is handed, with %i worker(s)', async (workers) => {
  const { server, port } = await listen();
  const { child, ended, log } = await startWith([server], workers);
  await waitFor('the daemon', () => log().includes('"msg":"ready"'));
  server.close(); // ours: from now on only the daemon accepts
  using signer = await connectSigner(port, caFile, client);
  expect(await signer.checkHealth()).toEqual({ status: 1 });
  child.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
});

it('refuses more sockets than it knows a use for', async () => {
  const [first, second] = [await listen(), await listen()];
  const { ended, log } = await startWith([first.server, second.server], 1);
  expect(await ended).toEqual([1, null]);
  expect(log()).toContain('"msg":"systemd passed 2 sockets, and signetd takes one"');
});
