/** notary-server with a signer behind it over mutual TLS, as operators run them. */
import { join } from 'node:path';
import { createAuthority } from './certificates.ts';
import {
  createNotaryClient,
  type NotaryClient,
  type NotaryServer,
  type Signer,
  type SignerTls,
  startNotaryServer,
} from './notary.ts';
import { Resources } from './resources.ts';
import { temporaryDirectory } from './temp.ts';

export interface Stack<S extends Signer> extends AsyncDisposable {
  readonly signer: S;
  readonly server: NotaryServer;
  /** PEM of the authority that issued every certificate. */
  readonly caFile: string;
  /** Makes a person with a home of their own. */
  client(name: string): Promise<NotaryClient>;
}

/** @param startSigner `startSignetd`, or `startNotarySigner` for the reference. */
export async function startStack<S extends Signer>(
  startSigner: (directory: string, tls: SignerTls) => Promise<S>,
): Promise<Stack<S>> {
  const resources = new Resources();
  try {
    const { path: directory } = resources.use(await temporaryDirectory());
    const authority = await createAuthority(directory, 'ca');
    const [forSigner, forServer, forServerAsClient] = await Promise.all([
      authority.issue('signer', { extendedKeyUsage: ['serverAuth'] }),
      authority.issue('notary-server', { extendedKeyUsage: ['serverAuth'] }),
      authority.issue('notary-server-client', { extendedKeyUsage: ['clientAuth'] }),
    ]);
    const caFile = authority.certFile;
    const signer = resources.use(await startSigner(directory, { certificate: forSigner, clientCaFile: caFile }));
    const server = resources.use(
      await startNotaryServer(
        directory,
        { certificate: forServer, caFile },
        { port: signer.port, caFile, certificate: forServerAsClient },
      ),
    );
    return {
      signer,
      server,
      caFile,
      client: (name) => createNotaryClient(join(directory, name), { url: server.url, caFile }),
      [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
    };
  } catch (error) {
    await resources[Symbol.asyncDispose]();
    throw error;
  }
}
