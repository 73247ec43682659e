import { afterEach, describe, expect, it } from 'vitest';
import type { BackendHealth, KeyBackend } from '../../../src/backends/backend.ts';
import type { Listener } from '../../../src/daemon/listeners.ts';
import type { Logger } from '../../../src/daemon/log.ts';
import { listenMetrics } from '../../../src/daemon/metrics-listener.ts';

let listener: Listener | undefined;
afterEach(() => listener?.close());

/** The answer of /debug/health while the backends are so. */
async function healthOf(states: Readonly<Record<string, BackendHealth>>): Promise<readonly [number, unknown]> {
  listener = await listenMetrics(
    { host: '127.0.0.1', port: 0 },
    {
      metrics: async () => '',
      health: async () =>
        Object.entries(states).map(([name, health]) => ({ backend: { name } as unknown as KeyBackend, health })),
      log: {} as unknown as Logger,
    },
  );
  const response = await fetch(`http://${listener.address}/debug/health`);
  return [response.status, await response.json()];
}

describe('/debug/health', () => {
  it('answers an empty object while every backend is up', async () => {
    expect(await healthOf({ sql: { ready: true }, file: { ready: true } })).toEqual([200, {}]);
  });

  it('calls the SQL storage what notary-signer calls it, and other backends by their names', async () => {
    const down = (reason: string): BackendHealth => ({ ready: false, reason });
    expect(await healthOf({ sql: down('no answer'), file: down('gone'), memory: { ready: true } })).toEqual([
      503,
      { 'DB operational': 'no answer', 'file operational': 'gone' },
    ]);
  });
});
