/** notary-signer's API as its clients use it: makes the key, and proves with one call that the answers are signatures. */
import { randomBytes, verify } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { credentials, makeGenericClientConstructor } from '@grpc/grpc-js';
import { KEY_MANAGEMENT, SIGNER } from '../dist/rpc/definitions.js';

const CALL_TIMEOUT_MS = 30_000;
/** Bytes before each message: a compression flag and a length (gRPC over HTTP/2, "Length-Prefixed-Message"). */
const PREFIX_BYTES = 5;
/** As a timestamp role's `signed` part. */
const CONTENT_BYTES = 500;

const GenericClient = makeGenericClientConstructor({}, 'Bench');

export class SignerClient {
  #client;

  /** @returns {Promise<SignerClient>} A client of the server's port. */
  static async connect({ port, certFile }) {
    const secure = credentials.createSsl(await readFile(certFile));
    return new SignerClient(`127.0.0.1:${port}`, secure, { 'grpc.ssl_target_name_override': 'localhost' });
  }

  /** A client of the same API on the agent's socket. */
  static overSocket(socket) {
    return new SignerClient(`unix:${socket}`, credentials.createInsecure(), {});
  }

  constructor(target, secure, options) {
    this.#client = new GenericClient(target, secure, options);
  }

  /**
   * @param {string} [gun]
   * @returns {Promise<{ keyId: string, publicKey: Buffer }>} A P-256 key, its public half as DER SubjectPublicKeyInfo: a
   *   new one, or that of the GUN if it has never signed.
   */
  async createKey(gun = 'localhost/bench') {
    const request = { algorithm: 'ecdsa', gun, role: 'timestamp' };
    const { response } = await this.#call(KEY_MANAGEMENT.CreateKey, request);
    return { keyId: response.keyInfo.keyID.ID, publicKey: response.publicKey };
  }

  /** @throws {Error} The server has no such key. */
  async findKey(keyId) {
    await this.#call(KEY_MANAGEMENT.GetKeyInfo, { ID: keyId });
  }

  /**
   * Signs once and verifies.
   *
   * @returns {Promise<{ frame: Buffer, responseBytes: number }>} The request's body, to be sent again, and the length of
   *   the answer's body. Every answer for this key is that long.
   * @throws {Error} The signature is not the key's.
   */
  async signAndVerify({ keyId, publicKey }) {
    const content = randomBytes(CONTENT_BYTES);
    const request = { keyID: { ID: keyId }, content };
    const { response, bytes } = await this.#call(SIGNER.Sign, request);
    const key = { key: publicKey, format: 'der', type: 'spki', dsaEncoding: 'ieee-p1363' };
    if (!verify('sha256', content, key, response.content))
      throw new Error('the server answered with a wrong signature');
    const message = SIGNER.Sign.requestSerialize(request);
    const prefix = Buffer.alloc(PREFIX_BYTES);
    prefix.writeUInt32BE(message.length, 1);
    return { frame: Buffer.concat([prefix, message]), responseBytes: PREFIX_BYTES + bytes };
  }

  /** Signs, without a look at the answer. @throws {Error} It failed. */
  async sign(keyId, content) {
    await this.#call(SIGNER.Sign, { keyID: { ID: keyId }, content });
  }

  close() {
    this.#client.close();
  }

  #call({ path, requestSerialize, responseDeserialize }, request) {
    const keepLength = (bytes) => ({ response: responseDeserialize(bytes), bytes: bytes.length });
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        keepLength,
        request,
        { deadline: Date.now() + CALL_TIMEOUT_MS },
        (error, answer) => (error === null ? resolve(answer) : reject(error)),
      );
    });
  }
}

/**
 * Starts a signer and stops it again.
 *
 * @template Result
 * @param {() => Promise<import('./servers.mjs').Server>} start
 * @param {{ certFile: string }} certificate
 * @param {(client: SignerClient, server: import('./servers.mjs').Server) => Promise<Result>} use
 * @returns {Promise<Result>}
 */
export async function withSigner(start, { certFile }, use) {
  const server = await start();
  try {
    const client = await SignerClient.connect({ port: server.port, certFile });
    try {
      return await use(client, server);
    } finally {
      client.close();
    }
  } finally {
    await server.stop();
  }
}
