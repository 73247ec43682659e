/**
 * Ends streams that outlive every call: a body that never arrives, an answer that nobody reads. `Calls` bounds what the
 * daemon does with a complete request; this bounds the client.
 *
 * Not a grpc-js interceptor: that can answer a call but not reset its stream, so the client could keep it open.
 */
import type { Http2Server, IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { Server } from '@grpc/grpc-js';
import { GRPC_STATUS, SignetError } from '../errors.ts';

/** The one method whose answer has no end; `Health` bounds how many there are. */
const ENDLESS = '/grpc.health.v1.Health/Watch';
/** The one whose answer may be long; `Calls` ends it when its reader stops, this only if the reader does not see that. */
const LONG = '/signet.v1.Agent/ListKeys';
const LONG_FACTOR = 20;
/** Looks per time limit. */
const LOOKS = 4;

interface Age {
  /** Number of the look before which it came. */
  readonly look: number;
  readonly isEndless: boolean;
  /** Looks after which an answer that is not read to its end is ended. */
  readonly patience: number;
}

/**
 * @param timeoutMs For the request to arrive, and as long again for the answer to be taken.
 * @throws {SignetError} INTERNAL if this grpc-js keeps its HTTP/2 servers elsewhere: its version is pinned for this
 */
export function endStaleStreams(server: Server, timeoutMs: number): NodeJS.Timeout {
  const { http2Servers } = server as unknown as { readonly http2Servers?: ReadonlyMap<Http2Server, unknown> };
  if (!(http2Servers instanceof Map) || http2Servers.size === 0) {
    throw new SignetError('INTERNAL', 'grpc-js does not show its HTTP/2 server');
  }
  /** In the order of their coming. */
  const ages = new Map<ServerHttp2Stream, Age>();
  let look = 0;
  for (const http2Server of http2Servers.keys()) {
    http2Server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      const patience = headers[':path'] === LONG ? LONG_FACTOR * LOOKS : 2 * LOOKS;
      ages.set(stream, { look, isEndless: headers[':path'] === ENDLESS, patience });
      stream.once('close', () => ages.delete(stream));
    });
  }
  const timer = setInterval(
    () => {
      look++;
      for (const [stream, age] of ages) {
        const looks = look - age.look;
        if (looks <= LOOKS) break;
        if (age.isEndless && stream.headersSent) ages.delete(stream);
        else if (!stream.readableEnded || looks > age.patience) end(stream);
      }
    },
    Math.ceil(timeoutMs / LOOKS),
  );
  return timer.unref();
}

function end(stream: ServerHttp2Stream): void {
  if (!stream.headersSent && !stream.closed) {
    const status = { 'grpc-status': GRPC_STATUS.DEADLINE_EXCEEDED, 'grpc-message': 'the request took too long' };
    stream.respond({ ':status': 200, 'content-type': 'application/grpc+proto', ...status }, { endStream: true });
  }
  stream.close();
}
