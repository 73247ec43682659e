/** Whatever a client sends, signetd lives, answers others, keeps its memory, and logs nothing of it. */
import { connect } from 'node:net';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { GRPC_STATUS } from '../../src/errors.ts';
import { waitFor } from '../support/conditions.ts';
import { type Answer, type Door, GrpcConnection } from '../support/grpc-connection.ts';
import { startVictim, type Victim } from '../support/hostile-daemon.ts';
import { ABUSES, type Abuse, MARKER, rapidReset, STOPPING } from '../support/hostile-http2.ts';
import { AGENT_METHODS, CORPUS, FRAMINGS, hostileMessage, SERVER_METHODS } from '../support/hostile-messages.ts';
import { FRAME, PREFACE, RawConnection } from '../support/http2-frames.ts';
import { HEALTH_CHECK } from '../support/signer-messages.ts';

const WATCH = '/grpc.health.v1.Health/Watch';
/** The last round opens more than 80 000 streams: a leak of half a kilobyte each shows. */
const LEAK_BYTES = 40 * 1000 * 1000;

let victim: Victim;
let descriptorsAtFirst: number;
beforeAll(async () => {
  victim = await startVictim({ drain_timeout: '2s' });
  for (const door of [victim.tls, victim.agent]) await victim.signs(door);
  descriptorsAtFirst = await victim.descriptors();
});
afterAll(() => victim[Symbol.asyncDispose]());

const DOORS = ['TLS', 'the agent socket'] as const;
const doorOf = (name: (typeof DOORS)[number]): Door => (name === 'TLS' ? victim.tls : victim.agent);

/** True unless the daemon has ended. */
const lives = () => Promise.race([victim.program.ended.then(() => false), Promise.resolve(true)]);

describe.each(DOORS)('over %s', (name) => {
  let connection: GrpcConnection;
  beforeAll(async () => {
    connection = await GrpcConnection.open(doorOf(name));
  });
  afterAll(() => connection[Symbol.asyncDispose]());
  afterEach(async () => {
    expect(await lives()).toBe(true);
    await victim.signs(doorOf(name));
  });

  const methods = [...SERVER_METHODS, ...(name === 'TLS' ? [] : AGENT_METHODS)];

  /** A watch that was begun has no end of its own. */
  const ask = (method: string, message: Uint8Array) =>
    connection.call(method, message, { untilMessage: method === WATCH });

  describe.each(methods)('%s', (method) => {
    test('answers every message of the corpus with a clear status', async () => {
      for (const [what, message] of CORPUS) {
        expect({ what, ...judged(method, await ask(method, message)) }).toEqual({ what, clear: true });
      }
    });

    test('answers every generated message with a clear status', async () => {
      await fc.assert(
        fc.asyncProperty(hostileMessage, async (message) => {
          expect(judged(method, await ask(method, message))).toEqual({ clear: true });
        }),
        { numRuns: 100, interruptAfterTimeLimit: 2000 },
      );
    });
  });

  test.each(FRAMINGS)('answers $name', async ({ body, headers = {}, statuses }) => {
    expect(statuses).toContain((await connection.send(HEALTH_CHECK, body, { headers })).status);
  });

  test.each(ABUSES)('withstands $name', async (abuse) => {
    expect(await abused(doorOf(name), abuse)).toBe(true);
  });
});

/** @returns `{clear: true}`, or what is wrong with the answer */
function judged(method: string, { status, message, resetCode }: Answer): object {
  if (method === WATCH && status === undefined) return { clear: true };
  const unclear = { status, message, resetCode };
  switch (status) {
    case undefined:
    case GRPC_STATUS.UNAVAILABLE:
    case GRPC_STATUS.DEADLINE_EXCEEDED:
      return unclear;
    case GRPC_STATUS.UNKNOWN: // notary-signer's code for an unknown algorithm
      return message.endsWith('not supported for create key') ? { clear: true } : unclear;
    case GRPC_STATUS.INTERNAL:
      return message === 'Error deserializing request' ? { clear: true } : unclear;
    default:
      return { clear: true };
  }
}

/** Does it and looks at what becomes of the connection. @returns Whether the outcome is the expected one */
async function abused(door: Door, { run, outcome }: Abuse): Promise<boolean> {
  using connection = await RawConnection.open(door);
  await run(connection);
  switch (outcome) {
    case 'ends the connection':
      return await connection.ends(2000);
    case 'refuses the stream': {
      const refusal = await connection.find(
        ({ type, flags }) => type === FRAME.RST_STREAM || (type === FRAME.HEADERS && (flags & 1) === 1),
        2000,
      );
      return refusal !== undefined && !connection.isClosed;
    }
    case 'goes on':
      return await answersPing(connection);
    case 'stays well':
      return true;
  }
}

async function answersPing(connection: RawConnection): Promise<boolean> {
  const payload = Buffer.from('are you?');
  await connection.write(Buffer.concat([Buffer.from('000008060000000000', 'hex'), payload]));
  const isPong = (frame: { type: number; payload: Buffer }) =>
    frame.type === FRAME.PING && frame.payload.equals(payload);
  return (await connection.find(isPong, 2000)) !== undefined;
}

test('connections that never finish their TLS handshake, or stop in the middle, keep nobody out', async () => {
  const { port } = victim;
  const sockets = Array.from({ length: 200 }, (_, index) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.on('error', () => undefined);
    if (index % 2 === 0) socket.write(Buffer.from('160301020001', 'hex'));
    return socket;
  });
  const open: RawConnection[] = [];
  for (let round = 0; round < 10; round++) {
    for (const { run } of STOPPING) {
      const connection = await RawConnection.open(victim.tls);
      open.push(connection);
      await run(connection);
    }
  }
  await victim.signs(victim.tls);
  await victim.signs(victim.agent);
  for (const socket of sockets) socket.destroy();
  for (const connection of open) connection[Symbol.dispose]();
  expect(await lives()).toBe(true);
});

test('a second round of everything takes no more memory and no more descriptors', async () => {
  /** Connections that the HTTP/2 library has given up are found by their silence, within 30 s. */
  const settled = async () => {
    const areClosed = async () => (await victim.descriptors()) <= descriptorsAtFirst;
    await waitFor('descriptors to be closed', areClosed, { timeoutMs: 40_000, intervalMs: 200 });
    await new Promise((resolve) => setTimeout(resolve, 1000)); // two collections of garbage
    return await victim.residentBytes();
  };
  const before = await settled();
  for (const door of [victim.tls, victim.agent]) {
    for (const abuse of ABUSES) await abused(door, { ...abuse, outcome: 'stays well' });
    for (const path of [HEALTH_CHECK, WATCH]) {
      for (let round = 0; round < 20; round++) await abused(door, rapidReset(1000, path));
    }
    await victim.signs(door);
  }
  expect((await settled()) - before).toBeLessThan(LEAK_BYTES);
});

test('Watch is still there for others', async () => {
  await using connection = await GrpcConnection.open(victim.tls);
  const answer = await connection.call(WATCH, Buffer.alloc(0), { untilMessage: true });
  expect(answer.messages).toEqual([Buffer.from([8, 1])]);
});

test('the log is JSON to the last line and holds nothing of what was sent', async () => {
  const lines = victim.program.stderr.split('\n').slice(0, -1);
  expect(lines.length).toBeGreaterThan(10);
  expect(lines.filter((line) => !isJsonObject(line))).toEqual([]);
  expect(lines.filter((line) => line.includes(MARKER))).toEqual([]);
});

function isJsonObject(line: string): boolean {
  try {
    return typeof JSON.parse(line) === 'object';
  } catch {
    return false;
  }
}

test('the daemon ends as it should, also with connections that never do', async () => {
  using open = await RawConnection.open(victim.tls);
  await open.write(PREFACE);
  expect((await victim.program.stop(15_000)).ending).toBe(0);
});
