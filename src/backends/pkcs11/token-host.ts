/**
 * One token host as the daemon sees it: a child process, the requests that it has, their time-outs.
 *
 * A host that ends, hangs past a time-out or says something that is not in the protocol is killed, and everybody who waits
 * for it is told UNAVAILABLE; who uses it starts another (`token-connection.ts`).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { SignetError } from '../../errors.ts';
import { spawned } from '../spawned.ts';
import type { WhichToken } from '../token-facts.ts';
import { moduleEnvironment } from './child-environment.ts';
import { encodeFrame, type Frame, FrameReader, type HostRequest, parseReply } from './host-protocol.ts';
import {
  errorOf,
  type HostAnswer,
  HostRequestInFlight,
  type RequestOptions,
  type RequestOwner,
} from './host-request.ts';
import { ServiceWindow } from './service-window.ts';
import type { RequestServer, TokenRequests } from './token-requests.ts';

export interface TokenHostOptions {
  /** For messages: the token, and its module. */
  readonly name: string;
  /** How long one operation of the token may take, milliseconds, from its beginning. */
  readonly operationTimeoutMs: number;
  readonly env: NodeJS.ProcessEnv;
  /** The program to run; by default `host.js` beside this file. */
  readonly entry?: string | undefined;
}

/** What a host that serves clients tells about its token. */
export interface Service {
  readonly requests: TokenRequests;
  readonly token: WhichToken;
  /** Whether the token can be used without a login, or is logged in. */
  isOpen(): boolean;
  /** The token answered that it wants a login. */
  loggedOut(): void;
}

/** For the module to be told that it ends, milliseconds. */
const END_MS = 1000;
/** Between the end of the socket and that of the process, milliseconds. */
const CLOSED_MS = 100;
const SOCKET_INDEX = 3;

export class TokenHost implements AsyncDisposable, RequestOwner, RequestServer {
  readonly #name: string;
  readonly #operationTimeoutMs: number;
  readonly #child: ChildProcess;
  readonly #socket: Socket;
  readonly #reader = new FrameReader();
  /** The daemon's own requests, which go before those of clients. */
  readonly #own = new Set<HostRequestInFlight>();
  readonly #sent = new Map<number, HostRequestInFlight>();
  readonly #window = new ServiceWindow();
  readonly #ended: Promise<void>;
  #service: Service | undefined;
  #nextId = 1;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  /** Since when the host has worked on the oldest request. */
  #oldestSince = 0;
  #isCorked = false;
  #failure: SignetError | undefined;

  /** @throws {SignetError} UNAVAILABLE if there are no file descriptors for it */
  constructor(options: TokenHostOptions) {
    this.#name = options.name;
    this.#operationTimeoutMs = options.operationTimeoutMs;
    const entry = options.entry ?? fileURLToPath(new URL('./host.js', import.meta.url));
    const env = moduleEnvironment(options.env);
    // Not `fork`, which would hand down the flags that the daemon was started with. The fourth descriptor is a
    // socketpair. Output is dropped: modules write traces, with PINs in them.
    this.#child = spawned(spawn(process.execPath, [entry], { env, stdio: ['ignore', 'ignore', 'ignore', 'pipe'] }));
    this.#socket = this.#child.stdio[SOCKET_INDEX] as Socket;
    this.#ended = new Promise((resolve) => {
      this.#child.once('error', (cause) => {
        this.#fail(new SignetError('UNAVAILABLE', 'the token host cannot be started', { cause }));
        resolve();
      });
      this.#child.once('exit', (code, signal) => {
        const hint = 'the module crashed or was ended; the next call starts it again';
        this.#fail(this.#unavailable(`ended (${signal ?? `exit code ${code}`})`, hint));
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

  /** Why it ended; undefined while it lives. */
  get failure(): SignetError | undefined {
    return this.#failure;
  }

  /** Whether it ended because its token left. */
  get hasLostToken(): boolean {
    return this.#failure?.code === 'TOKEN_NOT_PRESENT';
  }

  get load(): number {
    return this.#sent.size + this.#own.size;
  }

  get isOpen(): boolean {
    return this.#service?.isOpen() ?? false;
  }

  get token(): WhichToken | undefined {
    return this.#service?.token;
  }

  /**
   * A request of the daemon itself, which goes before those of clients.
   *
   * @throws {SignetError} what the host answers; UNAVAILABLE if it ended or was ended
   */
  request<T>(request: HostRequest, options: RequestOptions<T>): Promise<HostAnswer<T>> {
    return HostRequestInFlight.run(this, '', request, options);
  }

  /** Takes clients' requests from now on. */
  serve(service: Service): void {
    if (this.#failure !== undefined) return;
    this.#service = service;
    service.requests.join(this);
  }

  submit(request: HostRequestInFlight): void {
    if (this.#failure === undefined) {
      this.#own.add(request);
      this.pull();
    } else request.fail(this.#failure);
  }

  /** Sends requests until the host has as many as it can work off soon. */
  pull(): void {
    for (const request of this.#own) {
      this.#own.delete(request);
      this.#begin(request);
    }
    while (this.#failure === undefined && this.#sent.size < this.#window.size) {
      const request = this.#service?.requests.next(this);
      if (request === undefined) return;
      this.#begin(request);
    }
  }

  abandon(request: HostRequestInFlight, reason?: SignetError): void {
    if (reason !== undefined) request.fail(reason);
    for (const [id, sent] of this.#sent) {
      if (sent === request) this.#write(encodeFrame(0, { op: 'cancel', id } satisfies HostRequest));
    }
  }

  settled(request: HostRequestInFlight): void {
    this.#own.delete(request);
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

  #begin(request: HostRequestInFlight): void {
    const id = this.#nextId;
    this.#nextId = id === 0xffffffff ? 1 : id + 1;
    if (this.#sent.size === 0) this.#oldestSince = performance.now();
    this.#sent.set(id, request);
    this.#armTimer();
    const frame = request.begin(id);
    this.#write(frame, request.isSecret ? () => frame.fill(0) : undefined);
  }

  /** What is written in one turn of the event loop goes out with one system call. */
  #write(frame: Buffer, whenWritten?: () => void): void {
    if (!this.#isCorked) {
      this.#isCorked = true;
      this.#socket.cork();
      setImmediate(() => {
        this.#isCorked = false;
        this.#socket.uncork();
      });
    }
    this.#socket.write(frame, whenWritten);
  }

  #receive(chunk: Buffer): void {
    try {
      for (const frame of this.#reader.push(chunk)) this.#take(frame);
    } catch (cause) {
      const problem = cause instanceof SignetError ? cause.message : 'unreadable';
      this.#fail(new SignetError('UNAVAILABLE', `the token host of ${this.#name} is replaced: ${problem}`, { cause }));
    }
    this.pull();
  }

  #take({ id, header, blob }: Frame): void {
    const reply = parseReply(header);
    const request = this.#sent.get(id);
    if (request === undefined) throw new SignetError('INTERNAL', 'an answer that nobody asked for');
    const [oldest] = this.#sent.keys();
    this.#sent.delete(id);
    if (id === oldest) {
      // A cancelled one may overtake it.
      const now = performance.now();
      if (request.client !== '') this.#window.observe(now - this.#oldestSince);
      this.#oldestSince = now;
    }
    if (!reply.ok && reply.code === 'PIN_REQUIRED') this.#service?.loggedOut();
    request.answer(reply, blob);
    if (!reply.ok && reply.lost) this.#fail(errorOf(reply));
    else this.#armTimer();
  }

  /** For the oldest request, from when it became the oldest: the host works on one at a time. */
  #armTimer(): void {
    const [oldest] = this.#sent.values();
    if (oldest === undefined) return;
    const timeoutMs = oldest.timeoutMs ?? this.#operationTimeoutMs;
    const endsAt = this.#oldestSince + timeoutMs;
    if (endsAt >= this.#timerAt) return; // it looks again then
    clearTimeout(this.#timer);
    this.#timerAt = endsAt;
    this.#timer = setTimeout(() => this.#checkTime(), endsAt - performance.now());
  }

  #checkTime(): void {
    this.#timerAt = Number.POSITIVE_INFINITY;
    const [oldest] = this.#sent.values();
    const timeoutMs = oldest?.timeoutMs ?? this.#operationTimeoutMs;
    if (oldest !== undefined && performance.now() - this.#oldestSince >= timeoutMs) {
      this.#fail(this.#unavailable(`did not answer within ${timeoutMs} ms and is replaced`));
    } else this.#armTimer();
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
    this.#timerAt = Number.POSITIVE_INFINITY;
    const waiting = [...this.#sent.values(), ...this.#own];
    this.#sent.clear();
    for (const request of waiting) request.fail(error);
    this.#service?.requests.leave(this, error);
  }

  #unavailable(what: string, hint?: string): SignetError {
    return new SignetError(
      'UNAVAILABLE',
      `the token host of ${this.#name} ${what}`,
      hint === undefined ? {} : { hint },
    );
  }
}
