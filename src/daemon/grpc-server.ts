/** A grpc-js server with our bounds, fed with connections by `listeners.ts`. */
import type { Socket } from 'node:net';
import {
  logVerbosity,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  setLogVerbosity,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { CallLimits } from './calls.ts';
import { endStaleStreams } from './stale-streams.ts';

/** grpc-go's default, which notary-signer keeps: 4 MiB. Larger messages are RESOURCE_EXHAUSTED. */
export const MAX_MESSAGE_BYTES: number = 4 * 1024 * 1024;
/** Streams per connection; a client that wants more waits. Each may hold an unfinished message of 4 MiB. */
const MAX_STREAMS = 100;
/** A peer that went away without closing is noticed after this and the next, milliseconds. */
const KEEPALIVE_MS = 10_000;
const KEEPALIVE_TIMEOUT_MS = 5000;
/**
 * At each ping time it is looked what came in. A connection that received nothing twice in a row is destroyed: when
 * nghttp2 gives one up (too many resets, for example), Node stops reading it and never closes it, and a keepalive time-out
 * does not either.
 */
const SILENT_LOOKS = 2;

export interface GrpcServer {
  readonly inject: (connection: Socket) => void;
  /** Lets calls end, then closes connections; after `graceMs` whatever is still open is cut off. */
  close(graceMs: number): Promise<void>;
}

export function createGrpcServer(
  services: readonly (readonly [ServiceDefinition, UntypedServiceImplementation])[],
  { callTimeoutMs }: Pick<CallLimits, 'callTimeoutMs'>,
): GrpcServer {
  // Its own lines on stderr are not JSON, and quote headers as clients sent them.
  setLogVerbosity(logVerbosity.NONE);
  const server = new Server({
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_concurrent_streams': MAX_STREAMS,
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    // Nobody reads channelz here, and its book-keeping costs time on every call.
    'grpc.enable_channelz': 0,
  });
  for (const [definition, implementation] of services) server.addService(definition, implementation);
  // Our listeners have made the connection secure, or it is a private Unix socket.
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const staleStreams = endStaleStreams(server, callTimeoutMs);
  const connections = new Map<Socket, { bytesRead: number; silentLooks: number }>();
  const sweeper = setInterval(() => {
    for (const [connection, last] of connections) {
      last.silentLooks = connection.bytesRead === last.bytesRead ? last.silentLooks + 1 : 0;
      last.bytesRead = connection.bytesRead;
      if (last.silentLooks === SILENT_LOOKS) connection.destroy();
    }
  }, KEEPALIVE_MS);
  sweeper.unref();
  return {
    inject: (connection) => {
      connections.set(connection, { bytesRead: 0, silentLooks: 0 });
      connection.once('close', () => connections.delete(connection));
      injector.injectConnection(connection);
    },
    close: (graceMs) =>
      new Promise((resolve) => {
        clearInterval(sweeper);
        clearInterval(staleStreams);
        const timer = setTimeout(() => {
          // Not `forceShutdown`: without channelz grpc-js does not know its sessions.
          for (const connection of connections.keys()) connection.destroy();
          resolve();
        }, graceMs);
        server.tryShutdown(() => {
          clearTimeout(timer);
          resolve();
        });
      }),
  };
}
