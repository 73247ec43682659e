/**
 * Verifies what tokens answer. Verifying takes longer than everything else that the daemon does for a signature, so that
 * under load it happens on a thread of its own; a single signature is verified where it is, which is the shortest way.
 */
import type { KeyObject } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { type PublicKey, verificationOf, verifyWith } from '../../crypto/public-key.ts';

/**
 * What the thread runs; a text, so that it is the same file for `src` and `dist`. It answers a batch with one byte for each
 * signature, in their order.
 */
const THREAD = `
const { verify } = require('node:crypto');
const { parentPort } = require('node:worker_threads');
let keys = [];
parentPort.on('message', ({ first, added, bytes, jobs }) => {
  keys.length = first;
  keys.push(...added);
  const results = new Uint8Array(jobs.length / 3);
  let offset = 0;
  for (let job = 0; job < results.length; job++) {
    const [number, messageBytes, signatureBytes] = jobs.subarray(3 * job, 3 * job + 3);
    const message = bytes.subarray(offset, (offset += messageBytes));
    const signature = bytes.subarray(offset, (offset += signatureBytes));
    const { key, hash, options } = keys[number];
    results[job] = verify(hash, message, { key, ...options }, signature) ? 1 : 0;
  }
  parentPort.postMessage(results);
});
`;

/** A thread needs little, and must not grow. */
const LIMITS = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 16 };
/** Keys that the thread remembers; with more, it is told all of them again. */
const MAX_KEYS = 1024;
const NUMBERS_PER_JOB = 3;
/** Batches given to the thread at one time: it always has one to go on with, and what comes meanwhile makes one batch. */
const MAX_POSTED = 2;

/** A public key and the same ready to verify with. */
export interface VerificationKey {
  readonly publicKey: PublicKey;
  readonly verifier: KeyObject;
}

interface Job {
  readonly key: VerificationKey;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
  readonly resolve: (isValid: boolean) => void;
  readonly reject: (error: unknown) => void;
}

export class SignatureVerifier {
  readonly #startThread: () => Worker;
  #thread: Worker | undefined;
  /** The thread's keys, by their number there. */
  readonly #keys = new Map<KeyObject, number>();
  #next: Job[] = [];
  /** Batches that the thread has, the oldest first. */
  readonly #posted: (readonly Job[])[] = [];

  /** @param startThread May throw: the system need not have a thread to give. */
  constructor(startThread: () => Worker = startVerificationThread) {
    this.#startThread = startThread;
  }

  /**
   * Verifies a signature in the port's encoding over a whole message.
   *
   * @returns False for any signature that does not verify.
   */
  verify(key: VerificationKey, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#next.push({ key, message, signature, resolve, reject });
      // What comes in one turn of the event loop is one batch.
      if (this.#next.length === 1) setImmediate(() => this.#flush());
    });
  }

  #flush(): void {
    if (this.#next.length === 0 || this.#posted.length >= MAX_POSTED) return;
    const jobs = this.#next;
    this.#next = [];
    if (jobs.length === 1 && this.#posted.length === 0) verifyHere(jobs);
    else this.#post(jobs);
  }

  #post(jobs: readonly Job[]): void {
    this.#thread ??= this.#start();
    if (this.#thread === undefined) {
      verifyHere(jobs);
      return;
    }
    if (this.#keys.size + jobs.length > MAX_KEYS) this.#keys.clear();
    const first = this.#keys.size;
    const added: object[] = [];
    const numbers = new Uint32Array(NUMBERS_PER_JOB * jobs.length);
    // Copied together: a message may be a small part of a large buffer, all of which would be copied.
    const bytes = new Uint8Array(
      jobs.reduce((sum, { message, signature }) => sum + message.length + signature.length, 0),
    );
    let offset = 0;
    for (const [index, { key, message, signature }] of jobs.entries()) {
      let number = this.#keys.get(key.verifier);
      if (number === undefined) {
        number = this.#keys.size;
        this.#keys.set(key.verifier, number);
        added.push({ key: key.verifier, ...verificationOf(key.publicKey.algorithm) });
      }
      numbers.set([number, message.length, signature.length], NUMBERS_PER_JOB * index);
      bytes.set(message, offset);
      bytes.set(signature, offset + message.length);
      offset += message.length + signature.length;
    }
    this.#posted.push(jobs);
    this.#thread.postMessage({ first, added, bytes, jobs: numbers }, [bytes.buffer, numbers.buffer]);
  }

  #start(): Worker | undefined {
    let thread: Worker;
    try {
      thread = this.#startThread();
    } catch {
      return undefined; // nobody is to suffer from a thread
    }
    thread.on('message', (results: Uint8Array) => {
      const jobs = this.#posted.shift() ?? [];
      for (const [index, { resolve }] of jobs.entries()) resolve(results[index] === 1);
      this.#flush();
    });
    const end = () => {
      if (this.#thread !== thread) return;
      this.#thread = undefined;
      this.#keys.clear();
      // What it had is verified here.
      for (const jobs of this.#posted.splice(0)) verifyHere(jobs);
      this.#flush();
    };
    thread.on('error', end);
    thread.on('exit', end);
    thread.unref();
    return thread;
  }
}

function startVerificationThread(): Worker {
  // Nothing of the environment: passphrases are in it.
  return new Worker(THREAD, { eval: true, env: {}, execArgv: [], resourceLimits: LIMITS });
}

function verifyHere(jobs: readonly Job[]): void {
  for (const { key, message, signature, resolve, reject } of jobs) {
    try {
      resolve(verifyWith(key.verifier, key.publicKey, message, signature));
    } catch (error) {
      reject(error);
    }
  }
}
