/** Contexts that homes make out of the caller's. */
import { Metadata } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import type { SignContext } from '../../../src/backends/backend.ts';
import { throwIfCancelled } from '../../../src/backends/cancellation.ts';
import { derivedContext } from '../../../src/backends/derived-context.ts';
import { boundTo } from '../../../src/backends/same-token.ts';
import { withInteraction } from '../../../src/backends/yubikey/with-interaction.ts';
import { CallContext } from '../../../src/daemon/calls.ts';
import { NOBODY } from '../../support/interaction.ts';

const TOKEN = { label: 'ci', serial: '0001' };

function call(): CallContext {
  const peer = { name: 'uid 1000, pid 7', client: 'uid 1000' };
  return new CallContext({ peer, address: 'unix:0', deadline: 1234, metadata: new Metadata() });
}

describe('a context that was derived from that of a call', () => {
  const makers: readonly (readonly [string, (context: SignContext) => SignContext])[] = [
    ['with another person', (context) => derivedContext(context, { interaction: NOBODY })],
    ['with other questions', (context) => withInteraction(derivedContext(context, { interaction: NOBODY }), {})],
    ['for one token', (context) => boundTo(TOKEN, context)],
  ];

  it.each(makers)('%s is about the same caller, who may go away', (_, derive) => {
    const context = call();
    const derived = derive(context);
    const { caller, client, deadline, cancelled } = derived;
    expect({ caller, client, deadline, cancelled }).toEqual({
      caller: 'uid 1000, pid 7',
      client: 'uid 1000',
      deadline: 1234,
      cancelled: false,
    });
    expect(derived.signal?.aborted).toBe(false);
    context.abort();
    expect(derived.signal?.aborted).toBe(true);
    expect(() => throwIfCancelled(derived)).toThrow('the call was cancelled');
  });

  it('stays with its token', () => {
    const bound = boundTo(TOKEN, call());
    expect(withInteraction(derivedContext(bound, { interaction: NOBODY }), {}).token).toEqual(TOKEN);
    expect(boundTo({ ...TOKEN }, bound).token).toEqual(TOKEN);
    for (const other of [
      { label: 'ci', serial: '0002' },
      { label: 'prod', serial: '0001' },
    ]) {
      expect(() => boundTo(other, bound)).toThrow(
        `the operation began with token "ci" (serial number 0001), and now token "${other.label}" (serial number ${other.serial}) is there`,
      );
    }
  });
});
