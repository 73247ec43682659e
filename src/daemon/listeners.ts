/**
 * Sockets of our own, whose connections are handed to grpc-js: it offers neither partial trust chains, nor new
 * certificates for a running server, nor a look at who connects.
 */
import { constants } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import {
  createSecureContext,
  createServer as createTlsServer,
  type TlsOptions,
  type Server as TlsServer,
} from 'node:tls';
import { fromNodeError } from '../errors.ts';
import type { Native } from '../native.ts';
import { atMost, type Logger } from './log.ts';
import type { Peers } from './peer.ts';
import type { TlsMaterial } from './tls-files.ts';
import { claimSocket, releaseSocket } from './unix-socket.ts';

export interface Listener {
  readonly kind: 'agent' | 'grpc' | 'metrics';
  readonly address: string;
  /** Stops accepting; connections live on. */
  close(): Promise<void>;
}

export type Inject = (connection: Socket) => void;

export interface ListenContext {
  readonly peers: Peers;
  readonly log: Logger;
  /** Hands a connection to the gRPC server. */
  readonly inject: Inject;
}

/** notary-signer's suites for TLS 1.2, then those of TLS 1.3 (spec: Go's defaults without ChaCha20 in 1.2). */
const CIPHERS = [
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-SHA',
  'ECDHE-RSA-AES256-SHA',
  'ECDHE-ECDSA-AES128-SHA',
  'ECDHE-RSA-AES128-SHA',
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
].join(':');
const HANDSHAKE_TIMEOUT_MS = 10_000;
const WARNINGS_PER_SECOND = 5;

export interface TlsListener extends Listener {
  /** New handshakes use the new files; connections live on. @throws if OpenSSL refuses them; then the old ones stay */
  reload(material: TlsMaterial): void;
}

export async function listenTls(
  options: {
    readonly host: string | undefined;
    readonly port: number;
    readonly maxConnections: number;
    /** A socket that listens already; then host and port have no effect. */
    readonly fd: number | undefined;
  },
  material: TlsMaterial,
  { peers, log, inject }: ListenContext,
): Promise<TlsListener> {
  const server: TlsServer = createTlsServer({
    ...contextOptions(material),
    requestCert: material.clientCa !== undefined,
    rejectUnauthorized: material.clientCa !== undefined,
    ALPNProtocols: ['h2'],
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
  });
  useMaterial(server, material);
  // Whoever reaches the port could fill the log otherwise.
  const warn = atMost(WARNINGS_PER_SECOND, (fields, text) => log.warn(fields, text));
  server.maxConnections = options.maxConnections;
  server.on('secureConnection', (socket) => {
    socket.on('error', (error) => log.debug({ peer: socket.remoteAddress, error: error.message }, 'connection failed'));
    peers.addTls(socket);
    inject(socket);
  });
  server.on('tlsClientError', (error, socket) => {
    const { code, message } = error as NodeJS.ErrnoException;
    // Health probes that only open the port end like this.
    const quiet = code === 'ECONNRESET' || code === 'EPIPE';
    if (quiet) log.debug({ peer: socket.remoteAddress, error: code }, 'TLS handshake failed');
    else warn({ peer: socket.remoteAddress, error: code ?? message }, 'TLS handshake failed');
  });
  server.on('drop', () => warn({ limit: options.maxConnections }, 'connection refused: server.max_connections'));
  const { host, port, fd } = options;
  if (fd !== undefined) await listening(server, `descriptor ${fd}`, () => server.listen({ fd }));
  else {
    const address = { port, ...(host !== undefined && { host }) };
    await listening(server, `${host ?? ''}:${port}`, () => server.listen(address));
  }
  return {
    kind: 'grpc',
    address: addressOf(server),
    reload: (next) => useMaterial(server, next),
    close: () => closed(server),
  };
}

export async function listenUnix(
  path: string,
  native: Native | undefined,
  { peers, log, inject }: ListenContext,
): Promise<Listener> {
  const server = createServer((socket) => {
    socket.on('error', (error) => log.debug({ error: error.message }, 'agent connection failed'));
    peers.addUnix(socket, native);
    inject(socket);
  });
  const claim = await claimSocket(path, native);
  try {
    await listening(server, path, () => server.listen(claim.temporary));
    await claim.publish();
  } catch (error) {
    server.close();
    throw error;
  }
  return {
    kind: 'agent',
    address: path,
    close: async () => {
      await releaseSocket(path, claim);
      await closed(server);
    },
  };
}

/**
 * `tls.Server` of Node 20 drops `allowPartialTrustChain`, `createSecureContext` honours it; the server keeps its context
 * in this one field (test/integration/tls.test.ts guards it: Notary's stock deployment).
 */
function useMaterial(server: TlsServer, material: TlsMaterial): void {
  Object.assign(server, { _sharedCreds: createSecureContext(contextOptions(material)) });
}

function contextOptions({ cert, key, clientCa }: TlsMaterial): TlsOptions {
  return {
    cert,
    key,
    // The names of these certificates go into the CertificateRequest: without them a Go client sends no certificate.
    ...(clientCa !== undefined && { ca: clientCa }),
    // Go takes every certificate of the file as an anchor, also an intermediate; Notary's stock deployment relies on it.
    allowPartialTrustChain: true,
    minVersion: 'TLSv1.2',
    ciphers: CIPHERS,
    honorCipherOrder: true,
    // A resumed session would skip the check against a client CA file that has changed since.
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  } as TlsOptions;
}

export function listening(server: Server, what: string, listen: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error) => reject(fromNodeError(error, `cannot listen on ${what}`));
    server.once('error', fail);
    server.once('listening', () => {
      server.off('error', fail);
      resolve();
    });
    listen();
  });
}

export function addressOf(server: Server): string {
  const address = server.address();
  if (address === null || typeof address === 'string') return address ?? '';
  return address.family === 'IPv6' ? `[${address.address}]:${address.port}` : `${address.address}:${address.port}`;
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    // Resolves when the last connection is gone; who drains does not wait for idle ones.
    resolve();
  });
}
