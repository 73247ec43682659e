/** The agent's API in this process, over homes that a test makes, with a client on a real socket. */
import { join } from 'node:path';
import { pino } from 'pino';
import type { KeyBackend } from '../../src/backends/backend.ts';
import { AgentClient } from '../../src/client/agent-client.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { Calls } from '../../src/daemon/calls.ts';
import { createGrpcServer } from '../../src/daemon/grpc-server.ts';
import { Interactions } from '../../src/daemon/interactions.ts';
import { listenUnix } from '../../src/daemon/listeners.ts';
import { Metrics } from '../../src/daemon/metrics.ts';
import { Peers } from '../../src/daemon/peer.ts';
import { agentService } from '../../src/daemon/services/agent.ts';
import { TrustDirectories } from '../../src/daemon/trust-directories.ts';
import { SignetError } from '../../src/errors.ts';
import { Keyring } from '../../src/keyring/keyring.ts';
import type { SecretName, SecretStore } from '../../src/keyring/secret-store.ts';
import { AGENT } from '../../src/rpc/agent-definition.ts';
import { fakeBackend } from './fake-backend.ts';
import { temporaryDirectory } from './temp.ts';

export interface AgentServer extends AsyncDisposable {
  readonly socket: string;
  /** A new client; disposed of with the server. */
  agent(): AgentClient;
  /** Everything that was logged, as text. */
  readonly log: () => string;
  /** What the keyring of the operating system would hold. */
  readonly kept: Map<string, string>;
  readonly interactions: Interactions;
}

export interface AgentServerOptions {
  /** In order; the last is the storage. */
  readonly backends?: readonly KeyBackend[];
  readonly placement?: ReadonlyMap<string, readonly string[]>;
  readonly callTimeoutMs?: number;
}

export async function startAgentServer(options: AgentServerOptions = {}): Promise<AgentServer> {
  const { backends = [fakeBackend()], placement = new Map([['*', ['storage']]]), callTimeoutMs = 10_000 } = options;
  const directory = await temporaryDirectory();
  const lines: string[] = [];
  const log = pino({ level: 'debug' }, { write: (line) => lines.push(line) });
  const storage = backends.at(-1) ?? fakeBackend();
  const keyring = new Keyring({ backends, storage, placement });
  const limits = { maxConcurrentCalls: 1000, callTimeoutMs };
  const peers = new Peers();
  const calls = new Calls({ limits, metrics: new Metrics(), peers, log });
  const interactions = new Interactions((peer) => peers.find(peer).client);
  const kept = new Map<string, string>();
  const trustDirectories = new TrustDirectories({
    keyring,
    placement,
    uidOf: (peer) => peers.uidOf(peer),
    open: () => Promise.reject(new SignetError('UNSUPPORTED', 'no trust directories in this test')),
  });
  const service = agentService({
    calls,
    interactions,
    trustDirectories,
    record: () => undefined,
    log,
    status: () => Promise.reject(new SignetError('UNSUPPORTED', 'no status in this test')),
    lock: (keyId) => keyring.lock(keyId),
    stop: () => undefined,
    secretStore: memoryStore(kept) as unknown as SecretStore,
  });
  const server = createGrpcServer([[AGENT, service]], limits);
  const socket = join(directory.path, 'run', 's');
  const listener = await listenUnix(socket, undefined, { peers, log, inject: server.inject });
  const clients: AgentClient[] = [];
  return {
    socket,
    kept,
    interactions,
    log: () => lines.join(''),
    agent: () => {
      const client = new AgentClient(socket);
      clients.push(client);
      return client;
    },
    [Symbol.asyncDispose]: async () => {
      for (const client of clients) client[Symbol.dispose]();
      interactions.close();
      await listener.close();
      await server.close(0);
      calls[Symbol.dispose]();
      await trustDirectories[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    },
  };
}

function memoryStore(kept: Map<string, string>): Pick<SecretStore, 'get' | 'set' | 'delete' | 'drop' | 'check'> {
  return {
    check: async () => undefined,
    get: async (name: SecretName) => {
      const text = kept.get(name);
      return text === undefined ? undefined : Secret.fromText(text);
    },
    set: async (name: SecretName, secret) => {
      kept.set(name, Buffer.from(secret.bytes()).toString());
    },
    delete: async (name: SecretName) => kept.delete(name),
    drop: async (name: SecretName) => {
      kept.delete(name);
      return true;
    },
  };
}
