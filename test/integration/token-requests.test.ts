/** Who waits for a token, and in which order. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SignContext } from '../../src/backends/backend.ts';
import type { HostRequestInFlight } from '../../src/backends/pkcs11/host-request.ts';
import { type RequestServer, TokenRequests } from '../../src/backends/pkcs11/token-requests.ts';
import { SignetError } from '../../src/errors.ts';
import { waitFor } from '../support/conditions.ts';
import { AGREED, type FakeToken, fakeToken } from '../support/fake-token.ts';

let fake: FakeToken;

beforeEach(async () => {
  fake = await fakeToken();
});
afterEach(() => fake[Symbol.asyncDispose]());

async function open() {
  const backend = await fake.open({ pinFile: await fake.pinFile() });
  for await (const { keyId } of backend.list()) {
    const sign = async (context: SignContext): Promise<'ok' | SignetError> => {
      try {
        await backend.sign(keyId, AGREED, context);
        return 'ok';
      } catch (error) {
        if (error instanceof SignetError) return error;
        throw error;
      }
    };
    return { backend, sign };
  }
  throw new Error('the fake token has one key');
}

const codeOf = (outcome: 'ok' | SignetError) => (outcome === 'ok' ? 'ok' : outcome.code);
const signatures = async () => (await fake.log()).filter((line) => line === 'sign').length;

describe('requests to a slow token', () => {
  it('of several clients take turns, whoever came first with how many', async () => {
    const { sign } = await open();
    await fake.plan({ delayMs: 40 });
    const order: string[] = [];
    const from = (client: string) => sign({ caller: client }).then(() => order.push(client));
    const all = [...Array.from({ length: 12 }, () => from('flood')), from('a'), from('b'), from('a')];
    await Promise.all(all);
    // The flood's first was begun when nobody else was there.
    expect(order.slice(0, 6)).toEqual(['flood', 'a', 'b', 'flood', 'a', 'flood']);
  });

  it('take turns by client, not by call, where the caller says so', async () => {
    const { sign } = await open();
    await fake.plan({ delayMs: 40 });
    const order: string[] = [];
    const from = (caller: string, client: string) => sign({ caller, client }).then(() => order.push(caller));
    const flood = Array.from({ length: 6 }, (_, connection) => from(`flood ${connection}`, 'flood'));
    await Promise.all([...flood, from('quiet', 'quiet')]);
    expect(order.indexOf('quiet')).toBe(1);
  });

  it('leave when the deadline of their caller passes, whether begun or not', async () => {
    const { sign } = await open();
    await fake.plan({ delayMs: 1500 });
    const startedAt = Date.now();
    const deadline = startedAt + 100;
    const outcomes = Promise.all(Array.from({ length: 5 }, () => sign({ caller: 'hasty', deadline })));
    const patient = sign({ caller: 'patient', deadline: startedAt + 20_000 });
    for (const outcome of await outcomes) {
      expect(outcome).toMatchObject({
        code: 'DEADLINE_EXCEEDED',
        message: "pkcs11:token=fake did not answer before the caller's deadline",
      });
    }
    expect(await Promise.race([patient, 'still waiting'])).toBe('still waiting');
    expect(await patient).toBe('ok');
    expect(await signatures()).toBeLessThanOrEqual(2); // the first of the hasty ones may have begun
  });

  it('with a deadline in the past are not begun', async () => {
    const { sign } = await open();
    expect(await sign({ caller: 'late', deadline: Date.now() - 1 })).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(await signatures()).toBe(0);
  });

  it('leave when their caller goes: a thousand queued, nothing of them is signed', async () => {
    const { sign } = await open();
    await fake.plan({ delayMs: 3000 });
    const first = sign({ caller: 'first' });
    const callers = Array.from({ length: 1000 }, (_, number) => ({
      caller: `client ${number % 10}`,
      controller: new AbortController(),
    }));
    const queued = callers.map(({ caller, controller }) => sign({ caller, signal: controller.signal }));
    await waitFor('the first signature to begin', async () => (await signatures()) === 1);
    for (const { controller } of callers) controller.abort();
    expect(new Set((await Promise.all(queued)).map(codeOf))).toEqual(new Set(['CANCELLED']));
    expect(await first).toBe('ok');
    expect(await sign({ caller: 'next' })).toBe('ok');
    expect(await signatures()).toBe(2);
  });

  it('leave when their caller goes, also where that is told without a signal', async () => {
    const { sign } = await open();
    await fake.plan({ delayMs: 3000 });
    const first = sign({ caller: 'first' });
    const context = { caller: 'gone', cancelled: false };
    const queued = Array.from({ length: 20 }, () => sign(context));
    await waitFor('the first signature to begin', async () => (await signatures()) === 1);
    context.cancelled = true;
    const outcome = await Promise.race([first, ...queued]);
    expect(outcome).toMatchObject({ code: 'CANCELLED', message: 'the call was cancelled' });
    expect(new Set((await Promise.all(queued)).map(codeOf))).toEqual(new Set(['CANCELLED']));
    expect(await first).toBe('ok');
    expect(await signatures()).toBe(1);
  });

  it('are bounded for each client and for all, and those refused are told at once', async () => {
    const { backend, sign } = await open();
    await fake.plan({ sign: 'hang' });
    const flood = Array.from({ length: 1100 }, () => sign({ caller: 'flood' }));
    expect(await Promise.race(flood)).toMatchObject({
      code: 'OVERLOADED',
      message: 'too many requests wait for the token of pkcs11:token=fake',
    });
    const others = Array.from({ length: 3200 }, (_, number) => sign({ caller: `client ${number % 4}` }));
    await Promise.race(others);
    process.kill(backend.hostPid ?? 0, 'SIGKILL');
    const refused = (outcomes: readonly ('ok' | SignetError)[]) => {
      const codes = outcomes.map(codeOf);
      expect(new Set(codes)).toEqual(new Set(['OVERLOADED', 'UNAVAILABLE']));
      return codes.filter((code) => code === 'OVERLOADED').length;
    };
    const begun = 1;
    expect(refused(await Promise.all(flood))).toBe(1100 - 1024 - begun);
    expect(refused(await Promise.all(others))).toBe(3200 - (4096 - 1024));
  });

  it('do not hold up a login or a look at the token', async () => {
    const { backend, sign } = await open();
    await fake.plan({ delayMs: 60 });
    const flood = Array.from({ length: 20 }, () => sign({ caller: 'flood' }));
    await waitFor('the first signature to begin', async () => (await signatures()) > 0);
    expect(await backend.unlocker.lock()).toBe(1);
    expect(await signatures()).toBeLessThan(4);
    await Promise.all(flood);
  });

  it('that change the token are told their outcome once begun, also if nobody seems to wait', async () => {
    const { backend } = await open();
    await fake.plan({ delayMs: 200 });
    const controller = new AbortController();
    const context = { caller: 'gone', signal: controller.signal };
    const generating = backend.generator.generate({ algorithm: 'ecdsa', role: 'root', gun: '' }, context);
    await waitFor('the key to be made', async () => (await fake.log()).includes('generate'));
    controller.abort();
    expect(await generating).toMatchObject({ role: 'root' });
    await expect(
      backend.generator.generate({ algorithm: 'ecdsa', role: 'root', gun: '' }, context),
    ).rejects.toMatchObject({ code: 'CANCELLED' });
  });
});

describe('requests that wait for several hosts', () => {
  /** Has one request at a time, and answers it when it is told to. */
  class Server implements RequestServer {
    isOpen = true;
    readonly token = { label: 'a token', serial: '1' };
    readonly taken: HostRequestInFlight[] = [];
    readonly #requests: TokenRequests;

    constructor(requests: TokenRequests) {
      this.#requests = requests;
    }

    get load(): number {
      return this.taken.length;
    }

    pull(): void {
      const request = this.taken.length === 0 ? this.#requests.next(this) : undefined;
      if (request !== undefined) this.taken.push(request);
    }

    abandon(): void {}

    answer(): void {
      this.taken.pop()?.answer({ ok: true, value: null }, Buffer.alloc(0));
      this.pull();
    }
  }

  const GONE = new SignetError('UNAVAILABLE', 'the host ended');

  function twoServers() {
    const requests = new TokenRequests('a token');
    const [first, second] = [new Server(requests), new Server(requests)];
    second.isOpen = false;
    for (const server of [first, second]) requests.join(server);
    const answers = [1, 2, 3].map(() => requests.request('client', { op: 'state' }, { parse: () => 'answered' }));
    const outcomes = Promise.allSettled(answers).then((all) =>
      all.map((one) => (one.status === 'fulfilled' ? one.value.value : (one.reason as SignetError).code)),
    );
    return { requests, first, second, outcomes };
  }

  it('go to one that was opened meanwhile when the other ends', async () => {
    const { requests, first, second, outcomes } = twoServers();
    expect([first.load, second.load]).toEqual([1, 0]);
    second.isOpen = true;
    first.taken[0]?.fail(GONE);
    requests.leave(first, GONE);
    while (second.load > 0) second.answer();
    expect(await outcomes).toEqual(['UNAVAILABLE', 'answered', 'answered']);
    expect(requests.isBusy).toBe(false);
  });

  it('are told the end of the one that could have answered', async () => {
    const { requests, first, outcomes } = twoServers();
    first.taken[0]?.fail(GONE);
    requests.leave(first, GONE);
    expect(await outcomes).toEqual(['UNAVAILABLE', 'UNAVAILABLE', 'UNAVAILABLE']);
  });

  it('and are for one token are not given to a server of another one', async () => {
    const { requests, first } = twoServers();
    const token = { label: 'a token', serial: '2' };
    const answer = requests.request('client', { op: 'state' }, { parse: () => 'answered', token });
    while (first.load > 0) first.answer();
    await expect(answer).rejects.toMatchObject({
      code: 'TOKEN_NOT_PRESENT',
      message:
        'the operation began with token "a token" (serial number 2), and now token "a token" (serial number 1) is there',
    });
  });

  it('let who waits for their end know it', async () => {
    const { requests, first, outcomes } = twoServers();
    let isIdle = false;
    const idle = requests.idle(60_000).then(() => {
      isIdle = true;
    });
    first.answer();
    first.answer();
    await Promise.resolve();
    expect(isIdle).toBe(false);
    first.answer();
    await idle;
    expect(await outcomes).toEqual(['answered', 'answered', 'answered']);
    await requests.idle(60_000);
  });

  it('do not hold up who waits for their end for ever', async () => {
    const { requests, first } = twoServers();
    await requests.idle(1);
    expect(requests.isBusy).toBe(true);
    while (first.load > 0) first.answer();
  });
});
