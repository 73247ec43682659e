/** Plain HTTP for the operator's network: `/metrics` (Prometheus) and `/debug/health` as notary-signer has it. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { BackendHealth, KeyBackend } from '../backends/backend.ts';
import { addressOf, type Listener, listening } from './listeners.ts';
import { describeError, type Logger } from './log.ts';

export interface MetricsSources {
  /** Prometheus text format 0.0.4. */
  readonly metrics: () => Promise<string>;
  readonly health: () => Promise<readonly { readonly backend: KeyBackend; readonly health: BackendHealth }[]>;
  readonly log: Logger;
}

const MAX_CONNECTIONS = 64;
const REQUEST_TIMEOUT_MS = 10_000;

export async function listenMetrics(
  { host, port }: { readonly host: string; readonly port: number },
  sources: MetricsSources,
): Promise<Listener> {
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    answer(request, response, sources).catch((error: unknown) => {
      sources.log.error(describeError(error, sources.log), 'cannot answer a metrics request');
      response.destroy();
    });
  });
  server.maxConnections = MAX_CONNECTIONS;
  await listening(server, `${host}:${port}`, () => server.listen({ host, port }));
  return {
    kind: 'metrics',
    address: addressOf(server),
    close: async () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** The name of a backend's check. That of the SQL table is notary-signer's: monitoring may look for it. */
function checkOf({ name }: KeyBackend): string {
  return name === 'sql' ? 'DB operational' : `${name} operational`;
}

async function answer(request: IncomingMessage, response: ServerResponse, sources: MetricsSources): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(405, { allow: 'GET, HEAD' }).end();
    return;
  }
  switch (request.url?.split('?')[0]) {
    case '/metrics': {
      const text = await sources.metrics();
      response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(text);
      return;
    }
    case '/debug/health': {
      const failures: Record<string, string> = {};
      for (const { backend, health } of await sources.health()) {
        if (!health.ready) failures[checkOf(backend)] = health.reason;
      }
      const status = Object.keys(failures).length === 0 ? 200 : 503;
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(failures));
      return;
    }
    default:
      response.writeHead(404).end();
  }
}
