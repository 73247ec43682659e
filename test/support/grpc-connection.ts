/** One HTTP/2 connection to a gRPC server, with requests as bytes: what a client library would never send can be sent. */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { type ClientHttp2Session, connect, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2';
import { connect as connectSocket, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Certificate } from './certificates.ts';

/** How long a call may take before the test gives up, milliseconds. */
const PATIENCE_MS = 15_000;

/** One way into a daemon. */
export interface Door {
  readonly name: string;
  /** A connected byte stream, ready for HTTP/2. @throws {Error} The connection was refused */
  open(): Promise<Socket>;
}

/** Mutual TLS on 127.0.0.1. */
export async function tlsDoor(port: number, caFile: string, shown: Certificate): Promise<Door> {
  const [ca, cert, key] = await Promise.all([caFile, shown.certFile, shown.keyFile].map((file) => readFile(file)));
  const options = { host: '127.0.0.1', port, ca: ca ?? '', cert: cert ?? '', key: key ?? '', ALPNProtocols: ['h2'] };
  return {
    name: 'TLS',
    open: async () => {
      const socket = connectTls(options);
      await once(socket, 'secureConnect');
      return socket;
    },
  };
}

export function unixDoor(path: string): Door {
  return {
    name: 'the agent socket',
    open: async () => {
      const socket = connectSocket(path);
      await once(socket, 'connect');
      return socket;
    },
  };
}

/** What a call came to. */
export interface Answer {
  /** `grpc-status`; undefined if the stream ended without one. */
  readonly status: number | undefined;
  /** `grpc-message`, decoded; '' if absent. */
  readonly message: string;
  /** The response messages, without their framing. */
  readonly messages: readonly Buffer[];
  /** `:status`; undefined if there was no response at all. */
  readonly httpStatus: number | undefined;
  /** HTTP/2 error code of the stream, 0 for a clean end. */
  readonly resetCode: number;
}

export interface CallOptions {
  readonly headers?: OutgoingHttpHeaders;
  /** False: the request is never ended. */
  readonly end?: boolean;
  /** True: the call is given up when the first message is there. */
  readonly untilMessage?: boolean;
}

/** gRPC's length-prefixed message. @param flag The compressed flag */
export function framed(message: Uint8Array, flag = 0): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(message.byteLength, 1);
  return Buffer.concat([prefix, message]);
}

export class GrpcConnection implements AsyncDisposable {
  readonly session: ClientHttp2Session;
  #closed = false;

  private constructor(socket: Socket) {
    this.session = connect('https://localhost', { createConnection: () => socket });
    this.session.on('error', () => undefined); // each call tells of it
    this.session.once('close', () => {
      this.#closed = true;
    });
  }

  static async open(door: Door): Promise<GrpcConnection> {
    const connection = new GrpcConnection(await door.open());
    await once(connection.session, 'remoteSettings');
    return connection;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** A well-formed unary call. @param path As `/proto.Signer/Sign` */
  call(path: string, message: Uint8Array, options: CallOptions = {}): Promise<Answer> {
    return this.send(path, framed(message), options);
  }

  /** A call with `body` as its whole request body. @throws {Error} The server gave no answer at all in time */
  send(
    path: string,
    body: Uint8Array,
    { headers = {}, end = true, untilMessage = false }: CallOptions = {},
  ): Promise<Answer> {
    const stream = this.session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    });
    return new Promise((resolve, reject) => {
      let response: IncomingHttpHeaders = {};
      let trailers: IncomingHttpHeaders = {};
      const chunks: Buffer[] = [];
      const timer = setTimeout(() => {
        stream.destroy();
        reject(new Error(`no answer to ${path} within ${PATIENCE_MS} ms`));
      }, PATIENCE_MS);
      stream.on('error', () => undefined); // the reset code tells
      stream.on('response', (received) => {
        response = received;
      });
      stream.on('trailers', (received: IncomingHttpHeaders) => {
        trailers = received;
      });
      stream.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        if (untilMessage) stream.close();
      });
      stream.on('close', () => {
        clearTimeout(timer);
        resolve(answerOf({ ...response, ...trailers }, Buffer.concat(chunks), stream.rstCode ?? 0));
      });
      if (end) stream.end(body);
      else stream.write(body);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.session.destroy();
  }
}

function answerOf(headers: IncomingHttpHeaders, body: Buffer, resetCode: number): Answer {
  const status = headers['grpc-status'];
  return {
    status: status === undefined ? undefined : Number(status),
    message: decodeURIComponent(String(headers['grpc-message'] ?? '')),
    messages: unframed(body),
    httpStatus: headers[':status'] === undefined ? undefined : Number(headers[':status']),
    resetCode,
  };
}

function unframed(body: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  let rest = body;
  while (rest.length >= 5) {
    const end = 5 + rest.readUInt32BE(1);
    messages.push(rest.subarray(5, end));
    rest = rest.subarray(end);
  }
  return messages;
}

/** One call over a connection of its own. */
export async function callOnce(door: Door, path: string, message: Uint8Array, options?: CallOptions): Promise<Answer> {
  await using connection = await GrpcConnection.open(door);
  return await connection.call(path, message, options);
}
