/**
 * PBKDF2 on threads of their own, which have a lower priority than the event loop: opening many keys for the first time
 * keeps the processors busy, and the keys in use must not wait for that. On Node's thread pool they would: the system
 * lets a thread that was just woken push aside the one that woke it.
 */
import { once } from 'node:events';
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
  try { setPriority(10); } catch {} // not allowed: slower for the others, no reason to fail
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

export class DerivationThreads implements AsyncDisposable {
  readonly #idle: Worker[] = [];
  readonly #living = new Set<Worker>();

  /**
   * PBKDF2-HMAC-SHA-256 (RFC 8018 §5.2). Takes a thread that is idle, or starts one: the caller bounds how many.
   *
   * @param passphrase Copied to the thread in memory that both can zero, and do.
   * @returns `keyBytes` bytes; the caller zeroes them.
   * @throws {SignetError} INTERNAL if the thread died
   */
  async derive(passphrase: Uint8Array, salt: Uint8Array, iterations: number, keyBytes: number): Promise<Uint8Array> {
    const thread = this.#idle.pop() ?? this.#start();
    const shared = new SharedArrayBuffer(Math.max(passphrase.byteLength, keyBytes));
    const view = new Uint8Array(shared);
    view.set(passphrase);
    try {
      await answer(thread, { shared, passphraseBytes: passphrase.byteLength, salt, iterations, keyBytes });
      return Uint8Array.from(view.subarray(0, keyBytes));
    } finally {
      view.fill(0);
      if (this.#living.has(thread)) this.#idle.push(thread);
    }
  }

  /** Ends the threads; derivations under way fail. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#living].map((thread) => thread.terminate()));
  }

  #start(): Worker {
    // Nothing of the environment: passphrases are in it.
    const thread = new Worker(THREAD, { eval: true, env: {}, execArgv: [], resourceLimits: LIMITS });
    const forget = () => {
      this.#living.delete(thread);
      const at = this.#idle.indexOf(thread);
      if (at >= 0) this.#idle.splice(at, 1);
    };
    thread.on('error', forget);
    thread.on('exit', forget);
    this.#living.add(thread);
    return thread;
  }
}

/** Has a thread do one job. An idle thread keeps no process alive. */
async function answer(thread: Worker, job: object): Promise<void> {
  const settled = new AbortController();
  thread.ref();
  try {
    const ended = once(thread, 'exit', settled).then(() => {
      throw new Error('the thread ended');
    });
    const answered = once(thread, 'message', settled);
    thread.postMessage(job);
    await Promise.race([answered, ended]);
  } catch (cause) {
    throw new SignetError('INTERNAL', 'a key derivation died', { cause });
  } finally {
    settled.abort();
    thread.unref();
  }
}
