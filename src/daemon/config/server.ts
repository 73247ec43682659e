/** `server`, `agent` and `metrics`: the daemon's doors. */
import { resolve } from 'node:path';
import { MAX_TIMER_MS } from '../../duration.ts';
import { SignetError } from '../../errors.ts';
import { defaultAgentSocket } from '../../locations.ts';
import { loadTlsMaterial } from '../tls-files.ts';
import type { AgentConfig, Config, ServerConfig } from './model.ts';
import type { Settings } from './settings.ts';

const HOUR_MS = 3_600_000;
/** `sun_path` less its final NUL: 108 on Linux, 104 elsewhere. Beyond it Node would listen on a shortened name. */
const MAX_SOCKET_PATH_BYTES = process.platform === 'linux' ? 107 : 103;

/**
 * Reads `server` and tries its TLS files, in notary-signer's order: files first, then the address.
 *
 * @returns undefined if neither the file nor the environment has the section.
 * @throws {SignetError} CONFIGURATION
 */
export async function readServer(settings: Settings, warnings: string[]): Promise<ServerConfig | undefined> {
  if (!settings.hasSection('server')) return undefined;
  const files = {
    tlsCertFile: requiredFile(settings, 'server.tls_cert_file', 'certificate'),
    tlsKeyFile: requiredFile(settings, 'server.tls_key_file', 'private key'),
    clientCaFile: settings.path('server.client_ca_file'),
  };
  // Its own warnings come again, from the listener that loads the files to use them.
  await loadTlsMaterial(files);
  if (files.clientCaFile === undefined) {
    warnings.push('server.client_ca_file is not set: anyone who reaches the port can sign');
  }
  if (settings.has('server.http_addr'))
    warnings.push('server.http_addr is ignored: signetd has no HTTP listener there');
  const grpcAddr = settings.address('server.grpc_addr');
  if (grpcAddr === undefined) {
    const hint = 'set server.grpc_addr, for example to ":7899"';
    throw settings.fail('server.grpc_addr', 'grpc listen address required for server', hint);
  }
  return {
    grpcAddr,
    ...files,
    maxConcurrentCalls: settings.integer('server.max_concurrent_calls', { min: 1, max: 65_536 }) ?? 1024,
    callTimeoutMs: settings.durationMs('server.call_timeout', { min: 1, max: HOUR_MS }) ?? 30_000,
    maxConnections: settings.integer('server.max_connections', { min: 1, max: 65_536 }) ?? 1024,
    drainTimeoutMs: settings.durationMs('server.drain_timeout', { min: 0, max: HOUR_MS }) ?? 10_000,
  };
}

function requiredFile(settings: Settings, key: 'server.tls_cert_file' | 'server.tls_key_file', what: string): string {
  const path = settings.path(key);
  if (path !== undefined) return path;
  throw settings.fail(
    key,
    `unable to set up TLS: no ${what} file`,
    `set ${key} to a PEM file: the server has no plain mode`,
  );
}

/**
 * The agent is on where it is asked for, and where nothing else is: a file that notary-signer used opens no new door.
 *
 * @throws {SignetError} CONFIGURATION
 */
export function readAgent(settings: Settings, env: NodeJS.ProcessEnv, hasServer: boolean): AgentConfig | undefined {
  if (hasServer && !settings.hasSection('agent')) return undefined;
  const socket = settings.path('agent.socket') ?? resolve(defaultAgentSocket(env));
  if (Buffer.byteLength(socket) > MAX_SOCKET_PATH_BYTES) {
    const problem = `agent socket path ${socket} is longer than ${MAX_SOCKET_PATH_BYTES} bytes`;
    throw new SignetError('CONFIGURATION', problem, { hint: 'set agent.socket or SIGNET_SOCKET to a shorter path' });
  }
  return { socket, idleTimeoutMs: settings.durationMs('agent.idle_timeout', { min: 0, max: MAX_TIMER_MS }) ?? 0 };
}

/** @param debug True for `-debug`: then notary-signer's debug address is the default. */
export function readMetrics(settings: Settings, debug: boolean): Config['metrics'] {
  const address = settings.address('metrics.http_addr');
  if (address === undefined) return debug ? { host: 'localhost', port: 8080 } : undefined;
  const { host, port } = address;
  if (host !== undefined) return { host, port };
  const hint = `write "127.0.0.1:${port}" for this machine only, "0.0.0.0:${port}" for every interface`;
  throw settings.fail('metrics.http_addr', 'metrics have no access control, name the interface', hint);
}
