/** A trust server in this process: it serves the files of a test, and misbehaves where a test wants it to. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Credentials } from '../../src/repository/authorization.ts';
import { type Collection, LocalCollection } from '../../src/repository/collection.ts';
import { HttpClient, type HttpLimits } from '../../src/repository/http.ts';
import { TrustServer } from '../../src/repository/trust-server.ts';
import { DEFAULT_MAX_EXPIRY_DAYS, type MaxExpiryDays } from '../../src/tuf/max-expiry.ts';
import { TRUST_ON_FIRST_USE, type TrustPinning } from '../../src/tuf/trust-pinning.ts';
import type { Files } from './tuf-collection.ts';

/** @returns True if it has answered. */
export type Answer = (request: IncomingMessage, response: ServerResponse, name: string) => boolean;

export class TestTrustServer implements AsyncDisposable {
  readonly #server: Server;
  /** Files by the last part of their URL. */
  readonly files = new Map<string, Uint8Array>();
  /** Names that were asked for. */
  readonly asked: string[] = [];
  /** Looked at first. */
  answer: Answer = () => false;

  private constructor() {
    this.#server = createServer((request, response) => {
      const name = (request.url ?? '').split('/_trust/tuf/')[1] ?? '';
      this.asked.push(name);
      if (this.answer(request, response, name)) return;
      const bytes = this.files.get(name);
      response.writeHead(bytes === undefined ? 404 : 200).end(bytes);
    });
  }

  static async start(): Promise<TestTrustServer> {
    const server = new TestTrustServer();
    server.#server.listen(0, '127.0.0.1');
    await once(server.#server, 'listening');
    return server;
  }

  get url(): URL {
    return new URL(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`);
  }

  /** As notary-server serves a publication. @param rootVersion Of the root among the files. */
  publish(files: Files, rootVersion = 1): void {
    for (const [role, bytes] of files) {
      this.files.set(`${role}.json`, bytes);
      this.files.set(`${role}.${createHash('sha256').update(bytes).digest('hex')}.json`, bytes);
    }
    const root = files.get('root');
    if (root !== undefined) this.files.set(`${rootVersion}.root.json`, root);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

export interface TestClientOptions {
  readonly gun: string;
  readonly trustDir: string;
  readonly now: Date;
  readonly pinning?: TrustPinning;
  readonly maxExpiryDays?: MaxExpiryDays;
  readonly limits?: HttpLimits;
  readonly credentials?: Credentials;
}

/** A client of such a server. */
export interface TestClient extends Disposable {
  readonly collection: Collection;
  readonly warnings: readonly string[];
}

export function testClient(url: URL, options: TestClientOptions): TestClient {
  const { gun, trustDir, now, pinning = TRUST_ON_FIRST_USE, limits, credentials } = options;
  const { maxExpiryDays = DEFAULT_MAX_EXPIRY_DAYS } = options;
  const { signal } = new AbortController();
  const warnings: string[] = [];
  const http = new HttpClient({}, signal, limits);
  const local = new LocalCollection({ gun, trustDir, signal, warn: (text) => warnings.push(text) });
  const server = new TrustServer({ url, gun, http, credentials: async () => credentials });
  return {
    collection: { local, server, pinning, maxExpiryDays, now },
    warnings,
    [Symbol.dispose]: () => http[Symbol.dispose](),
  };
}
