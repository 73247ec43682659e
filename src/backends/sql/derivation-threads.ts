/**
 * PBKDF2 on threads of their own, which have a lower priority than the event loop: opening many keys for the first time
 * keeps the processors busy, and the keys in use must not wait for that. On Node's thread pool they would: the system
 * lets a thread that was just woken push aside the one that woke it.
 */
import { Worker } from 'node:worker_threads';
import { SignetError } from '../../errors.ts';

/**
 * What a thread runs; a text, so that it is the same file for `src` and `dist`. On Linux, priorities belong to threads;
 * elsewhere they would change the whole process, so they stay.
 */
const THREAD = `
const { pbkdf2Sync } = require('node:crypto');
const { setPriority } = require('node:os');
const { parentPort } = require('node:worker_threads');
if (process.platform === 'linux') {
  try { setPriority(5); } catch {} // not allowed: slower for the others, no reason to fail
}
parentPort.on('message', ({ shared, passphraseBytes, salt, iterations, keyBytes }) => {
  const view = new Uint8Array(shared);
  const passphrase = Buffer.alloc(passphraseBytes);
  passphrase.set(view.subarray(0, passphraseBytes));
  view.fill(0);
  const key = pbkdf2Sync(passphrase, salt, iterations, keyBytes, 'sha256');
  passphrase.fill(0);
  view.set(key);
  key.fill(0);
  parentPort.postMessage(undefined);
});
`;

/** A thread needs little, and must not grow. */
const LIMITS = { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 16 };

/** Threads of one process. */
const MAX_THREADS = 4;

/**
 * How many threads a process is to have. One processor stays for the event loop and the database: more threads would open
 * hardly more keys in a second, and keys in use would wait for them.
 *
 * @param processes How many share the processors.
 * @returns 1 to 4
 */
export function derivationsAtOnce(processors: number, processes: number): number {
  return Math.min(Math.max(Math.floor((processors - 1) / processes), 1), MAX_THREADS);
}

/** Who waits for a thread's next answer. */
interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: SignetError) => void;
}

export class DerivationThreads implements AsyncDisposable {
  readonly #maxThreads: number;
  readonly #threads = new Set<DerivationThread>();

  constructor(maxThreads: number) {
    this.#maxThreads = maxThreads;
  }

  /**
   * PBKDF2-HMAC-SHA-256 (RFC 8018 §5.2). Starts a thread, or waits behind what the least busy one has been given.
   *
   * @param passphrase Copied to the thread in memory that both can zero, and do.
   * @returns `keyBytes` bytes; the caller zeroes them.
   * @throws {SignetError} INTERNAL if the thread died
   */
  async derive(passphrase: Uint8Array, salt: Uint8Array, iterations: number, keyBytes: number): Promise<Uint8Array> {
    const shared = new SharedArrayBuffer(Math.max(passphrase.byteLength, keyBytes));
    const view = new Uint8Array(shared);
    view.set(passphrase);
    try {
      await this.#pick().run({ shared, passphraseBytes: passphrase.byteLength, salt, iterations, keyBytes });
      return Uint8Array.from(view.subarray(0, keyBytes));
    } finally {
      view.fill(0);
    }
  }

  /** Ends the threads; derivations under way fail. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#threads].map((thread) => thread.end()));
  }

  #pick(): DerivationThread {
    const [leastBusy] = [...this.#threads].sort((a, b) => a.load - b.load);
    if (leastBusy !== undefined && (leastBusy.load === 0 || this.#threads.size >= this.#maxThreads)) return leastBusy;
    const thread = new DerivationThread(() => this.#threads.delete(thread));
    this.#threads.add(thread);
    return thread;
  }
}

/** One thread. It answers in the order of the jobs; while it is idle, it keeps no process alive. */
class DerivationThread {
  readonly #worker: Worker;
  readonly #waiters: Waiter[] = [];

  constructor(onEnd: () => void) {
    // Nothing of the environment: passphrases are in it.
    this.#worker = new Worker(THREAD, { eval: true, env: {}, execArgv: [], resourceLimits: LIMITS });
    this.#worker.unref();
    this.#worker.on('message', () => this.#next()?.resolve());
    const fail = (cause?: unknown) => {
      onEnd();
      while (this.load > 0) this.#next()?.reject(new SignetError('INTERNAL', 'a key derivation died', { cause }));
    };
    this.#worker.on('error', fail);
    this.#worker.on('exit', () => fail());
  }

  /** Jobs that it has not answered. */
  get load(): number {
    return this.#waiters.length;
  }

  run(job: object): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#worker.ref();
      this.#waiters.push({ resolve, reject });
      this.#worker.postMessage(job);
    });
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }

  #next(): Waiter | undefined {
    const waiter = this.#waiters.shift();
    if (this.load === 0) this.#worker.unref();
    return waiter;
  }
}
