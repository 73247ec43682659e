/**
 * A Prometheus histogram whose observation is one addition into an array. prom-client's own costs a few microseconds,
 * which is a tenth of a signature; everything but observing is left to prom-client.
 */
import type { Registry } from 'prom-client';

/** What prom-client's registries and its adding-up of workers ask of a metric. */
interface HistogramJson {
  readonly name: string;
  readonly help: string;
  readonly type: 'histogram';
  readonly aggregator: 'sum';
  readonly values: readonly {
    readonly metricName: string;
    readonly labels: Readonly<Record<string, string | number>>;
    readonly value: number;
    readonly exemplar: null;
  }[];
}

/** Upper bounds in seconds: from a cached P-256 key (tens of microseconds) to a person touching a token. */
const BOUNDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1, 2.5, 10, 30] as const;

interface Series {
  /** One count per bound, and one for what is above all of them; not cumulative. */
  readonly counts: number[];
  sumSeconds: number;
}

export class LatencyHistogram {
  readonly name: string;
  readonly help: string;
  readonly #label: string;
  readonly #series = new Map<string, Series>();

  /** @param label The only label; its values are few and known. */
  constructor(registry: Registry, name: string, help: string, label: string) {
    this.name = name;
    this.help = help;
    this.#label = label;
    registry.registerMetric(this as unknown as Parameters<Registry['registerMetric']>[0]);
  }

  observe(labelValue: string, milliseconds: number): void {
    const seconds = milliseconds / 1000;
    let series = this.#series.get(labelValue);
    if (series === undefined) {
      series = { counts: new Array<number>(BOUNDS.length + 1).fill(0), sumSeconds: 0 };
      this.#series.set(labelValue, series);
    }
    let index = 0;
    while (index < BOUNDS.length && seconds > (BOUNDS[index] ?? 0)) index++;
    series.counts[index] = (series.counts[index] ?? 0) + 1;
    series.sumSeconds += seconds;
  }

  /** Called by prom-client. */
  async get(): Promise<HistogramJson> {
    const values: HistogramJson['values'][number][] = [];
    for (const [labelValue, { counts, sumSeconds }] of this.#series) {
      const label = { [this.#label]: labelValue };
      const add = (suffix: string, labels: Readonly<Record<string, string | number>>, value: number) =>
        values.push({ metricName: `${this.name}_${suffix}`, labels, value, exemplar: null });
      let cumulative = 0;
      for (const [index, count] of counts.entries()) {
        cumulative += count;
        add('bucket', { le: BOUNDS[index] ?? '+Inf', ...label }, cumulative);
      }
      add('sum', label, sumSeconds);
      add('count', label, cumulative);
    }
    return { name: this.name, help: this.help, type: 'histogram', aggregator: 'sum', values };
  }

  /** Called by prom-client. */
  reset(): void {
    this.#series.clear();
  }
}
