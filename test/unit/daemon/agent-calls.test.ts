/** Secrets in requests: zeroed when the call is over, whatever became of it. */
import { EventEmitter } from 'node:events';
import { Metadata, type ServerUnaryCall, type ServerWritableStream } from '@grpc/grpc-js';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Calls } from '../../../src/daemon/calls.ts';
import { Interactions } from '../../../src/daemon/interactions.ts';
import { Metrics } from '../../../src/daemon/metrics.ts';
import { Peers } from '../../../src/daemon/peer.ts';
import { AgentCalls, type AgentHandler } from '../../../src/daemon/services/agent-calls.ts';
import { TrustDirectories } from '../../../src/daemon/trust-directories.ts';
import { SignetError } from '../../../src/errors.ts';
import { Keyring } from '../../../src/keyring/keyring.ts';
import { fakeBackend } from '../../support/fake-backend.ts';

const NAMES = ['passphrase', 'new_passphrase', 'secret', 'pkcs8'] as const;
type Request = Readonly<Record<(typeof NAMES)[number] | 'message', Buffer>>;

/** What grpc-js hands to a handler, as far as it is looked at. */
class FakeCall extends EventEmitter {
  readonly cancelled = false;
  readonly metadata = new Metadata();
  readonly request: Request = {
    passphrase: Buffer.from('one'),
    new_passphrase: Buffer.from('two'),
    secret: Buffer.from('three'),
    pkcs8: Buffer.from('four'),
    message: Buffer.from('no secret'),
  };

  getDeadline(): number {
    return Number.POSITIVE_INFINITY;
  }
  getPeer(): string {
    return 'peer';
  }
  write(): boolean {
    return true;
  }
  end(): void {
    this.emit('error', null);
  }
}

let calls: Calls;
let trustDirectories: TrustDirectories;
let agentCalls: AgentCalls;

beforeEach(() => {
  const log = pino({ level: 'silent' });
  calls = new Calls({
    limits: { maxConcurrentCalls: 10, callTimeoutMs: 1000 },
    metrics: new Metrics(),
    peers: new Peers(),
    log,
  });
  const storage = fakeBackend();
  const keyring = new Keyring({ backends: [storage], storage, placement: new Map() });
  trustDirectories = new TrustDirectories({
    keyring,
    placement: new Map(),
    uidOf: () => undefined,
    open: () => Promise.reject(new SignetError('UNSUPPORTED', 'no trust directories in this test')),
  });
  agentCalls = new AgentCalls({
    calls,
    interactions: new Interactions((peer) => peer),
    trustDirectories,
    record: () => undefined,
  });
});
afterEach(async () => {
  calls[Symbol.dispose]();
  await trustDirectories[Symbol.asyncDispose]();
});

/** @returns The status of the answer, null for none */
function unary(call: FakeCall, handler: AgentHandler<Request, object>): Promise<unknown> {
  return new Promise((resolve) => {
    agentCalls.unary('Test', handler)(call as unknown as ServerUnaryCall<Request, object>, resolve);
  });
}

function stream(call: FakeCall): Promise<unknown> {
  return new Promise((resolve) => {
    call.on('error', resolve);
    const method = agentCalls.serverStream('Test', async function* (_request: Request) {
      yield {};
    });
    method(call as unknown as ServerWritableStream<Request, object>);
  });
}

function expectWiped({ request: { message, ...secrets } }: FakeCall): void {
  for (const name of NAMES) expect(secrets[name]).toEqual(Buffer.alloc(secrets[name].length));
  expect(message.toString()).toBe('no secret');
}

it('a call sees the secrets, and leaves zeroes', async () => {
  let seen = '';
  const answered = new FakeCall();
  const status = await unary(answered, async ({ passphrase }) => {
    seen = passphrase.toString();
    return {};
  });
  expect([status, seen]).toEqual([null, 'one']);
  expectWiped(answered);
  const listed = new FakeCall();
  expect(await stream(listed)).toBeNull();
  expectWiped(listed);
});

it('a call that fails before its handler leaves zeroes', async () => {
  const call = new FakeCall();
  call.metadata.set('signet-interaction', 'none');
  expect(await unary(call, async () => ({}))).toMatchObject({
    details: 'no such interaction is open on this connection',
  });
  expectWiped(call);
});

it('a call that is refused leaves zeroes', async () => {
  await calls.drain();
  const call = new FakeCall();
  expect(await unary(call, async () => ({}))).toMatchObject({ details: 'the daemon is shutting down' });
  expectWiped(call);
  const listing = new FakeCall();
  expect(await stream(listing)).toMatchObject({ details: 'the daemon is shutting down' });
  expectWiped(listing);
});
