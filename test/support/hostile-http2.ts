/** Abuse of HTTP/2 itself: each entry is done to one fresh connection. All of it is bounded in bytes and in count. */
import { framed } from './grpc-connection.ts';
import {
  FLAG,
  FRAME,
  frame,
  grpcHeaders,
  headerBlock,
  PREFACE,
  type RawConnection,
  streamIds,
  uint32,
} from './http2-frames.ts';
import { HEALTH_CHECK, SIGN } from './signer-messages.ts';

/** How the daemon may take it. */
export type Outcome =
  /** GOAWAY, or the connection is closed. */
  | 'ends the connection'
  /** RST_STREAM or a refusal of the stream; the connection goes on. */
  | 'refuses the stream'
  /** Nothing to complain about: the connection goes on. */
  | 'goes on'
  /** Any of these: it depends on timing, or on the version of the HTTP/2 library. */
  | 'stays well';

export interface Abuse {
  readonly name: string;
  readonly outcome: Outcome;
  run(connection: RawConnection): Promise<void>;
}

/** In every place where a request can hold text. Must never reach the log. */
export const MARKER = 'marker-of-hostile-content';

const REQUEST_END = FLAG.END_STREAM | FLAG.END_HEADERS;
const HEALTH_BODY = framed(Buffer.alloc(0));
const CANCEL = uint32(8); // RFC 9113 §7

const headers = (id: number, flags = FLAG.END_HEADERS as number, path = SIGN) =>
  frame(FRAME.HEADERS, flags, id, headerBlock(grpcHeaders(path)));
const changed = (path: string, fields: Readonly<Record<string, string | undefined>>) =>
  Buffer.concat([
    PREFACE,
    frame(FRAME.HEADERS, FLAG.END_HEADERS, 1, headerBlock(grpcHeaders(path, fields))),
    frame(FRAME.DATA, FLAG.END_STREAM, 1, HEALTH_BODY),
  ]);
const repeat = (count: number, part: Uint8Array) => Buffer.concat(Array.from({ length: count }, () => part));

function abuse(name: string, outcome: Outcome, ...parts: readonly Uint8Array[]): Abuse {
  return { name, outcome, run: (connection) => connection.write(...parts) };
}

/** Opens `count` streams and resets each at once, in writes of 500 so that the daemon's answers can come back. */
export function rapidReset(count: number, path: string): Abuse {
  return {
    name: `${count} streams of ${path}, reset at once`,
    outcome: 'stays well',
    run: async (connection) => {
      await connection.write(PREFACE);
      const ids = streamIds(count);
      for (let done = 0; done < count && !connection.isOver; done += 500) {
        const batch = ids.slice(done, done + 500);
        await connection.write(
          ...batch.flatMap((id) => [headers(id, FLAG.END_HEADERS, path), frame(FRAME.RST_STREAM, 0, id, CANCEL)]),
        );
      }
    },
  };
}

const BAD_STARTS: readonly Abuse[] = [
  abuse(
    'an HTTP/1.1 request',
    'ends the connection',
    Buffer.from(`GET /${MARKER} HTTP/1.1\r\nHost: localhost\r\n\r\n`),
  ),
  abuse(
    'a preface with one wrong byte',
    'ends the connection',
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\t'),
    frame(FRAME.SETTINGS, 0, 0),
  ),
  abuse('zeros instead of a preface', 'ends the connection', Buffer.alloc(4096)),
  abuse('a preface without SETTINGS', 'ends the connection', PREFACE.subarray(0, 24), headers(1)),
  abuse(
    'a frame longer than allowed',
    'ends the connection',
    PREFACE,
    frame(FRAME.DATA, 0, 1, Buffer.alloc(0), 0xff_ffff),
  ),
  abuse('SETTINGS of 5 bytes', 'ends the connection', PREFACE, frame(FRAME.SETTINGS, 0, 0, Buffer.alloc(5))),
  abuse('SETTINGS on a stream', 'ends the connection', PREFACE, frame(FRAME.SETTINGS, 0, 1)),
  abuse('frames of unknown types', 'goes on', PREFACE, repeat(1000, frame(0xee, 0xff, 0, Buffer.from(MARKER)))),
];

const STREAM_RULES: readonly Abuse[] = [
  abuse('an even stream ID', 'ends the connection', PREFACE, headers(2)),
  abuse('HEADERS on stream 0', 'ends the connection', PREFACE, headers(0)),
  abuse('DATA on a stream that was never opened', 'ends the connection', PREFACE, frame(FRAME.DATA, 0, 5, HEALTH_BODY)),
  abuse(
    'DATA after END_STREAM',
    'stays well',
    PREFACE,
    headers(1, REQUEST_END, HEALTH_CHECK),
    frame(FRAME.DATA, 0, 1, HEALTH_BODY),
  ),
  abuse('a stream ID that goes back', 'stays well', PREFACE, headers(5, REQUEST_END), headers(3, REQUEST_END)),
  abuse(
    'PUSH_PROMISE from a client',
    'ends the connection',
    PREFACE,
    headers(1),
    frame(FRAME.PUSH_PROMISE, 4, 1, uint32(2)),
  ),
  abuse(
    'padding longer than the frame',
    'ends the connection',
    PREFACE,
    headers(1),
    frame(FRAME.DATA, FLAG.PADDED, 1, Buffer.from([200, 0])),
  ),
  abuse('a window update of 0', 'stays well', PREFACE, headers(1), frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(0))),
  abuse(
    "a stream's window beyond 2^31 - 1",
    'stays well',
    PREFACE,
    headers(1),
    repeat(3, frame(FRAME.WINDOW_UPDATE, 0, 1, uint32(0x7fff_ffff))),
  ),
  abuse(
    "the connection's window beyond 2^31 - 1",
    'ends the connection',
    PREFACE,
    repeat(3, frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(0x7fff_ffff))),
  ),
  abuse(
    'a stream that depends on itself',
    'stays well',
    PREFACE,
    frame(
      FRAME.HEADERS,
      REQUEST_END | FLAG.PRIORITY,
      1,
      Buffer.concat([uint32(1), Buffer.from([1]), headerBlock(grpcHeaders(SIGN))]),
    ),
  ),
  abuse(
    'streams that depend on each other in a ring',
    'stays well',
    PREFACE,
    ...Array.from({ length: 2000 }, (_, index) =>
      frame(
        FRAME.PRIORITY,
        0,
        2 * index + 1,
        Buffer.concat([uint32(2 * ((index + 1) % 2000) + 1), Buffer.from([255])]),
      ),
    ),
  ),
  abuse(
    '2 000 streams on one connection, none with a body',
    'stays well',
    PREFACE,
    ...streamIds(2000).map((id) => headers(id)),
  ),
];

const BAD_HEADERS: readonly Abuse[] = [
  abuse(
    'a header block of garbage',
    'ends the connection',
    PREFACE,
    frame(FRAME.HEADERS, REQUEST_END, 1, Buffer.alloc(64, 0xff)),
  ),
  abuse(
    'an index beyond the header tables',
    'ends the connection',
    PREFACE,
    frame(FRAME.HEADERS, REQUEST_END, 1, Buffer.from([0xff, 0xff, 0xff, 0x7f])),
  ),
  abuse(
    'a table size beyond the agreed one',
    'ends the connection',
    PREFACE,
    frame(FRAME.HEADERS, REQUEST_END, 1, Buffer.from([0x3f, 0xff, 0xff, 0xff, 0x7f])),
  ),
  abuse('an upper-case header name', 'refuses the stream', changed(HEALTH_CHECK, { 'X-Upper': MARKER })),
  abuse('a line break in a header value', 'refuses the stream', changed(HEALTH_CHECK, { 'x-a': `${MARKER}\r\nx: y` })),
  abuse('a NUL in a header name', 'refuses the stream', changed(HEALTH_CHECK, { 'x\u0000a': MARKER })),
  abuse('a name that HTTP/2 allows and gRPC does not', 'goes on', changed(HEALTH_CHECK, { 'x!y': MARKER })),
  abuse('a value that HTTP/2 allows and gRPC does not', 'goes on', changed(HEALTH_CHECK, { 'x-a': `\u00ff${MARKER}` })),
  abuse('binary metadata that is not base64', 'goes on', changed(HEALTH_CHECK, { 'x-bin': `!!${MARKER}!!` })),
  abuse(
    'a second :path',
    'refuses the stream',
    PREFACE,
    frame(FRAME.HEADERS, REQUEST_END, 1, headerBlock([...grpcHeaders(SIGN), [':path', '/x']])),
  ),
  abuse('no :path', 'refuses the stream', changed('', { ':path': undefined })),
  abuse('an unknown pseudo-header', 'refuses the stream', changed(HEALTH_CHECK, { ':marker': MARKER })),
  abuse('a connection header', 'refuses the stream', changed(HEALTH_CHECK, { connection: 'close' })),
  ...[
    '',
    '*',
    'no-slash',
    `/${MARKER}/\u00e9\u00ff`,
    `/${MARKER}\n`,
    '/%00/%ff',
    `/${'x'.repeat(20_000)}`,
    '//',
    '/../../etc/passwd',
    '/proto.Signer/Sign?x',
    '/\u0080"\'`<>{}|',
  ].map((path) => abuse(`the path ${JSON.stringify(path.slice(0, 40))}`, 'stays well', changed(path, {}))),
  ...['0S', '1', 'S', '-1S', '999999999S', '99999999H', '1X', ' 1S', `${MARKER}`, '\u00ff'].map((value) =>
    abuse(`grpc-timeout ${JSON.stringify(value)}`, 'goes on', changed(HEALTH_CHECK, { 'grpc-timeout': value })),
  ),
  ...[undefined, 'text/plain', 'application/grpc-web', `application/json;${MARKER}`].map((value) =>
    abuse(`content-type ${value}`, 'goes on', changed(HEALTH_CHECK, { 'content-type': value })),
  ),
  ...['GET', 'CONNECT', 'OPTIONS', 'HEAD', 'POST POST'].map((value) =>
    abuse(`method ${value}`, 'stays well', changed(HEALTH_CHECK, { ':method': value })),
  ),
];

const FLOODS: readonly Abuse[] = [
  abuse(
    'a header block of 1 MiB',
    'ends the connection',
    PREFACE,
    frame(FRAME.HEADERS, FLAG.END_STREAM, 1, headerBlock(grpcHeaders(SIGN))),
    repeat(64, frame(FRAME.CONTINUATION, 0, 1, headerBlock([['x', MARKER.padEnd(16_000)]]))),
    frame(FRAME.CONTINUATION, FLAG.END_HEADERS, 1),
  ),
  abuse(
    '10 000 empty CONTINUATIONs',
    'ends the connection',
    PREFACE,
    frame(FRAME.HEADERS, FLAG.END_STREAM, 1, headerBlock(grpcHeaders(SIGN))),
    repeat(10_000, frame(FRAME.CONTINUATION, 0, 1)),
  ),
  abuse(
    '2 000 header fields',
    'stays well',
    PREFACE,
    frame(
      FRAME.HEADERS,
      REQUEST_END,
      1,
      headerBlock([...grpcHeaders(SIGN), ...Array.from({ length: 2000 }, () => ['x', 'y'] as const)]),
    ),
  ),
  abuse(
    '20 000 SETTINGS',
    'stays well',
    PREFACE,
    repeat(20_000, frame(FRAME.SETTINGS, 0, 0, Buffer.from('000400001000', 'hex'))),
  ),
  abuse('20 000 PINGs', 'stays well', PREFACE, repeat(20_000, frame(FRAME.PING, 0, 0, Buffer.alloc(8)))),
  abuse('20 000 empty DATA frames', 'stays well', PREFACE, headers(1), repeat(20_000, frame(FRAME.DATA, 0, 1))),
  abuse(
    '20 000 window updates',
    'stays well',
    PREFACE,
    headers(1),
    repeat(20_000, frame(FRAME.WINDOW_UPDATE, 0, 0, uint32(1))),
  ),
  abuse(
    '20 000 PRIORITYs',
    'stays well',
    PREFACE,
    ...streamIds(20_000).map((id) => frame(FRAME.PRIORITY, 0, id, Buffer.concat([uint32(0), Buffer.from([1])]))),
  ),
  rapidReset(20_000, SIGN),
  rapidReset(4000, '/grpc.health.v1.Health/Watch'),
  rapidReset(4000, `/${MARKER}/Unknown`),
];

/** Connections that stop in the middle. The caller closes them. */
export const STOPPING: readonly Abuse[] = [
  abuse('half a preface', 'stays well', PREFACE.subarray(0, 12)),
  abuse('half a frame header', 'stays well', PREFACE, Buffer.from([0, 0])),
  abuse('half a frame', 'stays well', PREFACE, headers(1).subarray(0, 20)),
  abuse(
    'half a message',
    'stays well',
    PREFACE,
    headers(1),
    frame(FRAME.DATA, 0, 1, framed(Buffer.alloc(1000)).subarray(0, 500)),
  ),
  {
    name: 'a half-closed connection',
    outcome: 'stays well',
    run: async (connection) => {
      await connection.write(PREFACE, headers(1));
      connection.socket.end();
    },
  },
];

export const ABUSES: readonly Abuse[] = [...BAD_STARTS, ...STREAM_RULES, ...BAD_HEADERS, ...FLOODS, ...STOPPING];
