/** Clients that are slow on purpose: each call ends in bounded time, and so does its stream. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { GRPC_STATUS } from '../../src/errors.ts';
import { type Answer, framed, GrpcConnection } from '../support/grpc-connection.ts';
import { startVictim, type Victim } from '../support/hostile-daemon.ts';
import { FLAG, FRAME, frame, grpcHeaders, headerBlock, PREFACE, RawConnection } from '../support/http2-frames.ts';
import { HEALTH_CHECK, SIGN } from '../support/signer-messages.ts';

const CALL_TIMEOUT_MS = 1000;
const WATCH = '/grpc.health.v1.Health/Watch';
const late = { status: GRPC_STATUS.DEADLINE_EXCEEDED, message: 'the request took too long', resetCode: 0 };

let victim: Victim;
let connection: GrpcConnection;
beforeAll(async () => {
  victim = await startVictim({ call_timeout: `${CALL_TIMEOUT_MS}ms` });
  connection = await GrpcConnection.open(victim.tls);
});
afterAll(async () => {
  await connection[Symbol.asyncDispose]();
  await victim[Symbol.asyncDispose]();
});

async function timed(call: Promise<Answer>): Promise<{ readonly answer: Answer; readonly elapsedMs: number }> {
  const startedAt = performance.now();
  const answer = await call;
  return { answer, elapsedMs: performance.now() - startedAt };
}

test.each([
  ['without a body', SIGN, Buffer.alloc(0)],
  ['with half a body', SIGN, framed(Buffer.alloc(100)).subarray(0, 50)],
  ['with a whole body that is not ended', HEALTH_CHECK, framed(Buffer.alloc(0))],
  ['of Watch without a body', WATCH, Buffer.alloc(0)],
])('a call %s ends with DEADLINE_EXCEEDED', async (_, path, body) => {
  const { answer, elapsedMs } = await timed(connection.send(path, body, { end: false }));
  expect(answer).toMatchObject(late);
  expect(elapsedMs).toBeGreaterThan(CALL_TIMEOUT_MS * 0.9);
  expect(await connection.call(HEALTH_CHECK, Buffer.alloc(0))).toMatchObject({ status: GRPC_STATUS.OK });
});

test('a stream whose answer is not taken is reset', async () => {
  using raw = await RawConnection.open(victim.agent);
  const noWindow = frame(FRAME.SETTINGS, 0, 0, Buffer.from('000400000000', 'hex'));
  const headers = frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, headerBlock(grpcHeaders(HEALTH_CHECK)));
  const body = frame(FRAME.DATA, FLAG.END_STREAM, 1, framed(Buffer.alloc(0)));
  await raw.write(PREFACE, noWindow, headers, body);
  const reset = await raw.find(({ type, streamId }) => type === FRAME.RST_STREAM && streamId === 1, 5000);
  expect(reset).toBeDefined();
  expect(raw.isOver).toBe(false);
});

test('a watch that was begun goes on', async () => {
  const stream = connection.session.request({ ':method': 'POST', ':path': WATCH, 'content-type': 'application/grpc' });
  stream.resume();
  stream.end(framed(Buffer.alloc(0)));
  await new Promise((resolve) => setTimeout(resolve, CALL_TIMEOUT_MS * 3));
  expect(stream.closed).toBe(false);
  stream.destroy();
});
