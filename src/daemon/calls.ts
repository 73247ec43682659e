/**
 * What every call passes: refused while draining, bounded in number and time, counted, its errors made into statuses.
 */
import type { EventEmitter } from 'node:events';
import type {
  handleClientStreamingCall,
  handleUnaryCall,
  Metadata,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
} from '@grpc/grpc-js';
import type { SignContext } from '../backends/backend.ts';
import { type ErrorCode, GRPC_STATUS, type GrpcStatusName, SignetError } from '../errors.ts';
import type { CallInteraction } from './call-interaction.ts';
import { CallSlots } from './call-slots.ts';
import { atMost, describeError, type Logger } from './log.ts';
import type { MethodMetrics, Metrics } from './metrics.ts';
import type { Peer, Peers } from './peer.ts';
import { type Status, statusOf, toSignetError } from './status.ts';

export interface CallLimits {
  /** Calls being answered at once; more are refused with RESOURCE_EXHAUSTED. One client gets 7 of 8 of them. */
  readonly maxConcurrentCalls: number;
  readonly callTimeoutMs: number;
}

/** A failure that already has its status: how a service words its own errors. */
export class CallFailure extends Error {
  readonly status: Status;

  constructor(error: SignetError, status: Status) {
    super(error.message, { cause: error });
    this.status = status;
  }
}

export interface MethodOptions {
  /** How this service words errors that are not `CallFailure`s. */
  readonly toStatus?: (error: SignetError) => Status;
  /** Answered also while draining and under load: health checks. */
  readonly always?: boolean;
  /** How long a call with this metadata may take, milliseconds; `CallLimits.callTimeoutMs` if that is more. */
  readonly patienceMs?: (metadata: Metadata) => number;
  /** Zeroes the secrets of a request that no handler gets to see, because the call is refused. */
  readonly wipe?: (request: object) => void;
}

/** What every kind of call has. */
type AnyCall = EventEmitter &
  Pick<ServerUnaryCall<unknown, unknown>, 'cancelled' | 'getDeadline' | 'getPeer' | 'metadata'>;

const SHUTTING_DOWN = new SignetError('UNAVAILABLE', 'the daemon is shutting down');
/** One reason for all: making an exception costs more than the rest of the call. */
const GONE = new SignetError('CANCELLED', 'the call was cancelled');

/** Of one call. The abort signal is made only if somebody asks for it: most signatures never do. */
export class CallContext implements SignContext {
  readonly caller: string;
  readonly client: string;
  readonly deadline: number;
  /** The connection, as grpc-js names it. */
  readonly peer: string;
  readonly metadata: Metadata;
  /** Set by services whose callers can be asked. */
  interaction: CallInteraction | undefined;
  cancelled = false;
  #controller: AbortController | undefined;

  constructor(call: {
    readonly peer: Peer;
    readonly address: string;
    readonly deadline: number;
    readonly metadata: Metadata;
  }) {
    this.caller = call.peer.name;
    this.client = call.peer.client;
    this.deadline = call.deadline;
    this.peer = call.address;
    this.metadata = call.metadata;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.cancelled) this.#controller.abort(GONE);
    }
    return this.#controller.signal;
  }

  abort(): void {
    this.cancelled = true;
    this.#controller?.abort(GONE);
  }
}

const STATUS_NAMES = new Map<number, GrpcStatusName>(
  Object.entries(GRPC_STATUS).map(([name, code]) => [code, name as GrpcStatusName]),
);

/** What is known of one method, worked out once. */
interface Method {
  readonly name: string;
  readonly metrics: MethodMetrics;
  readonly options: MethodOptions;
}

/** What a client did wrong; whoever fails on our side tells the log itself. */
const CLIENTS_FAULT: ReadonlySet<ErrorCode> = new Set([
  'INVALID_ARGUMENT',
  'KEY_NOT_FOUND',
  'KEY_EXISTS',
  'UNSUPPORTED',
]);
/** Refusals are logged, but nobody can fill the log with them. */
const REFUSALS_PER_SECOND = 20;

/** A call that was let in: answered once, whoever is first. */
interface OpenCall {
  readonly method: Method;
  readonly call: AnyCall;
  readonly context: CallContext;
  readonly startedAt: number;
  /** Of the last sign of life: the beginning, or an item that the client took or sent. */
  progressAt: number;
  /** From there on, milliseconds. */
  readonly limitMs: number;
  readonly fail: (status: Status) => void;
  isAnswered: boolean;
}

/** How often calls are looked through for one that took too long: a part of the time-out, at most this, milliseconds. */
const SWEEP_MS = 250;

export class Calls implements Disposable {
  readonly #limits: CallLimits;
  readonly #metrics: Metrics;
  readonly #peers: Peers;
  readonly #log: Logger;
  /** By time limit, and in the order of their last progress: the first are the first to be late. */
  readonly #unanswered = new Map<number, Set<OpenCall>>();
  readonly #sweeper: NodeJS.Timeout;
  readonly #refused: (fields: object, text: string) => void;
  readonly #slots: CallSlots;
  #draining = false;
  #whenIdle: (() => void) | undefined;
  #lastActivity = performance.now();

  constructor(options: { limits: CallLimits; metrics: Metrics; peers: Peers; log: Logger }) {
    this.#limits = options.limits;
    this.#slots = new CallSlots(options.limits.maxConcurrentCalls);
    this.#metrics = options.metrics;
    this.#peers = options.peers;
    this.#log = options.log;
    this.#refused = atMost(REFUSALS_PER_SECOND, (fields, text) => this.#log.warn(fields, text));
    // One timer for all calls: one for each would be set and cleared for every signature.
    this.#sweeper = setInterval(() => this.#sweep(), Math.min(SWEEP_MS, options.limits.callTimeoutMs / 4));
    this.#sweeper.unref();
  }

  get inFlight(): number {
    return this.#slots.inUse;
  }

  /** Milliseconds since the last call ended; 0 while one is being answered. */
  get idleMs(): number {
    return this.inFlight > 0 ? 0 : performance.now() - this.#lastActivity;
  }

  /** Refuses new calls from now on. @returns When those in flight have been answered. */
  async drain(): Promise<void> {
    this.#draining = true;
    if (this.inFlight === 0) return;
    await new Promise<void>((resolve) => {
      this.#whenIdle = resolve;
    });
  }

  /** Answers whatever is still open: those who wait are told, rather than cut off. */
  abandon(): void {
    for (const open of [...this.#unanswered.values()].flatMap((calls) => [...calls])) {
      open.context.abort();
      if (this.#answer(open, 'UNAVAILABLE')) open.fail(statusFor(open.method, SHUTTING_DOWN));
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#sweeper);
  }

  /**
   * A gRPC handler for a unary method.
   *
   * @param name Of the method, for metrics and the log.
   */
  unary<Request, Response>(
    name: string,
    handler: (request: Request, context: CallContext) => Promise<Response>,
    options: MethodOptions = {},
  ): handleUnaryCall<Request, Response> {
    const method = { name, options, metrics: this.#metrics.method(name) };
    return (call, callback) => {
      const open = this.#open(method, call, (status) => callback(status, null));
      if (open === undefined) return;
      handler(call.request, open.context).then(
        (response) => {
          if (this.#answer(open, 'OK')) callback(null, response);
          this.#close(open);
        },
        (thrown: unknown) => this.#failed(open, thrown),
      );
    };
  }

  /** A gRPC handler for a method that answers with a stream; its writes wait for the client. */
  serverStream<Request, Item>(
    name: string,
    handler: (request: Request, context: CallContext) => AsyncIterable<Item>,
    options: MethodOptions = {},
  ): (call: ServerWritableStream<Request, Item>) => void {
    const method = { name, options, metrics: this.#metrics.method(name) };
    return (call) => {
      const open = this.#open(method, call, (status) => call.emit('error', status));
      if (open === undefined) return;
      const send = async () => {
        for await (const item of handler(call.request, open.context)) {
          if (open.isAnswered) return;
          if (!call.write(item)) await drained(call, open.context.signal);
          this.#progressed(open);
        }
      };
      send().then(
        () => {
          if (this.#answer(open, 'OK')) call.end();
          this.#close(open);
        },
        (thrown: unknown) => this.#failed(open, thrown),
      );
    };
  }

  /** A gRPC handler for a method whose request is a stream, read as fast as `handler` takes it. */
  clientStream<Item, Response>(
    name: string,
    handler: (items: AsyncIterable<Item>, context: CallContext) => Promise<Response>,
    options: MethodOptions = {},
  ): handleClientStreamingCall<Item, Response> {
    const method = { name, options, metrics: this.#metrics.method(name) };
    return (call, callback) => {
      const open = this.#open(method, call, (status) => callback(status, null));
      if (open === undefined) return;
      // Without a listener, a message that cannot be decoded would end the process.
      call.on('error', () => open.context.abort());
      handler(this.#items(call, open), open.context).then(
        (response) => {
          if (this.#answer(open, 'OK')) callback(null, response);
          this.#close(open);
        },
        (thrown: unknown) => this.#failed(open, thrown),
      );
    };
  }

  async *#items<Item>(call: ServerReadableStream<Item, unknown>, open: OpenCall): AsyncIterable<Item> {
    try {
      // It is a duplex stream, whatever its type says: destroyed after the last item, it could not answer.
      for await (const item of call.iterator({ destroyOnReturn: false })) {
        this.#progressed(open);
        yield item as Item;
      }
    } catch (error) {
      throw open.context.cancelled ? GONE : error;
    }
  }

  #open(method: Method, call: AnyCall, fail: (status: Status) => void): OpenCall | undefined {
    method.metrics.started();
    const address = call.getPeer();
    const peer = this.#peers.find(address);
    const refusal = method.options.always ? undefined : this.#refusal(peer.client);
    if (refusal !== undefined) {
      const status = statusFor(method, refusal);
      this.#refused({ method: method.name, code: refusal.code, error: refusal.message }, 'call refused');
      fail(status);
      if ('request' in call) method.options.wipe?.(call.request as object);
      method.metrics.ended(nameOf(status), 0);
      return undefined;
    }
    this.#slots.take(peer.client);
    const limitMs = Math.max(method.options.patienceMs?.(call.metadata) ?? 0, this.#limits.callTimeoutMs);
    const deadline = Math.min(Number(call.getDeadline()), Date.now() + limitMs);
    const { metadata } = call;
    const context = new CallContext({ peer, address, deadline, metadata });
    const startedAt = performance.now();
    const times = { startedAt, progressAt: startedAt, limitMs };
    const open: OpenCall = { method, call, context, ...times, fail, isAnswered: false };
    this.#alike(open).add(open);
    // grpc-js emits this at the end of every call, also of an answered one.
    call.on('cancelled', () => {
      if (!open.isAnswered) context.abort();
      this.#answer(open, 'CANCELLED');
    });
    return open;
  }

  /** A long listing may take longer than the time-out, as long as it gets on. */
  #progressed(open: OpenCall): void {
    if (open.isAnswered) return;
    open.progressAt = performance.now();
    this.#alike(open).delete(open);
    this.#alike(open).add(open);
  }

  /** Unanswered calls with the same time limit: there are two or three limits. */
  #alike({ limitMs }: OpenCall): Set<OpenCall> {
    const known = this.#unanswered.get(limitMs);
    if (known !== undefined) return known;
    const calls = new Set<OpenCall>();
    this.#unanswered.set(limitMs, calls);
    return calls;
  }

  /** Takes the right to answer. @returns False if the call was answered before, or its caller has gone. */
  #answer(open: OpenCall, code: GrpcStatusName): boolean {
    if (open.isAnswered) return false;
    open.isAnswered = true;
    this.#alike(open).delete(open);
    const isGone = open.call.cancelled;
    open.method.metrics.ended(isGone ? 'CANCELLED' : code, performance.now() - open.startedAt);
    return !isGone;
  }

  #failed(open: OpenCall, thrown: unknown): void {
    const { method, context, fail } = open;
    try {
      const error = thrown instanceof CallFailure ? (thrown.cause as SignetError) : toSignetError(thrown);
      if (error.code === 'INTERNAL') {
        this.#log.error(
          { method: method.name, caller: context.caller, ...describeError(error, this.#log) },
          'call failed',
        );
      }
      // Without the message: it may repeat what the client sent.
      const refusal = { method: method.name, caller: context.caller, code: error.code };
      if (CLIENTS_FAULT.has(error.code)) this.#refused(refusal, 'call refused');
      const status = thrown instanceof CallFailure ? thrown.status : statusFor(method, error);
      if (this.#answer(open, nameOf(status))) fail(status);
    } finally {
      this.#close(open);
    }
  }

  /** A slot is given back when the work has really ended, not when the caller stopped waiting. */
  #close({ context }: OpenCall): void {
    this.#slots.giveBack(context.client);
    this.#lastActivity = performance.now();
    if (this.inFlight === 0) this.#whenIdle?.();
  }

  #sweep(): void {
    const now = performance.now();
    for (const [limitMs, calls] of this.#unanswered) {
      for (const open of calls) {
        if (now - open.progressAt < limitMs) break;
        const { method, context, fail } = open;
        this.#log.warn({ method: method.name, caller: context.caller, timeoutMs: limitMs }, 'call timed out');
        context.abort();
        const error = new SignetError('DEADLINE_EXCEEDED', `${method.name} took longer than ${limitMs} ms`);
        if (this.#answer(open, 'DEADLINE_EXCEEDED')) fail(statusFor(method, error));
      }
    }
  }

  #refusal(client: string): SignetError | undefined {
    return this.#draining ? SHUTTING_DOWN : this.#slots.refusal(client);
  }
}

const statusFor = ({ options: { toStatus = statusOf } }: Method, error: SignetError): Status => toStatus(error);

function nameOf(status: Status): GrpcStatusName {
  return STATUS_NAMES.get(status.code) ?? 'UNKNOWN';
}

async function drained(call: ServerWritableStream<unknown, unknown>, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = () => {
      call.off('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    call.once('drain', done);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}
