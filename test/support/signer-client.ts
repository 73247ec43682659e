/** A gRPC client of the signer's API over mutual TLS, one connection each. */
import { readFile } from 'node:fs/promises';
import { type Client, credentials, makeGenericClientConstructor, type ServiceError } from '@grpc/grpc-js';
import { HEALTH, KEY_MANAGEMENT, SIGNER } from '../../src/rpc/definitions.ts';
import type {
  GetKeyInfoResponse,
  HealthCheckResponse,
  PublicKeyMessage,
  SignatureMessage,
} from '../../src/rpc/messages.ts';
import type { Certificate } from './certificates.ts';

export interface SignerClient extends Disposable {
  createKey(algorithm: string, gun: string, role: string): Promise<PublicKeyMessage>;
  getKeyInfo(id: string): Promise<GetKeyInfoResponse>;
  deleteKey(id: string): Promise<unknown>;
  sign(id: string, content: Uint8Array): Promise<SignatureMessage>;
  checkHealth(service?: string): Promise<HealthCheckResponse>;
}

const SERVICES = { ...KEY_MANAGEMENT, ...SIGNER, ...HEALTH };
const Stub = makeGenericClientConstructor(SERVICES, 'Signer');

/** Failed calls reject with grpc-js' `ServiceError`: `code`, `details`, `metadata`. */
export async function connectSigner(port: number, caFile: string, certificate: Certificate): Promise<SignerClient> {
  const [ca, key, cert] = await Promise.all(
    [caFile, certificate.keyFile, certificate.certFile].map((path) => readFile(path)),
  );
  // A local pool: two clients must not end up on one connection, which one worker would serve.
  const client: Client = new Stub(`127.0.0.1:${port}`, credentials.createSsl(ca, key, cert), {
    'grpc.use_local_subchannel_pool': 1,
  });
  const call = <Response>(name: string, request: object) =>
    new Promise<Response>((resolve, reject) => {
      const definition = SERVICES[name];
      if (definition === undefined) throw new Error(`no method ${name}`);
      client.makeUnaryRequest(
        definition.path,
        definition.requestSerialize,
        definition.responseDeserialize,
        request,
        { deadline: Date.now() + 20_000 },
        (error: ServiceError | null, response) => (error === null ? resolve(response as Response) : reject(error)),
      );
    });
  return {
    createKey: (algorithm, gun, role) => call('CreateKey', { algorithm, gun, role }),
    getKeyInfo: (ID) => call('GetKeyInfo', { ID }),
    deleteKey: (ID) => call('DeleteKey', { ID }),
    sign: (ID, content) => call('Sign', { keyID: { ID }, content }),
    checkHealth: (service = '') => call('Check', { service }),
    [Symbol.dispose]: () => client.close(),
  };
}
