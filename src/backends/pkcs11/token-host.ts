/**
 * One token host as the daemon sees it: a child process, the queue of requests to it, their deadlines.
 *
 * A host that ends, hangs past a deadline or says something that is not in the protocol is killed, and everybody who
 * waits for it is told UNAVAILABLE; who uses it starts another (`token-connection.ts`).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { SignetError } from '../../errors.ts';
import { moduleEnvironment } from './child-environment.ts';
import { encodeFrame, type Frame, FrameReader, type HostReply, type HostRequest, parseReply } from './host-protocol.ts';

export interface TokenHostOptions {
  /** For messages: the module's path. */
  readonly name: string;
  /** How long one operation of the token may take, milliseconds, from its beginning. */
  readonly operationTimeoutMs: number;
  readonly env: NodeJS.ProcessEnv;
  /** The program to run; by default `host.js` beside this file. */
  readonly entry?: string | undefined;
}

export interface RequestOptions<T> {
  /** Checks and types the answer; throws INTERNAL for one that the protocol does not have. */
  readonly parse: (value: unknown) => T;
  readonly blob?: Uint8Array | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Where an operation takes longer than others. */
  readonly timeoutMs?: number | undefined;
  /** Called when the request leaves the queue. */
  readonly onStart?: (() => void) | undefined;
}

export interface HostAnswer<T> {
  readonly value: T;
  readonly blob: Buffer;
}

interface Pending {
  readonly id: number;
  readonly frame: Buffer;
  readonly timeoutMs: number;
  readonly onStart: (() => void) | undefined;
  /** Whether anybody still waits. */
  isWanted: boolean;
  settle(outcome: { readonly reply: HostReply; readonly blob: Buffer } | { readonly error: SignetError }): void;
}

/** Requests that the host has at one time: enough that it never waits for us, few enough to drop those not wanted. */
const WINDOW = 4;
/** More callers than this on one token would only time out. */
const MAX_QUEUE = 4096;
/** Bytes of queued messages. */
const MAX_QUEUED_BYTES = 64 * 1024 * 1024;
/** For the module to be told that it ends, milliseconds. */
const END_MS = 1000;
/** Between the end of the socket and that of the process, milliseconds. */
const CLOSED_MS = 100;
const SOCKET_INDEX = 3;
export class TokenHost implements AsyncDisposable {
  readonly #name: string;
  readonly #operationTimeoutMs: number;
  readonly #child: ChildProcess;
  readonly #socket: Socket;
  readonly #reader = new FrameReader();
  readonly #queue = new Set<Pending>();
  readonly #sent = new Map<number, Pending>();
  readonly #ended: Promise<void>;
  #queuedBytes = 0;
  #nextId = 1;
  #timer: NodeJS.Timeout | undefined;
  #failure: SignetError | undefined;

  constructor(options: TokenHostOptions) {
    this.#name = options.name;
    this.#operationTimeoutMs = options.operationTimeoutMs;
    const entry = options.entry ?? fileURLToPath(new URL('./host.js', import.meta.url));
    const env = moduleEnvironment(options.env);
    // Not `fork`, which would hand down the flags that the daemon was started with. The fourth descriptor is a
    // socketpair. Output is dropped: modules write traces, with PINs in them.
    this.#child = spawn(process.execPath, [entry], { env, stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
    this.#socket = this.#child.stdio[SOCKET_INDEX] as Socket;
    this.#ended = new Promise((resolve) => {
      this.#child.once('error', (cause) => {
        this.#fail(new SignetError('UNAVAILABLE', 'the token host cannot be started', { cause }));
        resolve();
      });
      this.#child.once('exit', (code, signal) => {
        this.#fail(this.#unavailable(`ended (${signal ?? `exit code ${code}`})`));
        resolve();
      });
    });
    this.#socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    this.#socket.on('error', () => undefined); // 'close' follows
    this.#socket.on('close', () => {
      // The end of the process, which tells more, is about to be reported.
      setTimeout(() => this.#fail(this.#unavailable('closed its socket')), CLOSED_MS);
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** False after the end: every request is refused then. */
  get isAlive(): boolean {
    return this.#failure === undefined;
  }

  /** Whether requests are in progress or waiting. */
  get isBusy(): boolean {
    return this.#sent.size + this.#queue.size > 0;
  }

  /**
   * Queues a request. Requests are begun in order; one that is aborted before it is begun never is.
   *
   * @throws {SignetError} what the host answers; UNAVAILABLE if it ended or was ended, OVERLOADED, CANCELLED
   */
  request<T>(request: HostRequest, options: RequestOptions<T>): Promise<HostAnswer<T>> {
    const { signal, blob, parse } = options;
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      if (signal?.aborted) return reject(cancelled());
      const id = this.#nextId;
      this.#nextId = id === 0xffffffff ? 1 : id + 1;
      const frame = encodeFrame(id, request, blob);
      if (this.#queue.size >= MAX_QUEUE || this.#queuedBytes + frame.length > MAX_QUEUED_BYTES) {
        frame.fill(0);
        return reject(new SignetError('OVERLOADED', `too many requests wait for the token of ${this.#name}`));
      }
      const abort = () => {
        pending.isWanted = false;
        this.#abandon(pending);
        pending.settle({ error: cancelled() });
      };
      const pending: Pending = {
        id,
        frame,
        timeoutMs: options.timeoutMs ?? this.#operationTimeoutMs,
        onStart: options.onStart,
        isWanted: true,
        settle: (outcome) => {
          signal?.removeEventListener('abort', abort);
          if ('error' in outcome) return reject(outcome.error);
          try {
            resolve({ value: parse(answerOf(outcome.reply)), blob: outcome.blob });
          } catch (error) {
            reject(error);
          }
        },
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#queue.add(pending);
      this.#queuedBytes += frame.length;
      this.#send();
      return undefined;
    });
  }

  /** Ends the process at once. @param reason Told to everybody who waits. */
  kill(reason: SignetError): void {
    this.#fail(reason);
  }

  /** Lets the module end in order, for a short time. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#settleAll(this.#unavailable('is closed'));
    this.#socket.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), END_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  #send(): void {
    for (const pending of this.#queue) {
      if (this.#sent.size >= WINDOW) break;
      this.#queue.delete(pending);
      this.#queuedBytes -= pending.frame.length;
      this.#sent.set(pending.id, pending);
      if (this.#sent.size === 1) this.#armTimer();
      pending.onStart?.();
      this.#write(pending.frame);
    }
  }

  #write(frame: Buffer): void {
    this.#socket.write(frame, () => frame.fill(0));
  }

  #abandon(pending: Pending): void {
    if (this.#queue.delete(pending)) {
      this.#queuedBytes -= pending.frame.length;
      pending.frame.fill(0);
    } else if (this.#sent.has(pending.id)) {
      this.#write(encodeFrame(0, { op: 'cancel', id: pending.id } satisfies HostRequest));
    }
  }

  #receive(chunk: Buffer): void {
    try {
      for (const frame of this.#reader.push(chunk)) this.#take(frame);
    } catch (cause) {
      const problem = cause instanceof SignetError ? cause.message : 'unreadable';
      this.#fail(new SignetError('UNAVAILABLE', `the token host of ${this.#name} is replaced: ${problem}`, { cause }));
    }
  }

  #take({ id, header, blob }: Frame): void {
    const reply = parseReply(header);
    const pending = this.#sent.get(id);
    if (pending === undefined) throw new SignetError('INTERNAL', 'an answer that nobody asked for');
    this.#sent.delete(id);
    this.#armTimer();
    if (pending.isWanted) pending.settle({ reply, blob });
    if (!reply.ok && reply.lost) this.#fail(errorOf(reply));
    this.#send();
  }

  /** For the oldest request, from when it became the oldest: the host works on one at a time. */
  #armTimer(): void {
    clearTimeout(this.#timer);
    const [oldest] = this.#sent.values();
    if (oldest === undefined) return;
    this.#timer = setTimeout(
      () => this.#fail(this.#unavailable(`did not answer within ${oldest.timeoutMs} ms and is replaced`)),
      oldest.timeoutMs,
    );
  }

  #fail(error: SignetError): void {
    if (this.#failure !== undefined) return;
    this.#child.kill('SIGKILL'); // also ends one that is stopped or stuck in a system call
    this.#socket.destroy();
    this.#settleAll(error);
  }

  #settleAll(error: SignetError): void {
    this.#failure ??= error;
    clearTimeout(this.#timer);
    const waiting = [...this.#sent.values(), ...this.#queue];
    this.#sent.clear();
    this.#queue.clear();
    this.#queuedBytes = 0;
    for (const pending of waiting) {
      pending.frame.fill(0);
      if (pending.isWanted) pending.settle({ error });
    }
  }

  #unavailable(what: string): SignetError {
    return new SignetError('UNAVAILABLE', `the token host of ${this.#name} ${what}`);
  }
}

function answerOf(reply: HostReply): unknown {
  if (reply.ok) return reply.value;
  throw errorOf(reply);
}

function errorOf(reply: Extract<HostReply, { ok: false }>): SignetError {
  const { hint, retriesLeft } = reply;
  return new SignetError(reply.code, reply.message, {
    ...(hint === undefined ? {} : { hint }),
    ...(retriesLeft === undefined ? {} : { retriesLeft }),
  });
}

function cancelled(): SignetError {
  return new SignetError('CANCELLED', 'the call was cancelled');
}
