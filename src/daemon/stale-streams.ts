/**
 * Ends streams that outlive every call: a body that never arrives, an answer that nobody reads. `Calls` bounds what the
 * daemon does with a complete request; this bounds the client.
 *
 * Not a grpc-js interceptor: that can answer a call but not reset its stream, so the client could keep it open.
 */
import type { Http2Server, IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { Server } from '@grpc/grpc-js';
import { GRPC_STATUS, SignetError } from '../errors.ts';
import { INTERACTION_KEY, INTERACTIVE_CALL_MS } from './interactions.ts';

const AGENT = '/signet.v1.Agent/';
/** Methods without an end; `Health` and `Interactions` bound how many there are. */
const ENDLESS: ReadonlySet<string> = new Set(['/grpc.health.v1.Health/Watch', `${AGENT}Interact`]);
/**
 * Methods whose request or answer may be long; `Calls` ends them when they stand still, this only if the client does not
 * see that.
 */
const LONG_ANSWERS: ReadonlySet<string> = new Set([`${AGENT}ListKeys`, `${AGENT}Backup`, `${AGENT}Restore`]);
const LONG_REQUEST = `${AGENT}Restore`;
const LONG_FACTOR = 20;
/** Looks per time limit. */
const LOOKS = 4;

interface Age {
  /** Number of the look before which it came. */
  readonly look: number;
  readonly isEndless: boolean;
  /** Looks after which a request that has not arrived, and an answer that is not read to its end, is ended. */
  readonly patience: { readonly request: number; readonly answer: number };
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
      const path = headers[':path'] ?? '';
      ages.set(stream, { look, isEndless: ENDLESS.has(path), patience: patienceFor(path, headers, timeoutMs) });
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
        else if (looks > (stream.readableEnded ? age.patience.answer : age.patience.request)) end(stream);
      }
    },
    Math.ceil(timeoutMs / LOOKS),
  );
  return timer.unref();
}

/** In looks. A person may be asked for the answer: then `Calls` waits longer too. */
function patienceFor(path: string, headers: IncomingHttpHeaders, timeoutMs: number): Age['patience'] {
  const long = LONG_FACTOR * LOOKS;
  if (LONG_ANSWERS.has(path)) return { request: path === LONG_REQUEST ? long : LOOKS, answer: long };
  const asks = path.startsWith(AGENT) && headers[INTERACTION_KEY] !== undefined;
  const factor = asks ? Math.max(1, Math.ceil(INTERACTIVE_CALL_MS / timeoutMs)) : 1;
  return { request: LOOKS, answer: (factor + 1) * LOOKS };
}

function end(stream: ServerHttp2Stream): void {
  if (!stream.headersSent && !stream.closed) {
    const status = { 'grpc-status': GRPC_STATUS.DEADLINE_EXCEEDED, 'grpc-message': 'the request took too long' };
    stream.respond({ ':status': 200, 'content-type': 'application/grpc+proto', ...status }, { endStream: true });
  }
  stream.close();
}
