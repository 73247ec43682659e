/**
 * Several processes that share the server's port (`workers: N`), so that all cores sign. The first process serves the
 * agent and the metrics and supervises: a worker that dies or hangs is replaced. This is its side; the workers' is in
 * `serveSupervisor` and `answerSupervisor` at the end.
 */
import cluster, { type Worker } from 'node:cluster';
import type { KeyId } from '../crypto/key-id.ts';
import { isErrorCode, SignetError } from '../errors.ts';
import type { Keyring } from '../keyring/keyring.ts';
import type { LogLevel } from './config.ts';
import type { LogHandle } from './log.ts';
import type { MetricJson, Metrics } from './metrics.ts';
import { toSignetError } from './status.ts';

/** An error on its way between processes. */
interface Failure {
  readonly code: string;
  readonly message: string;
  readonly hint: string | undefined;
}

/** From a worker to the supervisor. */
export type WorkerReport =
  | { readonly type: 'ready'; readonly address: string }
  | ({ readonly type: 'failed' } & Failure);

/** From the supervisor to its workers; nobody waits for an answer. */
export type WorkerOrder =
  | { readonly type: 'drain' }
  | { readonly type: 'reload' }
  | { readonly type: 'level'; readonly level: LogLevel };

/** What the supervisor asks its workers. */
type Question =
  | { readonly about: 'life' }
  | { readonly about: 'lock'; readonly keyId: KeyId | undefined }
  | { readonly about: 'unlockedCount' }
  | { readonly about: 'metrics' };

interface Answers {
  readonly life: true;
  readonly lock: number;
  readonly unlockedCount: number;
  readonly metrics: readonly MetricJson[];
}
type AnswerTo<Q extends Question> = Answers[Q['about']];

type ToWorker = WorkerOrder | { readonly type: 'ask'; readonly id: number; readonly question: Question };
type FromWorker =
  | WorkerReport
  | { readonly type: 'answer'; readonly id: number; readonly answer: AnswerTo<Question> }
  | ({ readonly type: 'refusal'; readonly id: number } & Failure);

/** Before a dead worker is replaced, milliseconds: doubled with each death in a row. */
const RESTART_MS = { first: 500, most: 30_000 } as const;
/** A worker that lived this long had a good start. */
const SETTLED_MS = 60_000;
/** Beyond the drain time-out of the workers themselves. */
const KILL_AFTER_MS = 5000;
/** A person waits for these. */
const ANSWER_MS = 2000;
/** Prometheus waits for these, 10 s by default. */
const METRICS_MS = 1000;
/** How often a worker is asked whether it lives, and how long it has for the answer. */
const HEARTBEAT_MS = 5000;
/** One miss may be the supervisor's own: it, or the machine, was asleep. */
const MOST_MISSED = 3;

export class Workers {
  readonly #log: LogHandle;
  /** Those that serve. The others hold no keys and have counted nothing. */
  readonly #ready = new Set<ReadyWorker>();
  readonly #restarts = new Set<NodeJS.Timeout>();
  #heartbeat: NodeJS.Timeout | undefined;
  #stopping = false;
  #deaths = 0;
  #address: string | undefined;

  /** @param log Its level is given to every worker that becomes ready. */
  constructor(log: LogHandle) {
    this.#log = log;
  }

  /** Where they listen; undefined until they do. */
  get address(): string | undefined {
    return this.#address;
  }

  /**
   * Resolves when all are ready. Call it once; if it fails, `stop` ends those that did start.
   *
   * @throws {SignetError} what the first worker that could not start reports
   */
  async start(count: number): Promise<void> {
    const addresses = await Promise.all(Array.from({ length: count }, () => this.#fork()));
    this.#address = addresses[0];
    this.#heartbeat = setInterval(() => {
      for (const worker of this.#ready) void this.#checkLife(worker);
    }, HEARTBEAT_MS);
  }

  /** Tells every worker that can still be told. */
  order(order: WorkerOrder): void {
    for (const worker of living()) send(worker, order);
  }

  /**
   * Closes one key, or all, in every worker.
   *
   * @returns How many were open: one that several workers had open counts several times.
   * @throws {SignetError} UNAVAILABLE: a worker did not answer; the others have closed theirs
   */
  async lock(keyId: KeyId | undefined): Promise<number> {
    return sum(await this.#askAll({ about: 'lock', keyId }));
  }

  /**
   * @returns How many keys are open in the workers, counted as `lock` counts them.
   * @throws {SignetError} UNAVAILABLE: a worker did not answer
   */
  async unlockedCount(): Promise<number> {
    return sum(await this.#askAll({ about: 'unlockedCount' }));
  }

  /** @returns The metrics of each worker that answers in time; the log names the others. Never rejects. */
  async metrics(): Promise<readonly (readonly MetricJson[])[]> {
    const answers = await Promise.all(
      [...this.#ready].map((worker) =>
        worker.ask({ about: 'metrics' }, METRICS_MS).catch((error: unknown) => {
          const { code, message } = toSignetError(error);
          this.#log.logger.warn({ worker: worker.pid, code, error: message }, 'metrics of a worker are left out');
          return undefined;
        }),
      ),
    );
    return answers.filter((answer) => answer !== undefined);
  }

  /** Drains every worker. @param drainMs Their own time-out; who is not gone a little later is killed. */
  async stop(drainMs: number): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#heartbeat);
    for (const timer of this.#restarts) clearTimeout(timer);
    const gone = Promise.all(living().map((worker) => new Promise((resolve) => worker.once('exit', resolve))));
    this.order({ type: 'drain' });
    const timer = setTimeout(() => {
      for (const worker of living()) worker.process.kill('SIGKILL');
    }, drainMs + KILL_AFTER_MS);
    await gone;
    clearTimeout(timer);
  }

  /** All have had their time when this rejects. Who dies meanwhile has no answer and no keys either. */
  async #askAll<Q extends Question>(question: Q): Promise<AnswerTo<Q>[]> {
    const results = await Promise.allSettled([...this.#ready].map((worker) => worker.ask(question, ANSWER_MS)));
    return results.flatMap((result) => {
      if (result.status === 'rejected') throw result.reason;
      return result.value === undefined ? [] : [result.value];
    });
  }

  async #checkLife(worker: ReadyWorker): Promise<void> {
    try {
      await worker.ask({ about: 'life' }, HEARTBEAT_MS);
      worker.missed = 0;
    } catch {
      worker.missed++;
      if (worker.missed < MOST_MISSED || this.#stopping) return;
      this.#log.logger.error({ worker: worker.pid, heartbeatsMissed: worker.missed }, 'worker hangs: killing it');
      worker.kill();
    }
  }

  #fork(): Promise<string> {
    const worker = cluster.fork();
    const { pid } = worker.process;
    const startedAt = performance.now();
    const log = this.#log.logger;
    let ready: ReadyWorker | undefined;
    return new Promise((resolve, reject) => {
      worker.on('message', (message: FromWorker) => {
        switch (message.type) {
          case 'ready':
            ready = new ReadyWorker(worker);
            this.#ready.add(ready);
            // It starts with the level of the configuration, which a signal may have changed since.
            send(worker, { type: 'level', level: this.#log.level });
            log.info({ worker: pid, address: message.address }, 'worker is up');
            return resolve(message.address);
          case 'failed': {
            const failure = fromWire(message);
            log.error({ worker: pid, code: failure.code, error: failure.message }, 'worker cannot start');
            return reject(failure);
          }
          case 'answer':
            return ready?.settle(message.id, ({ resolve: answered }) => answered(message.answer));
          case 'refusal':
            return ready?.settle(message.id, ({ reject: refused }) => refused(fromWire(message)));
        }
      });
      worker.once('exit', (code, signal) => {
        if (ready !== undefined) this.#ready.delete(ready);
        ready?.end();
        reject(new SignetError('INTERNAL', `a worker ended before it was ready (${signal ?? code})`));
        if (this.#stopping) return;
        this.#deaths = performance.now() - startedAt > SETTLED_MS ? 1 : this.#deaths + 1;
        const delay = Math.min(RESTART_MS.first * 2 ** (this.#deaths - 1), RESTART_MS.most);
        log.error({ worker: pid, code, signal, restartInMs: delay }, 'worker died');
        const timer = setTimeout(() => {
          this.#restarts.delete(timer);
          this.#fork().catch(() => undefined); // logged, and tried again when it exits
        }, delay);
        this.#restarts.add(timer);
      });
    });
  }
}

interface Waiting {
  readonly resolve: (answer: AnswerTo<Question> | undefined) => void;
  readonly reject: (error: SignetError) => void;
}

/** One worker, and the questions that it has not answered yet. */
class ReadyWorker {
  /** Heartbeats in a row. */
  missed = 0;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #questions = 0;

  constructor(worker: Worker) {
    this.#worker = worker;
  }

  get pid(): number | undefined {
    return this.#worker.process.pid;
  }

  /**
   * @returns Undefined if the worker dies first.
   * @throws {SignetError} UNAVAILABLE after `limitMs`; what the worker failed with
   */
  async ask<Q extends Question>(question: Q, limitMs: number): Promise<AnswerTo<Q> | undefined> {
    const id = this.#questions++;
    let timer: NodeJS.Timeout | undefined;
    try {
      const answer = await new Promise<AnswerTo<Question> | undefined>((resolve, reject) => {
        this.#waiting.set(id, { resolve, reject });
        timer = setTimeout(() => reject(this.#silence(limitMs)), limitMs);
        send(this.#worker, { type: 'ask', id, question });
      });
      return answer as AnswerTo<Q> | undefined; // the worker is of our own making: it answers what it is asked
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  /** An answer that comes too late is dropped. */
  settle(id: number, settle: (waiting: Waiting) => void): void {
    const waiting = this.#waiting.get(id);
    if (waiting !== undefined) settle(waiting);
  }

  /** It is dead: nobody waits for it any longer. */
  end(): void {
    for (const { resolve } of this.#waiting.values()) resolve(undefined);
  }

  /** SIGKILL: a process that hangs, or is stopped, heeds nothing else. */
  kill(): void {
    this.#worker.process.kill('SIGKILL');
  }

  #silence(limitMs: number): SignetError {
    return new SignetError('UNAVAILABLE', `worker ${this.pid} did not answer within ${limitMs} ms`, {
      hint: `try again: a worker that hangs is replaced after ${((MOST_MISSED + 1) * HEARTBEAT_MS) / 1000} seconds`,
    });
  }
}

function living(): Worker[] {
  return Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
}

/** A worker whose channel breaks is dying, and its `exit` tells: without a callback, Node would throw. */
function send(worker: Worker, message: ToWorker): void {
  if (worker.isConnected()) worker.send(message, () => undefined);
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}

function toWire(error: unknown): Failure {
  const { code, message, hint } = toSignetError(error);
  return { code, message, hint };
}

function fromWire({ code, message, hint }: Failure): SignetError {
  return new SignetError(isErrorCode(code) ? code : 'INTERNAL', message, hint === undefined ? {} : { hint });
}

/** In a worker: obeys the supervisor, and ends when it is gone. */
export function serveSupervisor(handle: (order: WorkerOrder) => void): {
  ready(address: string): void;
  failed(error: unknown): void;
} {
  process.on('message', (message: ToWorker) => {
    if (message.type !== 'ask') handle(message);
  });
  process.on('disconnect', () => handle({ type: 'drain' }));
  return {
    ready: (address) => tell({ type: 'ready', address }),
    failed: (error) => tell({ type: 'failed', ...toWire(error) }),
  };
}

/** In a worker, before it reports that it is ready: answers what the supervisor asks. */
export function answerSupervisor({ keyring, metrics }: { readonly keyring: Keyring; readonly metrics: Metrics }): void {
  async function answer(question: Question): Promise<AnswerTo<Question>> {
    switch (question.about) {
      case 'life':
        return true;
      case 'lock':
        return keyring.lock(question.keyId);
      case 'unlockedCount':
        return keyring.unlockedCount();
      case 'metrics':
        return metrics.read();
    }
  }
  process.on('message', (message: ToWorker) => {
    if (message.type !== 'ask') return;
    const { id, question } = message;
    answer(question).then(
      (value) => tell({ type: 'answer', id, answer: value }),
      (error: unknown) => tell({ type: 'refusal', id, ...toWire(error) }),
    );
  });
}

/** A supervisor that is gone hears nothing; `disconnect` tells the worker. */
function tell(message: FromWorker): void {
  process.send?.(message, undefined, undefined, () => undefined);
}
