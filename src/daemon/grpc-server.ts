/** A grpc-js server with our bounds, fed with connections by `listeners.ts`. */
import type { Socket } from 'node:net';
import { Server, ServerCredentials, type ServiceDefinition, type UntypedServiceImplementation } from '@grpc/grpc-js';

/** grpc-go's default, which notary-signer keeps: 4 MiB. Larger messages are RESOURCE_EXHAUSTED. */
export const MAX_MESSAGE_BYTES: number = 4 * 1024 * 1024;
/** Streams per connection; a client that wants more waits. */
const MAX_STREAMS = 1024;
/** A peer that went away without closing is noticed after this and the next, milliseconds. */
const KEEPALIVE_MS = 120_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;

export interface GrpcServer {
  readonly inject: (connection: Socket) => void;
  /** Lets calls end, then closes connections; after `graceMs` whatever is still open is cut off. */
  close(graceMs: number): Promise<void>;
}

export function createGrpcServer(
  services: readonly (readonly [ServiceDefinition, UntypedServiceImplementation])[],
): GrpcServer {
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
  return {
    inject: (connection) => injector.injectConnection(connection),
    close: (graceMs) =>
      new Promise((resolve) => {
        const timer = setTimeout(() => {
          server.forceShutdown();
          resolve();
        }, graceMs);
        server.tryShutdown(() => {
          clearTimeout(timer);
          resolve();
        });
      }),
  };
}
