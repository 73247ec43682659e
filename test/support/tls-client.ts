/** Two looks at a TLS server from outside: handshakes by `openssl s_client`, and gRPC health checks over node:http2. */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type ClientHttp2Session, connect } from 'node:http2';
import type { Certificate } from './certificates.ts';
import { runProgram } from './processes.ts';

/** Length-prefixed empty message: HealthCheckRequest for the whole server. */
const EMPTY_GRPC_MESSAGE = Buffer.alloc(5);

export interface Handshake {
  /** True if the handshake completed. With TLS 1.3 that says nothing about the client's certificate. */
  readonly completed: boolean;
  /** Everything s_client printed. */
  readonly output: string;
  /** OpenSSL's names; undefined unless completed. */
  readonly protocol: string | undefined;
  readonly cipher: string | undefined;
  readonly alpn: string | undefined;
  /** Common name of the server's certificate. */
  readonly serverName: string | undefined;
}

/** Opens a connection to 127.0.0.1:`port` with `openssl s_client <args>` and closes it after the handshake. */
export async function handshake(port: number, args: readonly string[]): Promise<Handshake> {
  const env = { PATH: process.env['PATH'] ?? '' };
  const command = ['s_client', '-connect', `127.0.0.1:${port}`, '-state', ...args];
  const { stdout, stderr } = await runProgram('openssl', command, { env });
  const output = stdout + stderr;
  const [, protocol, cipher] = /^New, (\S+), Cipher is (\S+)$/m.exec(output) ?? [];
  // The server's Finished is the last that the client waits for. The cipher is told even of a handshake that failed
  // later, and the exit code also of a connection that ended without close_notify.
  const completed = /^SSL_connect:.* read finished$/m.test(output);
  return {
    completed,
    output,
    protocol: completed ? protocol : undefined,
    cipher: completed ? cipher : undefined,
    alpn: /^ALPN protocol: (\S+)$/m.exec(output)?.[1],
    serverName: /^subject=.*CN = ([^\n,]+)$/m.exec(output)?.[1],
  };
}

/** s_client's arguments to show a certificate. */
export function showing({ certFile, keyFile }: Certificate): string[] {
  return ['-cert', certFile, '-key', keyFile];
}

/** One HTTP/2 connection to a gRPC server. */
export interface HealthConnection extends AsyncDisposable {
  /** Calls grpc.health.v1.Health/Check. @returns `grpc-status`: 0 when serving. @throws {Error} The connection failed. */
  check(): Promise<number>;
}

/**
 * Connects with mutual TLS.
 *
 * @param certificate What the client shows; undefined for nothing.
 * @throws {Error} The handshake failed.
 */
export async function connectHealth(
  port: number,
  caFile: string,
  certificate: Certificate | undefined,
): Promise<HealthConnection> {
  const identity =
    certificate === undefined
      ? {}
      : { cert: await readFile(certificate.certFile), key: await readFile(certificate.keyFile) };
  const session = connect(`https://127.0.0.1:${port}`, { ca: await readFile(caFile), ...identity });
  await once(session, 'connect');
  const closed = new Promise<never>((_, reject) => {
    session.on('error', reject);
    session.once('close', () => reject(new Error('the server closed the connection')));
  });
  closed.catch(() => {}); // only of interest to a call in progress, or to the next one
  return {
    check: () => Promise.race([closed, checkHealth(session)]),
    [Symbol.asyncDispose]: async () => session.destroy(),
  };
}

/** @returns True if a health check succeeds; false if the server refuses the connection at any stage. */
export async function admits(port: number, caFile: string, certificate: Certificate | undefined): Promise<boolean> {
  try {
    await using connection = await connectHealth(port, caFile, certificate);
    return (await connection.check()) === 0;
  } catch {
    return false;
  }
}

async function checkHealth(session: ClientHttp2Session): Promise<number> {
  const stream = session.request({
    ':method': 'POST',
    ':path': '/grpc.health.v1.Health/Check',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.end(EMPTY_GRPC_MESSAGE);
  stream.resume();
  const [trailers] = (await once(stream, 'trailers', { signal: AbortSignal.timeout(10_000) })) as [
    Record<string, string | undefined>,
  ];
  return Number(trailers['grpc-status']);
}
