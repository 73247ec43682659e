/** Prometheus metrics of one process. Names follow Prometheus' conventions: base units, `_total` for counters. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Keyring } from '../keyring/keyring.ts';
import type { SignRecord } from '../signing/sign-service.ts';

/** Seconds: from a cached P-256 key (tens of microseconds) to a person touching a token. */
const BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1, 2.5, 10, 30];

export class Metrics {
  readonly registry: Registry = new Registry();
  readonly #calls = this.#counter('signet_grpc_calls_total', 'gRPC calls by method and status code', [
    'method',
    'code',
  ]);
  readonly #callSeconds = this.#histogram('signet_grpc_call_seconds', 'Time to answer a gRPC call', ['method']);
  readonly #queueSeconds = this.#histogram(
    'signet_sign_queue_seconds',
    "Waiting before signing: look-up, unlocking, the backend's queue",
    ['backend'],
  );
  readonly #signSeconds = this.#histogram('signet_sign_seconds', 'The signing operation proper', ['backend']);
  readonly #inFlight = new Gauge({
    name: 'signet_grpc_calls_in_flight',
    help: 'gRPC calls being answered',
    registers: [this.registry],
  });
  /** `labels()` costs more than the observation; the few combinations there are get looked up once. */
  readonly #children = new Map<string, { inc(): void }>();
  readonly #observers = new Map<string, { observe(value: number): void }>();

  constructor() {
    collectDefaultMetrics({ register: this.registry });
  }

  /** Gauges that are read from the keyring when somebody asks. */
  watch(keyring: Keyring): void {
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
    new Gauge({
      name: 'signet_keys',
      help: 'Keys in the backend',
      labelNames: ['backend'],
      aggregator: 'max', // several workers see the same keys
      registers: [this.registry],
      async collect() {
        for (const backend of keyring.backends) {
          // A backend that is down has no number, rather than a wrong one; signet_backend_up tells.
          const count = await backend.count().catch(() => undefined);
          if (count === undefined) this.remove({ backend: backend.name });
          else this.set({ backend: backend.name }, count);
        }
      },
    });
    new Gauge({
      name: 'signet_unlocked_keys',
      help: 'Keys that are open in memory',
      registers: [this.registry],
      async collect() {
        this.set(await keyring.unlockedCount());
      },
    });
  }

  callStarted(): void {
    this.#inFlight.inc();
  }

  callEnded(method: string, code: string, durationMs: number): void {
    this.#inFlight.dec();
    const key = `${method} ${code}`;
    let child = this.#children.get(key);
    if (child === undefined) {
      child = this.#calls.labels(method, code);
      this.#children.set(key, child);
    }
    child.inc();
    this.#observe(this.#callSeconds, `call ${method}`, method, durationMs);
  }

  signed(record: SignRecord): void {
    if (record.outcome !== 'ok' || record.located === undefined) return;
    const backend = record.located.backend.name;
    this.#observe(this.#queueSeconds, `queue ${backend}`, backend, record.queueMs);
    this.#observe(this.#signSeconds, `sign ${backend}`, backend, record.durationMs - record.queueMs);
  }

  #observe(histogram: Histogram<string>, key: string, label: string, milliseconds: number): void {
    let observer = this.#observers.get(key);
    if (observer === undefined) {
      observer = histogram.labels(label);
      this.#observers.set(key, observer);
    }
    observer.observe(milliseconds / 1000);
  }

  #counter(name: string, help: string, labelNames: string[]): Counter<string> {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }

  #histogram(name: string, help: string, labelNames: string[]): Histogram<string> {
    return new Histogram({ name, help, labelNames, buckets: BUCKETS, registers: [this.registry] });
  }
}
