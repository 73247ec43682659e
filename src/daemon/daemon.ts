/** Puts the parts together: keyring, signing path, services, listeners; starts them and stops them in order. */
import cluster from 'node:cluster';
import type { Socket } from 'node:net';
import type { KeyBackend } from '../backends/backend.ts';
import { openStorage } from '../backends/open.ts';
import { SingleFlight } from '../backends/single-flight.ts';
import type { KeyId } from '../crypto/key-id.ts';
import { SignetError } from '../errors.ts';
import { Keyring } from '../keyring/keyring.ts';
import type { ConfiguredPassphrases } from '../keyring/unlock.ts';
import type { Native } from '../native.ts';
import { AGENT } from '../rpc/agent-definition.ts';
import { HEALTH, KEY_MANAGEMENT, SIGNER } from '../rpc/definitions.ts';
import type { StatusResponse } from '../rpc/messages.ts';
import { type SignRecord, SignService } from '../signing/sign-service.ts';
import { VERSION } from '../version.ts';
import { Calls } from './calls.ts';
import type { Config } from './config.ts';
import { createGrpcServer, type GrpcServer } from './grpc-server.ts';
import { type HomesOptions, openPassphrases, openSecretStore, openTokens, storageContext } from './homes.ts';
import { Interactions } from './interactions.ts';
import { type Listener, listenTls, listenUnix, type TlsListener } from './listeners.ts';
import { describeError, type Logger, type LogHandle } from './log.ts';
import { Metrics, mergeMetrics } from './metrics.ts';
import { listenMetrics } from './metrics-listener.ts';
import { Peers } from './peer.ts';
import { agentService } from './services/agent.ts';
import { Health } from './services/health.ts';
import { keyManagementService } from './services/key-management.ts';
import { signerService } from './services/signer.ts';
import { logSignature } from './signature-log.ts';
import { activatedSocket } from './socket-activation.ts';
import { loadTlsMaterial } from './tls-files.ts';
import { TrustDirectories } from './trust-directories.ts';
import type { Workers } from './workers.ts';

/** How often the backends are asked whether they can sign, milliseconds. */
const HEALTH_INTERVAL_MS = 1000;
/** Agents without a server section take these; the same numbers as the server's defaults. */
const AGENT_LIMITS = { maxConcurrentCalls: 1024, callTimeoutMs: 30_000 };
const DEFAULT_DRAIN_MS = 10_000;
/** Of trust directories beside memory storage: as `storage.unlocked_ttl` and `storage.unlocked_max` default to. */
const DEFAULT_UNLOCKED = { unlockedTtlMs: 3_600_000, unlockedMax: 10_000 };
/** Time for last answers to leave, milliseconds. */
const CLOSE_MS = 500;
/** Time for clients to read NOT_SERVING before calls are refused, milliseconds. */
const LAME_DUCK_MS = 100;

export interface DaemonOptions {
  readonly config: Config;
  readonly log: LogHandle;
  readonly native: Native | undefined;
  readonly env: NodeJS.ProcessEnv;
  /** What this process serves: with several workers, the first process has the agent and they have the server. */
  readonly serves: { readonly agent: boolean; readonly server: boolean; readonly metrics: boolean };
  /** A client asks for a graceful end. */
  readonly requestStop: () => void;
  /** The processes that serve the server's port, where it is not this one. */
  readonly workers?: Workers;
}

export class Daemon {
  readonly keyring: Keyring;
  readonly metrics: Metrics;
  /** Where new server keys get their passphrase; undefined for homes that need none. */
  passphrases: ConfiguredPassphrases | undefined;
  readonly #options: DaemonOptions & HomesOptions;
  readonly #log: Logger;
  readonly #calls: Calls;
  readonly #health = new Health();
  readonly #peers = new Peers();
  readonly #interactions = new Interactions((peer) => this.#peers.find(peer).client);
  readonly #trustDirectories: TrustDirectories;
  readonly #listeners: Listener[] = [];
  readonly #servers: GrpcServer[] = [];
  readonly #startedAt = Date.now();
  /** A database that is slow to answer is not asked again meanwhile. */
  readonly #healthChecks = new SingleFlight<string, void>();
  /** Why each backend is down, or '' if it is up, as last logged. */
  readonly #reasons = new Map<KeyBackend, string>();
  #tls: TlsListener | undefined;
  #healthTimer: NodeJS.Timeout | undefined;
  #stopping: Promise<void> | undefined;

  private constructor(
    options: DaemonOptions & HomesOptions,
    keyring: Keyring,
    metrics: Metrics,
    passphrases: ConfiguredPassphrases | undefined,
  ) {
    this.#options = options;
    this.#log = options.log.logger;
    this.keyring = keyring;
    this.metrics = metrics;
    this.passphrases = passphrases;
    this.#calls = new Calls({
      limits: options.config.server ?? AGENT_LIMITS,
      metrics,
      peers: this.#peers,
      log: this.#log,
    });
    this.#trustDirectories = new TrustDirectories({
      keyring,
      placement: options.config.placement,
      uidOf: (peer) => this.#peers.uidOf(peer),
      open: (path) => this.#openDirectory(path),
    });
  }

  /** @throws {SignetError} CONFIGURATION, UNAVAILABLE: a daemon that starts is a daemon that can sign */
  static async start(options: DaemonOptions): Promise<Daemon> {
    const { config } = options;
    const homes = { ...options, secretStore: openSecretStore(options.env, options.log) };
    let passphrases: ConfiguredPassphrases | undefined;
    const context = storageContext(homes, async () => {
      passphrases = await openPassphrases(homes);
      return passphrases;
    });
    const storage = await openStorage(config.storage, context);
    const tokens = await openTokens(homes).catch(async (error: unknown) => {
      await storage[Symbol.asyncDispose]();
      throw error;
    });
    // Tokens first: a key that is on one is not to be used from a file.
    const keyring = new Keyring({ backends: [...tokens, storage], storage, placement: config.placement });
    const metrics = new Metrics();
    const daemon = new Daemon(homes, keyring, metrics, passphrases);
    try {
      await daemon.#start();
    } catch (error) {
      await daemon.stop(0);
      throw error;
    }
    return daemon;
  }

  get listeners(): readonly Listener[] {
    return this.#listeners;
  }

  /** Milliseconds since the last call; 0 while one is being answered, or a client is there to be asked. */
  get idleMs(): number {
    return this.#interactions.size > 0 ? 0 : this.#calls.idleMs;
  }

  /** @throws {SignetError} UNAVAILABLE: a worker does not answer */
  async status(): Promise<StatusResponse> {
    const { workers } = this.#options;
    const health = await this.keyring.health();
    const listeners = this.#listeners.map(({ kind, address }) => ({ kind, address }));
    if (workers?.address !== undefined) listeners.push({ kind: 'grpc', address: workers.address });
    return {
      version: VERSION,
      pid: process.pid,
      started_at_ms: this.#startedAt,
      listeners,
      backends: health.map(({ backend, health: state }) => ({
        name: backend.name,
        location: backend.location,
        ready: state.ready,
        reason: state.ready ? '' : state.reason,
      })),
      unlocked_keys: await this.#unlockedCount(),
      log_level: this.#options.log.level,
      config_file: this.#options.config.file ?? '',
    };
  }

  async #unlockedCount(): Promise<number> {
    const { workers } = this.#options;
    const others = (await workers?.unlockedCount()) ?? 0;
    return (await this.keyring.unlockedCount()) + (await this.#trustDirectories.unlockedCount()) + others;
  }

  /** Lets go of tokens, and re-reads the TLS files. */
  async reload(): Promise<void> {
    await Promise.all([this.#releaseTokens(), this.#reloadTls()]);
  }

  /** Other programs can have them now; the next use takes them back, and needs the PIN again. */
  async #releaseTokens(): Promise<void> {
    for (const { backend, error } of await this.keyring.release()) {
      const fields = { token: backend.location };
      if (error === undefined) this.#log.info(fields, 'token released');
      else this.#log.error({ ...fields, ...describeError(error, this.#log) }, 'token not released');
    }
  }

  /** Re-reads the TLS files. New ones that cannot be used leave the old ones in place. */
  async #reloadTls(): Promise<void> {
    const { server } = this.#options.config;
    if (server === undefined || this.#tls === undefined) return;
    try {
      const material = await loadTlsMaterial(server);
      this.#tls.reload(material);
      for (const warning of material.warnings) this.#log.warn(warning);
      this.#log.info('TLS files re-read');
    } catch (error) {
      this.#log.error(describeError(error, this.#log), 'TLS files not re-read: the old ones stay in use');
    }
  }

  /**
   * Health turns NOT_SERVING, new calls are refused, calls in flight are answered.
   *
   * @param graceMs How long at most; undefined takes `server.drain_timeout`.
   */
  stop(graceMs?: number): Promise<void> {
    this.#stopping ??= this.#stop(graceMs ?? this.#options.config.server?.drainTimeoutMs ?? DEFAULT_DRAIN_MS);
    return this.#stopping;
  }

  async #stop(graceMs: number): Promise<void> {
    const deadline = performance.now() + graceMs;
    clearInterval(this.#healthTimer);
    this.#health.set(false);
    for (const listener of this.#listeners) if (listener.kind !== 'metrics') await listener.close();
    await sleep(Math.min(LAME_DUCK_MS, graceMs));
    this.#interactions.drain();
    const left = () => Math.max(0, deadline - performance.now());
    const abandoned = !(await endsWithin(this.#calls.drain(), left()));
    if (abandoned) {
      this.#log.warn({ calls: this.#calls.inFlight }, 'calls abandoned: server.drain_timeout');
      this.#calls.abandon();
    }
    this.#health.close();
    this.#interactions.close();
    await Promise.all(this.#servers.map((server) => server.close(Math.max(left(), CLOSE_MS))));
    for (const listener of this.#listeners) if (listener.kind === 'metrics') await listener.close();
    this.#calls[Symbol.dispose]();
    await this.#trustDirectories[Symbol.asyncDispose]();
    await this.keyring[Symbol.asyncDispose]();
  }

  async #start(): Promise<void> {
    const { config, native, serves } = this.#options;
    this.metrics.watch(this.keyring, { countsKeys: serves.metrics });
    // A token may be plugged in later; storage that cannot be reached is a mistake to tell now.
    const storage = await this.keyring.storage.health();
    if (!storage.ready) throw new SignetError('UNAVAILABLE', storage.reason);
    await this.#checkHealth();
    this.#healthTimer = setInterval(
      () => void this.#healthChecks.run('', () => this.#checkHealth()),
      HEALTH_INTERVAL_MS,
    );
    const signing = new SignService(this.keyring, (record) => this.#recordSignature(record));
    const shared = [
      [KEY_MANAGEMENT, keyManagementService(this.#calls, this.keyring, this.#log)],
      [SIGNER, signerService(this.#calls, signing)],
      [HEALTH, this.#health.service(this.#calls)],
    ] as const;
    if (serves.metrics && config.metrics !== undefined) {
      this.#listeners.push(
        await listenMetrics(config.metrics, {
          metrics: () => this.#collectMetrics(),
          health: () => this.keyring.health(),
          log: this.#log,
        }),
      );
    }
    if (serves.agent && config.agent !== undefined) {
      const log = this.#log;
      const agent = agentService({
        calls: this.#calls,
        interactions: this.#interactions,
        trustDirectories: this.#trustDirectories,
        record: (record) => this.#recordSignature(record),
        log,
        status: () => this.status(),
        lock: (keyId) => this.#lock(keyId),
        stop: this.#options.requestStop,
        secretStore: this.#options.secretStore,
      });
      const inject = this.#serve([...shared, [AGENT, agent]]);
      this.#listeners.push(await listenUnix(config.agent.socket, native, { peers: this.#peers, log, inject }));
    }
    if (serves.server && config.server !== undefined) {
      const { grpcAddr, maxConnections } = config.server;
      const material = await loadTlsMaterial(config.server);
      for (const warning of material.warnings) this.#log.warn(warning);
      const inject = this.#serve(shared);
      const owner = cluster.isWorker ? process.ppid : process.pid;
      const fd = activatedSocket(this.#options.env, owner);
      this.#tls = await listenTls({ ...grpcAddr, maxConnections, fd }, material, {
        peers: this.#peers,
        log: this.#log,
        inject,
      });
      this.#listeners.push(this.#tls);
    }
  }

  /** The `private` folder of a trust directory that a client names. */
  #openDirectory(path: string): Promise<KeyBackend> {
    const { config } = this.#options;
    const bounds = config.storage.backend === 'memory' ? DEFAULT_UNLOCKED : config.storage;
    const { unlockedTtlMs, unlockedMax } = bounds;
    const context = storageContext(this.#options, async () => {
      this.passphrases ??= await openPassphrases(this.#options);
      return this.passphrases;
    });
    return openStorage({ backend: 'file', path, mayBeMissing: true, unlockedTtlMs, unlockedMax }, context);
  }

  /** @throws {SignetError} UNAVAILABLE: a worker does not answer; everybody else's keys are closed */
  async #lock(keyId: KeyId | undefined): Promise<number> {
    const [own, named, others] = await Promise.all([
      this.keyring.lock(keyId),
      this.#trustDirectories.lock(keyId),
      this.#options.workers?.lock(keyId),
    ]);
    return own + named + (others ?? 0);
  }

  async #collectMetrics(): Promise<string> {
    const { workers } = this.#options;
    if (workers === undefined) return this.metrics.registry.metrics();
    const [own, others] = await Promise.all([this.metrics.read(), workers.metrics()]);
    return mergeMetrics([own, ...others]);
  }

  #serve(services: Parameters<typeof createGrpcServer>[0]): (connection: Socket) => void {
    const server = createGrpcServer(services, this.#options.config.server ?? AGENT_LIMITS);
    this.#servers.push(server);
    return server.inject;
  }

  /** Serving while at least one backend can sign; each change of a backend is logged once. */
  async #checkHealth(): Promise<void> {
    const states = await this.keyring.health();
    if (this.#stopping !== undefined) return;
    this.#health.set(states.some(({ health }) => health.ready));
    for (const { backend, health } of states) {
      const reason = health.ready ? '' : health.reason;
      if (this.#reasons.get(backend) === reason) continue;
      this.#reasons.set(backend, reason);
      const fields = { backend: backend.name, location: backend.location };
      if (reason !== '') this.#log.error({ ...fields, error: reason }, 'backend is down');
      else this.#log.info(fields, 'backend is up');
    }
  }

  #recordSignature(record: SignRecord): void {
    this.metrics.signed(record);
    logSignature(record, this.#log);
  }
}

/** @returns Whether `work` ended in time. Leaves no timer behind, which would keep the process alive. */
async function endsWithin(work: Promise<void>, milliseconds: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), milliseconds);
  });
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });
}
