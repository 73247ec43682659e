/** A daemon to be attacked: both doors, a key to prove that it still works, and a look at its memory and descriptors. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GRPC_STATUS } from '../../src/errors.ts';
import { createAuthority } from './certificates.ts';
import { callOnce, type Door, tlsDoor, unixDoor } from './grpc-connection.ts';
import { freePort } from './ports.ts';
import { type RunningProgram, startProgram } from './processes.ts';
import { Resources } from './resources.ts';
import { CREATE_KEY, decodeResponse, encodeRequest, SIGN, signatureRequest } from './signer-messages.ts';
import { temporaryDirectory } from './temp.ts';

const SIGNETD = fileURLToPath(new URL('../../bin/signetd', import.meta.url));
const GC_OFTEN = fileURLToPath(new URL('./gc-often.cjs', import.meta.url));

export interface Victim extends AsyncDisposable {
  readonly program: RunningProgram;
  /** Of the TLS door. */
  readonly port: number;
  readonly tls: Door;
  readonly agent: Door;
  /** A well-formed Sign over a connection of its own. @throws {Error} It failed, also by its deadline */
  signs(door: Door): Promise<void>;
  /** Resident memory in bytes. */
  residentBytes(): Promise<number>;
  /** Open file descriptors. */
  descriptors(): Promise<number>;
}

/**
 * Starts signetd with the file backend. With `-debug`: otherwise a daemon hides its /proc files from its own user.
 *
 * @param server Merged into the `server` section.
 */
export async function startVictim(server: Readonly<Record<string, unknown>> = {}): Promise<Victim> {
  const resources = new Resources();
  try {
    const { path } = resources.use(await temporaryDirectory());
    const authority = await createAuthority(path, 'ca');
    const certificate = await authority.issue('signer', { extendedKeyUsage: ['serverAuth'] });
    const shown = await authority.issue('client', { extendedKeyUsage: ['clientAuth'] });
    const [port, metricsPort] = [await freePort(), await freePort()];
    const socket = join(path, 'agent', 's');
    const home = join(path, 'home');
    await mkdir(home, { mode: 0o700 });
    const configFile = join(path, 'signetd.json');
    const config = {
      server: {
        grpc_addr: `127.0.0.1:${port}`,
        tls_cert_file: certificate.certFile,
        tls_key_file: certificate.keyFile,
        client_ca_file: authority.certFile,
        ...server,
      },
      logging: { level: 'debug' },
      storage: { backend: 'file', path: join(path, 'keys'), kdf_iterations: 2048 },
      agent: { socket },
      metrics: { http_addr: `127.0.0.1:${metricsPort}` },
    };
    await writeFile(configFile, JSON.stringify(config));
    const env = { PATH: process.env['PATH'] ?? '', HOME: home, NODE_OPTIONS: `--require=${GC_OFTEN}` };
    const args = ['-config', configFile, '-debug'];
    const program = resources.use(await startProgram(SIGNETD, args, { cwd: path, env }, { port }));
    const tls = await tlsDoor(port, authority.certFile, shown);
    const request = encodeRequest(SIGN, signatureRequest(await createKey(tls), Buffer.from('well-formed')));
    return {
      program,
      port,
      tls,
      agent: unixDoor(socket),
      signs: async (door) => {
        const { status } = await callOnce(door, SIGN, request);
        if (status !== GRPC_STATUS.OK) throw new Error(`Sign answers ${status}`);
      },
      residentBytes: async () => {
        const status = await readFile(`/proc/${program.pid}/status`, 'utf8');
        return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
      },
      descriptors: async () => (await readdir(`/proc/${program.pid}/fd`)).length,
      [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
    };
  } catch (error) {
    await resources[Symbol.asyncDispose]();
    throw error;
  }
}

async function createKey(door: Door): Promise<string> {
  const request = encodeRequest(CREATE_KEY, { algorithm: 'ecdsa', gun: 'example.com/app', role: 'timestamp' });
  const { messages } = await callOnce(door, CREATE_KEY, request);
  const answer = decodeResponse(CREATE_KEY, messages[0] ?? Buffer.alloc(0));
  return (answer as { readonly keyInfo: { readonly keyID: { readonly ID: string } } }).keyInfo.keyID.ID;
}
