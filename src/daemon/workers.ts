/**
 * Several processes that share the server's port (`workers: N`), so that all cores sign. The first process serves the
 * agent and the metrics and supervises: a worker that dies is replaced.
 */
import cluster, { type Worker } from 'node:cluster';
import { AggregatorRegistry } from 'prom-client';
import { isErrorCode, SignetError } from '../errors.ts';
import type { LogLevel } from './config.ts';
import type { Logger } from './log.ts';

/** From a worker to the supervisor. */
export type WorkerReport =
  | { readonly type: 'ready'; readonly address: string }
  | { readonly type: 'failed'; readonly code: string; readonly message: string; readonly hint: string | undefined };

/** From the supervisor to its workers. */
export type WorkerOrder =
  | { readonly type: 'drain' }
  | { readonly type: 'reload' }
  | { readonly type: 'level'; readonly level: LogLevel };

/** Before a dead worker is replaced, milliseconds: doubled with each death in a row. */
const RESTART_MS = { first: 500, most: 30_000 } as const;
/** A worker that lived this long had a good start. */
const SETTLED_MS = 60_000;
/** Beyond the drain time-out of the workers themselves. */
const KILL_AFTER_MS = 5000;

export class Workers {
  readonly #log: Logger;
  readonly #registry = new AggregatorRegistry();
  readonly #restarts = new Set<NodeJS.Timeout>();
  #stopping = false;
  #deaths = 0;
  /** Where they listen. */
  address = '';

  private constructor(log: Logger) {
    this.#log = log;
  }

  /** @throws {SignetError} what the first worker that could not start reports */
  static async start(count: number, log: Logger): Promise<Workers> {
    const workers = new Workers(log);
    try {
      const addresses = await Promise.all(Array.from({ length: count }, () => workers.#fork()));
      workers.address = addresses[0] ?? '';
    } catch (error) {
      await workers.stop(0);
      throw error;
    }
    return workers;
  }

  order(order: WorkerOrder): void {
    for (const worker of living()) if (worker.isConnected()) worker.send(order);
  }

  /** Metrics of all workers, added up. */
  metrics(): Promise<string> {
    return this.#registry.clusterMetrics();
  }

  /** Drains every worker. @param drainMs Their own time-out; who is not gone a little later is killed. */
  async stop(drainMs: number): Promise<void> {
    this.#stopping = true;
    for (const timer of this.#restarts) clearTimeout(timer);
    const gone = Promise.all(living().map((worker) => new Promise((resolve) => worker.once('exit', resolve))));
    this.order({ type: 'drain' });
    const timer = setTimeout(() => {
      for (const worker of living()) worker.process.kill('SIGKILL');
    }, drainMs + KILL_AFTER_MS);
    await gone;
    clearTimeout(timer);
  }

  #fork(): Promise<string> {
    const worker = cluster.fork();
    const startedAt = performance.now();
    return new Promise((resolve, reject) => {
      worker.on('message', (report: WorkerReport) => {
        if (report.type === 'ready') {
          this.#log.info({ worker: worker.process.pid, address: report.address }, 'worker is up');
          resolve(report.address);
        }
        if (report.type === 'failed') {
          const code = isErrorCode(report.code) ? report.code : 'INTERNAL';
          const { message, hint } = report;
          this.#log.error({ worker: worker.process.pid, code, error: message }, 'worker cannot start');
          reject(new SignetError(code, message, hint === undefined ? {} : { hint }));
        }
      });
      worker.once('exit', (code, signal) => {
        reject(new SignetError('INTERNAL', `a worker ended before it was ready (${signal ?? code})`));
        if (this.#stopping) return;
        this.#deaths = performance.now() - startedAt > SETTLED_MS ? 1 : this.#deaths + 1;
        const delay = Math.min(RESTART_MS.first * 2 ** (this.#deaths - 1), RESTART_MS.most);
        this.#log.error({ worker: worker.process.pid, code, signal, restartInMs: delay }, 'worker died');
        const timer = setTimeout(() => {
          this.#restarts.delete(timer);
          this.#fork().catch(() => undefined); // logged, and tried again when it exits
        }, delay);
        this.#restarts.add(timer);
      });
    });
  }
}

function living(): Worker[] {
  return Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
}

/** In a worker: obeys the supervisor, and ends when it is gone. prom-client's messages share the channel. */
export function serveSupervisor(handle: (order: WorkerOrder) => void): { report(report: WorkerReport): void } {
  process.on('message', (order: WorkerOrder) => handle(order));
  process.on('disconnect', () => handle({ type: 'drain' }));
  return { report: (report) => void process.send?.(report) };
}

/** In a worker: lets the supervisor read its metrics. */
export function shareMetrics(registry: Parameters<typeof AggregatorRegistry.setRegistries>[0]): void {
  AggregatorRegistry.setRegistries(registry);
  new AggregatorRegistry();
}
