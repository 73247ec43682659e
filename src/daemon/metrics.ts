/** Prometheus metrics of one process. Names follow Prometheus' conventions: base units, `_total` for counters. */
import { AggregatorRegistry, Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { GrpcStatusName } from '../errors.ts';
import type { Keyring } from '../keyring/keyring.ts';
import type { SignRecord } from '../signing/sign-service.ts';
import { LatencyHistogram } from './histogram.ts';
import { KeyCount } from './key-count.ts';

/** Counts calls of one method; made once per method, so that a call looks nothing up by name. */
export interface MethodMetrics {
  started(): void;
  ended(code: GrpcStatusName, durationMs: number): void;
}

/** A metric with its values, fit to be sent to another process. */
export type MetricJson = Awaited<ReturnType<Registry['getMetricsAsJSON']>>[number];

/**
 * Adds up the metrics of several processes, or takes what `aggregator` of the metric says.
 *
 * @returns Prometheus text format 0.0.4
 */
export function mergeMetrics(processes: readonly (readonly MetricJson[])[]): Promise<string> {
  return AggregatorRegistry.aggregate([...processes]).metrics();
}

export class Metrics {
  readonly registry: Registry = new Registry();
  readonly #calls = new Map<string, Map<GrpcStatusName, number>>();
  readonly #callLatency: LatencyHistogram;
  readonly #queueLatency: LatencyHistogram;
  readonly #signLatency: LatencyHistogram;
  #inFlight = 0;

  constructor() {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    const calls = this.#calls;
    new Counter({
      name: 'signet_grpc_calls_total',
      help: 'gRPC calls by method and status code',
      labelNames: ['method', 'code'],
      registers,
      collect() {
        this.reset();
        for (const [method, codes] of calls) for (const [code, count] of codes) this.inc({ method, code }, count);
      },
    });
    const inFlight = () => this.#inFlight;
    new Gauge({
      name: 'signet_grpc_calls_in_flight',
      help: 'gRPC calls being answered',
      registers,
      collect() {
        this.set(inFlight());
      },
    });
    const latency = (name: string, help: string, label: string) =>
      new LatencyHistogram(this.registry, name, help, label);
    this.#callLatency = latency('signet_grpc_call_seconds', 'Time to answer a gRPC call', 'method');
    this.#queueLatency = latency(
      'signet_sign_queue_seconds',
      "Waiting before signing: look-up, unlocking, the backend's queue",
      'backend',
    );
    this.#signLatency = latency('signet_sign_seconds', 'The signing operation proper', 'backend');
  }

  /**
   * Gauges that are read from the keyring when somebody asks.
   *
   * @param options.countsKeys False in all processes but one: they have the same keys.
   */
  watch(keyring: Keyring, options: { readonly countsKeys: boolean }): void {
    new Gauge({
      name: 'signet_backend_up',
      help: '1 if the backend can sign',
      labelNames: ['backend'],
      aggregator: 'min', // of several workers
      registers: [this.registry],
      async collect() {
        for (const { backend, health } of await keyring.health())
          this.set({ backend: backend.name }, Number(health.ready));
      },
    });
    if (options.countsKeys) this.#countKeys(keyring);
    new Gauge({
      name: 'signet_unlocked_keys',
      help: 'Keys that are open in memory',
      registers: [this.registry],
      async collect() {
        this.set(await keyring.unlockedCount());
      },
    });
  }

  #countKeys(keyring: Keyring): void {
    const counts = keyring.backends.map((backend) => ({ backend, count: new KeyCount(backend) }));
    new Gauge({
      name: 'signet_keys',
      help: 'Keys in the backend, up to a minute ago',
      labelNames: ['backend'],
      aggregator: 'max',
      registers: [this.registry],
      async collect() {
        for (const { backend, count } of counts) {
          const keys = await count.read();
          if (keys === undefined) this.remove({ backend: backend.name });
          else this.set({ backend: backend.name }, keys);
        }
      },
    });
  }

  /** The metrics of this process, to be merged with those of others. */
  read(): Promise<readonly MetricJson[]> {
    return this.registry.getMetricsAsJSON();
  }

  method(name: string): MethodMetrics {
    const codes = this.#calls.get(name) ?? new Map<GrpcStatusName, number>();
    this.#calls.set(name, codes);
    return {
      started: () => {
        this.#inFlight++;
      },
      ended: (code, durationMs) => {
        this.#inFlight--;
        codes.set(code, (codes.get(code) ?? 0) + 1);
        this.#callLatency.observe(name, durationMs);
      },
    };
  }

  signed({ outcome, located, queueMs, durationMs }: SignRecord): void {
    if (outcome !== 'ok' || located === undefined) return;
    this.#queueLatency.observe(located.backend.name, queueMs);
    this.#signLatency.observe(located.backend.name, durationMs - queueMs);
  }
}
