/** signetd as a person runs it: the agent's socket alone, without TLS; and the signer's API over that socket. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ClientReadableStream, credentials, makeGenericClientConstructor, type ServiceError } from '@grpc/grpc-js';
import { AgentClient } from '../../src/client/agent-client.ts';
import { HEALTH, KEY_MANAGEMENT, SIGNER } from '../../src/rpc/definitions.ts';
import type { HealthCheckResponse, PublicKeyMessage, SignatureMessage } from '../../src/rpc/messages.ts';
import { type RunningProgram, startProgram } from './processes.ts';

const SIGNETD = fileURLToPath(new URL('../../bin/signetd', import.meta.url));

export interface AgentDaemonOptions {
  /** The `private` directory; by default one below `directory`. */
  readonly storagePath?: string;
  /** Of `agent.idle_timeout`. */
  readonly idleTimeout?: string;
  /** PBKDF2 iterations of new keys: few for many keys, many for slow calls. Notary's 2048 by default. */
  readonly kdfIterations?: number;
  /** Sections of the configuration beside `storage` and `agent`. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** In addition to PATH and HOME. */
  readonly env?: Readonly<Record<string, string>>;
  /** False: do not wait until it is ready. */
  readonly awaitReady?: boolean;
}

export interface AgentDaemon extends AsyncDisposable {
  readonly program: RunningProgram;
  readonly storagePath: string;
  readonly socket: string;
  readonly home: string;
  /** A new client; disposed of with the daemon. */
  agent(): AgentClient;
  /** A new client of notary-signer's API; disposed of with the daemon. */
  signer(): SocketSigner;
}

/** Starts `bin/signetd`; the same `directory` again gives it the same keys, socket and HOME. */
export async function startAgentDaemon(directory: string, options: AgentDaemonOptions = {}): Promise<AgentDaemon> {
  const {
    storagePath = join(directory, 'keys'),
    idleTimeout = '0s',
    kdfIterations = 2048,
    awaitReady = true,
  } = options;
  const home = join(directory, 'home');
  await mkdir(home, { recursive: true, mode: 0o700 });
  const socket = join(directory, 'run', 's');
  const configFile = join(directory, 'signetd.json');
  const config = {
    ...options.config,
    storage: { backend: 'file', path: storagePath, kdf_iterations: kdfIterations },
    agent: { socket, idle_timeout: idleTimeout },
  };
  await writeFile(configFile, JSON.stringify(config));
  const env = { PATH: process.env['PATH'] ?? '', HOME: home, ...options.env };
  const readiness = awaitReady ? { output: /"msg":"ready"/ } : {};
  const program = await startProgram(SIGNETD, ['--config', configFile], { cwd: directory, env }, readiness);
  const clients: Disposable[] = [];
  const keep = <T extends Disposable>(client: T): T => {
    clients.push(client);
    return client;
  };
  return {
    program,
    storagePath,
    socket,
    home,
    agent: () => keep(new AgentClient(socket)),
    signer: () => keep(connectSocketSigner(socket)),
    [Symbol.asyncDispose]: async () => {
      for (const client of clients) client[Symbol.dispose]();
      await program[Symbol.asyncDispose]();
    },
  };
}

export interface SocketSigner extends Disposable {
  createKey(algorithm: string, gun: string, role: string): Promise<PublicKeyMessage>;
  sign(id: string, content: Uint8Array): Promise<SignatureMessage>;
  /** Watches a service's health; statuses are appended to `seen` as they come. */
  watch(service: string): { readonly seen: readonly number[] };
}

const SERVICES = { ...KEY_MANAGEMENT, ...SIGNER, ...HEALTH };
const Stub = makeGenericClientConstructor(SERVICES, 'Signer');

/** Failed calls reject with grpc-js' `ServiceError`. */
function connectSocketSigner(socket: string): SocketSigner {
  // A pool of its own: a client made after a restart must not inherit the back-off of one made before.
  const client = new Stub(`unix:${socket}`, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  const method = (name: string) => {
    const definition = SERVICES[name];
    if (definition === undefined) throw new Error(`no method ${name}`);
    return definition;
  };
  const call = <Response>(name: string, request: object) =>
    new Promise<Response>((resolve, reject) => {
      const { path, requestSerialize, responseDeserialize } = method(name);
      const deadline = Date.now() + 30_000;
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, { deadline }, (error, response) =>
        error === null ? resolve(response as Response) : reject(error as ServiceError),
      );
    });
  return {
    createKey: (algorithm, gun, role) => call('CreateKey', { algorithm, gun, role }),
    sign: (ID, content) => call('Sign', { keyID: { ID }, content }),
    watch: (service) => {
      const { path, requestSerialize, responseDeserialize } = method('Watch');
      const seen: number[] = [];
      const stream = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, {
        service,
      }) as ClientReadableStream<HealthCheckResponse>;
      stream.on('data', ({ status }: HealthCheckResponse) => seen.push(status));
      stream.on('error', () => undefined); // the daemon ends
      return { seen };
    },
    [Symbol.dispose]: () => client.close(),
  };
}
