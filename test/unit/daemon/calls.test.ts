import { EventEmitter } from 'node:events';
import type { ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type CallContext, CallFailure, Calls } from '../../../src/daemon/calls.ts';
import { Metrics } from '../../../src/daemon/metrics.ts';
import { Peers } from '../../../src/daemon/peer.ts';
import { fullStatusOf } from '../../../src/daemon/status.ts';
import { SignetError } from '../../../src/errors.ts';

interface Answer {
  readonly code: number;
  readonly details?: string;
  readonly value?: unknown;
}

/** What grpc-js hands to a handler, as far as `Calls` looks at it. */
class FakeCall extends EventEmitter {
  readonly request: string;
  readonly peer: string;
  cancelled = false;
  readonly written: unknown[] = [];
  ended = false;
  isFull = false;

  constructor(request = '', peer = 'peer') {
    super();
    this.request = request;
    this.peer = peer;
  }
  getDeadline(): number {
    return Number.POSITIVE_INFINITY;
  }
  getPeer(): string {
    return this.peer;
  }
  cancel(): void {
    this.cancelled = true;
    this.emit('cancelled', 'cancelled');
  }
  write(item: unknown): boolean {
    this.written.push(item);
    return !this.isFull;
  }
  end(): void {
    this.ended = true;
  }
}

let lines: Record<string, unknown>[];
let metrics: Metrics;
let calls: Calls;

beforeEach(() => {
  vi.useFakeTimers();
  lines = [];
  metrics = new Metrics();
  const log = pino({ level: 'debug' }, { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) });
  calls = new Calls({ limits: { maxConcurrentCalls: 2, callTimeoutMs: 1000 }, metrics, peers: new Peers(), log });
});
afterEach(() => vi.useRealTimers());

/** Work that ends when the test says so. */
function pending() {
  let resolve: (value: string) => void = () => undefined;
  let reject: (error: unknown) => void = () => undefined;
  const promise = new Promise<string>((...settlers) => {
    [resolve, reject] = settlers;
  });
  return { promise, resolve, reject };
}

type Handler = (request: string, context: CallContext) => Promise<unknown>;

function start(handler: Handler, options: Parameters<Calls['unary']>[2] = {}, peer?: string) {
  const call = new FakeCall('request', peer);
  const answers: Answer[] = [];
  const serve = calls.unary<string, unknown>('Method', handler, options);
  serve(call as unknown as ServerUnaryCall<string, unknown>, (error, value) => {
    if (error !== null) answers.push({ code: (error as Answer).code, details: (error as Answer).details ?? '' });
    else answers.push({ code: 0, value });
  });
  return { call, answers };
}
const settle = () => vi.advanceTimersByTimeAsync(0);

async function counted(): Promise<Record<string, number>> {
  const { values } = (await metrics.registry.getSingleMetric('signet_grpc_calls_total')?.get()) ?? { values: [] };
  return Object.fromEntries(values.map(({ labels, value }) => [String(labels['code']), value]));
}

describe('a call', () => {
  it('is answered with what the handler gives', async () => {
    const { answers } = start(async (request, context) => `${request} of ${context.caller}`);
    await settle();
    expect(answers).toEqual([{ code: 0, value: 'request of peer' }]);
    expect([calls.inFlight, vi.getTimerCount()]).toEqual([0, 1]); // the one timer of all calls
  });

  it("is answered with the handler's error: code and fixed text, never the message", async () => {
    const { answers } = start(() => Promise.reject(new SignetError('UNAVAILABLE', 'db.internal is down')));
    await settle();
    expect(answers).toEqual([{ code: 14, details: 'the key storage is not available' }]);
    expect(lines).toEqual([]);
  });

  it('that its client got wrong is told in the log, with who and what, and not without end', async () => {
    for (let i = 0; i < 100; i++) {
      start(() => Promise.reject(new SignetError('INVALID_ARGUMENT', 'no such thing')));
      await settle();
    }
    expect(lines).toHaveLength(20);
    expect(lines[0]).toMatchObject({
      level: 40,
      method: 'Method',
      caller: 'peer',
      code: 'INVALID_ARGUMENT',
      msg: 'call refused',
    });
    expect(JSON.stringify(lines)).not.toContain('no such thing'); // it may repeat what the client sent
  });

  it("is answered in a service's own words where it has some", async () => {
    const error = new SignetError('KEY_NOT_FOUND', 'no key x');
    const { answers } = start(() => Promise.reject(new CallFailure(error, { code: 5, details: 'key x not found' })));
    const full = start(() => Promise.reject(error), { toStatus: fullStatusOf });
    await settle();
    expect(answers).toEqual([{ code: 5, details: 'key x not found' }]);
    expect(full.answers).toEqual([{ code: 5, details: 'no key x' }]);
  });

  it('that dies of a bug is INTERNAL to the client and told in the log', async () => {
    const { answers } = start(() => Promise.reject(new TypeError('x is not a function')));
    await settle();
    expect(answers).toEqual([{ code: 13, details: 'internal error' }]);
    expect(lines).toMatchObject([
      { level: 50, method: 'Method', caller: 'peer', code: 'INTERNAL', msg: 'call failed' },
    ]);
  });
});

describe('the limit of concurrent calls', () => {
  it('refuses what is above it, and nothing once a call has ended', async () => {
    const first = pending();
    const second = pending();
    start(() => first.promise);
    start(() => second.promise);
    const refused = start(async () => 'never');
    expect(refused.answers).toEqual([{ code: 8, details: 'too many calls' }]);
    first.resolve('done');
    await settle();
    const { answers } = start(async () => 'answered');
    await settle();
    expect(answers).toEqual([{ code: 0, value: 'answered' }]);
    second.resolve('done');
    await settle();
    expect(calls.inFlight).toBe(0);
  });

  it('is not used up by one client, whatever becomes of its calls', async () => {
    const limits = { maxConcurrentCalls: 16, callTimeoutMs: 1000 };
    const log = pino({ level: 'silent' });
    calls = new Calls({ limits, metrics: new Metrics(), peers: new Peers(), log });
    for (const end of ['resolve', 'reject', 'cancel'] as const) {
      const works = Array.from({ length: 14 }, () => {
        const work = pending();
        return { work, ...start(() => work.promise) };
      });
      const refused = start(async () => 'never');
      expect(refused.answers).toEqual([{ code: 8, details: 'too many calls' }]);
      const others = pending();
      const other = [1, 2].map(() => start(() => others.promise, {}, 'another'));
      expect(start(async () => 'never', {}, 'a third').answers).toEqual([{ code: 8, details: 'too many calls' }]);
      for (const { work, call } of works) {
        if (end === 'cancel') call.cancel();
        if (end === 'reject') work.reject(new SignetError('UNAVAILABLE', 'gone'));
        else work.resolve('done');
      }
      others.resolve('done');
      await settle();
      expect(other.map(({ answers }) => answers)).toEqual([[{ code: 0, value: 'done' }], [{ code: 0, value: 'done' }]]);
      expect(calls.inFlight).toBe(0);
    }
  });

  it('does not hold for health checks', async () => {
    const work = pending();
    start(() => work.promise);
    start(() => work.promise);
    const { answers } = start(async () => 'serving', { always: true });
    await settle();
    expect(answers).toEqual([{ code: 0, value: 'serving' }]);
    work.resolve('');
    await settle();
  });
});

describe('the time limit', () => {
  it('answers for the handler, tells it, and keeps its slot until it has really ended', async () => {
    const work = pending();
    let seen: CallContext | undefined;
    const { answers } = start((_request, context) => {
      seen = context;
      return work.promise;
    });
    const { signal } = seen ?? {};
    await vi.advanceTimersByTimeAsync(999);
    expect([answers, seen?.cancelled]).toEqual([[], false]);
    await vi.advanceTimersByTimeAsync(1);
    expect(answers).toEqual([{ code: 4, details: 'the call took too long' }]);
    expect([seen?.cancelled, signal?.aborted, seen?.signal.aborted, calls.inFlight]).toEqual([true, true, true, 1]);
    expect(lines).toMatchObject([{ level: 40, method: 'Method', timeoutMs: 1000, msg: 'call timed out' }]);
    work.resolve('too late');
    await settle();
    expect([answers.length, calls.inFlight]).toEqual([1, 0]);
    expect(await counted()).toEqual({ DEADLINE_EXCEEDED: 1 });
  });
});

describe('a caller who goes away', () => {
  it('is not answered, the handler is told, and the slot is held until the work ends', async () => {
    const work = pending();
    let seen: CallContext | undefined;
    const { answers, call } = start((_request, context) => {
      seen = context;
      return work.promise;
    });
    call.cancel();
    expect([seen?.cancelled, seen?.signal.aborted, calls.inFlight]).toEqual([true, true, 1]);
    work.reject(new SignetError('CANCELLED', 'the call was cancelled'));
    await settle();
    expect([answers, calls.inFlight, vi.getTimerCount()]).toEqual([[], 0, 1]);
    expect(await counted()).toEqual({ CANCELLED: 1 });
  });

  it('after the answer changes nothing: grpc-js says "cancelled" at the end of every call', async () => {
    let seen: CallContext | undefined;
    const { call, answers } = start(async (_request, context) => {
      seen = context;
      return 'done';
    });
    await settle();
    call.emit('cancelled', 'cancelled');
    expect([answers.length, seen?.cancelled]).toEqual([1, false]);
    expect(await counted()).toEqual({ OK: 1 });
  });
});

describe('draining', () => {
  it('refuses new calls, answers those in flight, and ends with the last of them', async () => {
    const work = pending();
    const { answers } = start(() => work.promise);
    let isDrained = false;
    const drained = calls.drain().then(() => {
      isDrained = true;
    });
    const late = start(async () => 'never');
    expect(late.answers).toEqual([{ code: 14, details: 'the key storage is not available' }]);
    await settle();
    expect(isDrained).toBe(false);
    work.resolve('done');
    await drained;
    expect(answers).toEqual([{ code: 0, value: 'done' }]);
    expect(await counted()).toEqual({ OK: 1, UNAVAILABLE: 1 });
  });

  it('waits for abandoned work too: it may still be writing', async () => {
    const work = pending();
    const { call } = start(() => work.promise);
    call.cancel();
    let isDrained = false;
    const drained = calls.drain().then(() => {
      isDrained = true;
    });
    await settle();
    expect(isDrained).toBe(false);
    work.resolve('');
    await drained;
  });

  it('ends at once when nothing is in flight, and health checks are still answered', async () => {
    await calls.drain();
    const { answers } = start(async () => 'not serving', { always: true });
    await settle();
    expect(answers).toEqual([{ code: 0, value: 'not serving' }]);
  });
});

describe('idle time', () => {
  it('is counted from the end of the last call, and is none during one', async () => {
    const work = pending();
    await vi.advanceTimersByTimeAsync(300);
    expect(calls.idleMs).toBe(300);
    start(() => work.promise);
    await vi.advanceTimersByTimeAsync(500);
    expect(calls.idleMs).toBe(0);
    work.resolve('');
    await settle();
    await vi.advanceTimersByTimeAsync(200);
    expect(calls.idleMs).toBe(200);
  });
});

describe('a stream', () => {
  function stream(handler: (context: CallContext) => AsyncIterable<number>, prepare?: (call: FakeCall) => void) {
    const call = new FakeCall();
    const errors: Answer[] = [];
    call.on('error', ({ code, details }: Answer) => errors.push({ code, details: details ?? '' }));
    prepare?.(call);
    const serve = calls.serverStream<string, number>('List', (_request, context) => handler(context));
    serve(call as unknown as ServerWritableStream<string, number>);
    return { call, errors };
  }
  async function* numbers(count: number, onEnd?: () => void) {
    try {
      for (let number = 0; number < count; number++) yield number;
    } finally {
      onEnd?.();
    }
  }

  it('sends every item and ends', async () => {
    const { call, errors } = stream(() => numbers(3));
    await settle();
    expect([call.written, call.ended, errors, calls.inFlight]).toEqual([[0, 1, 2], true, [], 0]);
  });

  it('that fails on its way ends with the status', async () => {
    const { call, errors } = stream(async function* () {
      yield 1;
      throw new SignetError('UNAVAILABLE', 'gone');
    });
    await settle();
    expect([call.written, call.ended, errors]).toEqual([
      [1],
      false,
      [{ code: 14, details: 'the key storage is not available' }],
    ]);
  });

  it('is not late as long as it gets on', async () => {
    async function* slow() {
      for (let item = 0; item < 5; item++) {
        await new Promise((resolve) => {
          setTimeout(resolve, 900);
        });
        yield item;
      }
    }
    const { call, errors } = stream(slow);
    for (let i = 0; i < 50; i++) await vi.advanceTimersByTimeAsync(100);
    expect([call.written, call.ended, errors]).toEqual([[0, 1, 2, 3, 4], true, []]);
  });

  it('waits for a client that does not read', async () => {
    const { call } = stream(
      () => numbers(3),
      (made) => {
        made.isFull = true;
      },
    );
    await settle();
    expect(call.written).toEqual([0]);
    call.emit('drain');
    await settle();
    expect(call.written).toEqual([0, 1]);
    call.isFull = false;
    call.emit('drain');
    await settle();
    expect([call.written, call.ended]).toEqual([[0, 1, 2], true]);
  });

  it.each(['cancelled', 'timed out'])('%s while the client does not read stops its source', async (ending) => {
    const onEnd = vi.fn();
    const { call, errors } = stream(
      () => numbers(3, onEnd),
      (made) => {
        made.isFull = true;
      },
    );
    await settle();
    if (ending === 'cancelled') call.cancel();
    else await vi.advanceTimersByTimeAsync(1000);
    await settle();
    expect(onEnd).toHaveBeenCalledOnce();
    expect([call.written, call.ended, calls.inFlight, errors.length]).toEqual([
      [0],
      false,
      0,
      Number(ending === 'timed out'),
    ]);
    expect(call.listenerCount('drain')).toBe(0);
  });
});

describe('a call with a longer limit', () => {
  it('ends at that one, and holds no other up', async () => {
    const patient = start(() => pending().promise, { patienceMs: () => 5000 });
    const usual = start(() => pending().promise, { patienceMs: () => 0 });
    await vi.advanceTimersByTimeAsync(2000);
    expect([patient.answers.length, usual.answers]).toEqual([0, [{ code: 4, details: 'the call took too long' }]]);
    await vi.advanceTimersByTimeAsync(4000);
    expect(patient.answers).toEqual([{ code: 4, details: 'the call took too long' }]);
  });

  it('is told at the end of the daemon as well', async () => {
    const { answers } = start(() => pending().promise, { patienceMs: () => 5000 });
    await settle();
    calls.abandon();
    expect(answers).toMatchObject([{ code: 14 }]);
  });
});
