import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import type { Calls } from '../../../src/daemon/calls.ts';
import { Health } from '../../../src/daemon/services/health.ts';
import { GRPC_STATUS } from '../../../src/errors.ts';
import { SERVING_STATUS } from '../../../src/rpc/messages.ts';

const MAX_WATCHES = 1024;

/** The server's side of one Watch call: what is sent on it. */
class FakeWatch extends EventEmitter {
  readonly request = { service: '' };
  readonly sent: unknown[] = [];
  hasEnded = false;
  write(message: unknown): void {
    this.sent.push(message);
  }
  end(): void {
    this.hasEnded = true;
  }
}

/** Opens a watch. @returns It, and the error it was refused with */
function watch(health: Health): { readonly call: FakeWatch; readonly refusal: () => unknown } {
  const calls = { unary: () => () => undefined } as unknown as Calls;
  const handler = health.service(calls)['Watch'] as unknown as (call: FakeWatch) => void;
  const call = new FakeWatch();
  let refusal: unknown;
  call.on('error', (error: unknown) => {
    refusal = error;
  });
  handler(call);
  return { call, refusal: () => refusal };
}

describe('watches', () => {
  it('are refused above 1024, until one ends', () => {
    const health = new Health();
    const open = Array.from({ length: MAX_WATCHES }, () => watch(health));
    expect(open.filter(({ refusal }) => refusal() !== undefined)).toEqual([]);
    const { call, refusal } = watch(health);
    expect(refusal()).toMatchObject({ code: GRPC_STATUS.RESOURCE_EXHAUSTED, details: 'too many calls' });
    expect(call.sent).toEqual([]);

    open[0]?.call.emit('cancelled');
    expect(watch(health).refusal()).toBeUndefined();
    expect(watch(health).refusal()).toMatchObject({ code: GRPC_STATUS.RESOURCE_EXHAUSTED });
  });

  it('that were refused hear nothing, all others every change', () => {
    const health = new Health();
    const open = Array.from({ length: MAX_WATCHES }, () => watch(health).call);
    const refused = watch(health).call;
    health.set(true);
    health.set(true);
    const expected = [{ status: SERVING_STATUS.NOT_SERVING }, { status: SERVING_STATUS.SERVING }];
    for (const call of open) expect(call.sent).toEqual(expected);
    expect(refused.sent).toEqual([]);
    health.close();
    expect(open.every((call) => call.hasEnded)).toBe(true);
  });
});
