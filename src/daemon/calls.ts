/**
 * What every call passes: refused while draining, bounded in number and time, counted, its errors made into statuses.
 */
import type { handleUnaryCall, ServerUnaryCall, ServerWritableStream, sendUnaryData } from '@grpc/grpc-js';
import type { SignContext } from '../backends/backend.ts';
import { GRPC_STATUS, type GrpcStatusName, SignetError } from '../errors.ts';
import { describeError, type Logger } from './log.ts';
import type { Metrics } from './metrics.ts';
import type { Peers } from './peer.ts';
import { type Status, statusOf, toSignetError } from './status.ts';

export interface CallLimits {
  /** Calls being answered at once; more are refused with RESOURCE_EXHAUSTED. */
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
}

type AnyCall = ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>;

/** One reason for all: making an exception costs more than the rest of the call. */
const GONE = new SignetError('CANCELLED', 'the call was cancelled');

/** Of one call. The abort signal is made only if somebody asks for it: most signatures never do. */
export class CallContext implements SignContext {
  readonly caller: string;
  readonly deadline: number;
  #controller: AbortController | undefined;
  cancelled = false;

  constructor(caller: string, deadline: number) {
    this.caller = caller;
    this.deadline = deadline;
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

export class Calls {
  readonly #limits: CallLimits;
  readonly #metrics: Metrics;
  readonly #peers: Peers;
  readonly #log: Logger;
  #inFlight = 0;
  #draining = false;
  #whenIdle: (() => void) | undefined;
  #lastActivity = performance.now();

  constructor(options: { limits: CallLimits; metrics: Metrics; peers: Peers; log: Logger }) {
    this.#limits = options.limits;
    this.#metrics = options.metrics;
    this.#peers = options.peers;
    this.#log = options.log;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Milliseconds since the last call ended; 0 while one is being answered. */
  get idleMs(): number {
    return this.#inFlight > 0 ? 0 : performance.now() - this.#lastActivity;
  }

  /** Refuses new calls from now on. @returns When those in flight have been answered. */
  async drain(): Promise<void> {
    this.#draining = true;
    if (this.#inFlight === 0) return;
    await new Promise<void>((resolve) => {
      this.#whenIdle = resolve;
    });
  }

  /**
   * A gRPC handler for a unary method.
   *
   * @param method Its short name, for metrics and the log.
   */
  unary<Request, Response>(
    method: string,
    handler: (request: Request, context: CallContext) => Promise<Response>,
    options: MethodOptions = {},
  ): handleUnaryCall<Request, Response> {
    return (call, callback) => {
      const entered = this.#enter(method, call as AnyCall, (status) => callback(status, null), options);
      if (entered === undefined) return;
      this.#settle(method, handler(call.request, entered.context), callback, options, entered);
    };
  }

  /** A gRPC handler for a method that answers with a stream; its writes wait for the client. */
  serverStream<Request, Item>(
    method: string,
    handler: (request: Request, context: CallContext) => AsyncIterable<Item>,
    options: MethodOptions = {},
  ): (call: ServerWritableStream<Request, Item>) => void {
    return (call) => {
      const fail = (status: Status) => call.emit('error', status);
      const entered = this.#enter(method, call as unknown as AnyCall, fail, options);
      if (entered === undefined) return;
      const send = async () => {
        for await (const item of handler(call.request, entered.context)) {
          if (entered.finished()) return;
          if (!call.write(item)) await drained(call, entered.context.signal);
        }
      };
      const done: sendUnaryData<void> = (status) => {
        if (status === null) call.end();
        else fail(status as Status);
      };
      this.#settle(method, send(), done, options, entered);
    };
  }

  #enter(method: string, call: AnyCall, refuse: (status: Status) => void, options: MethodOptions): Entered | undefined {
    const startedAt = performance.now();
    this.#metrics.callStarted();
    const refusal = options.always ? undefined : this.#refusal();
    if (refusal !== undefined) {
      refuse(statusOf(refusal));
      this.#metrics.callEnded(method, refusal.code === 'OVERLOADED' ? 'RESOURCE_EXHAUSTED' : 'UNAVAILABLE', 0);
      return undefined;
    }
    this.#inFlight++;
    const { callTimeoutMs } = this.#limits;
    const clientDeadline = call.getDeadline();
    const context = new CallContext(
      this.#peers.nameOf(call.getPeer()),
      Math.min(Number(clientDeadline), Date.now() + callTimeoutMs),
    );
    let answered = false;
    const answer = (status: Status | null, send: () => void) => {
      if (answered) return;
      answered = true;
      clearTimeout(timer);
      if (!call.cancelled) send();
      const code = call.cancelled ? 'CANCELLED' : (STATUS_NAMES.get(status?.code ?? 0) ?? 'UNKNOWN');
      this.#metrics.callEnded(method, code, performance.now() - startedAt);
    };
    const timer = setTimeout(() => {
      const status = statusOf(new SignetError('DEADLINE_EXCEEDED', `${method} took longer than ${callTimeoutMs} ms`));
      this.#log.warn({ method, caller: context.caller, timeoutMs: callTimeoutMs }, 'call timed out');
      context.abort();
      answer(status, () => refuse(status));
    }, callTimeoutMs);
    // grpc-js emits this at the end of every call, also of an answered one.
    call.on('cancelled', () => {
      if (answered) return;
      context.abort();
      answer(null, () => undefined);
    });
    return { context, answer, finished: () => answered };
  }

  /** A slot is given back when the work has really ended, not when the caller stopped waiting. */
  #settle<Response>(
    method: string,
    work: Promise<Response>,
    callback: sendUnaryData<Response>,
    { toStatus = statusOf }: MethodOptions,
    { context, answer }: Entered,
  ): void {
    work
      .then(
        (response) => answer(null, () => callback(null, response)),
        (thrown: unknown) => {
          const error = thrown instanceof CallFailure ? (thrown.cause as SignetError) : toSignetError(thrown);
          if (error.code === 'INTERNAL') {
            this.#log.error({ method, caller: context.caller, ...describeError(error, this.#log) }, 'call failed');
          }
          const status = thrown instanceof CallFailure ? thrown.status : toStatus(error);
          answer(status, () => callback(status, null));
        },
      )
      .finally(() => {
        this.#inFlight--;
        this.#lastActivity = performance.now();
        if (this.#inFlight === 0) this.#whenIdle?.();
      })
      .catch((error: unknown) =>
        this.#log.error({ method, ...describeError(error, this.#log) }, 'cannot answer a call'),
      );
  }

  #refusal(): SignetError | undefined {
    if (this.#draining) return new SignetError('UNAVAILABLE', 'the daemon is shutting down');
    if (this.#inFlight >= this.#limits.maxConcurrentCalls) return new SignetError('OVERLOADED', 'too many calls');
    return undefined;
  }
}

interface Entered {
  readonly context: CallContext;
  /** Ends the call once; later answers go nowhere. */
  readonly answer: (status: Status | null, send: () => void) => void;
  readonly finished: () => boolean;
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
