/** A way to the real notary-server on which things go wrong. Speaks HTTP without TLS. */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { request as tlsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';

/** What happens to a request: it passes, it is answered here, or it passes and its answer is lost. */
export type Fate = 'pass' | 'lose-answer' | { readonly status: number };

export interface TrustProxy extends AsyncDisposable {
  readonly url: string;
  fate: (request: IncomingMessage) => Fate | Promise<Fate>;
}

export async function startTrustProxy(serverUrl: string, caFile: string): Promise<TrustProxy> {
  const ca = await readFile(caFile);
  const forward = (incoming: IncomingMessage, outgoing: ServerResponse, isLost: boolean) => {
    const { method, headers } = incoming;
    const onward = tlsRequest(new URL(incoming.url ?? '', serverUrl), { method, headers, ca }, (answer) => {
      if (isLost) {
        answer.resume().on('end', () => incoming.socket.destroy());
        return;
      }
      outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(outgoing);
    });
    onward.on('error', () => incoming.socket.destroy());
    incoming.pipe(onward);
  };
  const server = createServer((incoming, outgoing) => {
    void (async () => {
      const fate = await proxy.fate(incoming);
      if (typeof fate === 'string') forward(incoming, outgoing, fate === 'lose-answer');
      else incoming.resume().on('end', () => outgoing.writeHead(fate.status).end());
    })();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const proxy: TrustProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    fate: () => 'pass',
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return proxy;
}
