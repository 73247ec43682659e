/** Who is at the other end of a connection, worked out once when it is made. */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Native } from '../native.ts';

export interface Peer {
  /** For logs and policy: `CN=notary-server (10.0.0.7:40112)`, `uid 1000, pid 4711`, `local user`. */
  readonly name: string;
  /** All of its connections take turns with other clients as one: the certificate's subject and its host, a local process. */
  readonly client: string;
  /** Of a Unix peer, where the system tells. */
  readonly uid?: number | undefined;
}

/**
 * Connections by the name under which grpc-js knows them (`call.getPeer()`), so that a call costs one look-up, not one
 * parsing of a certificate.
 */
export class Peers {
  readonly #byAddress = new Map<string, Peer>();
  #unixConnections = 0;

  /** Registers a Unix connection. grpc-js knows a connection by its remote address only, so it gets one. */
  addUnix(socket: Socket, native: Native | undefined): Peer {
    const credentials = native?.peerCredentials(socket);
    const name = credentials === undefined ? 'local user' : `uid ${credentials.uid}, pid ${credentials.pid}`;
    const address = `unix:${this.#unixConnections++}`;
    Object.defineProperty(socket, 'remoteAddress', { value: address });
    const client = credentials === undefined ? address : name;
    return this.#add(socket, address, { name, client, uid: credentials?.uid });
  }

  addTls(socket: TLSSocket): Peer {
    const address = `${socket.remoteAddress}:${socket.remotePort}`;
    const subject = subjectOf(socket);
    return this.#add(socket, address, {
      name: `${subject} (${address})`,
      client: `${subject} (${socket.remoteAddress})`,
    });
  }

  find(address: string): Peer {
    return this.#byAddress.get(address) ?? { name: address, client: address };
  }

  uidOf(address: string): number | undefined {
    return this.#byAddress.get(address)?.uid;
  }

  #add(socket: Socket, address: string, peer: Peer): Peer {
    this.#byAddress.set(address, peer);
    socket.once('close', () => this.#byAddress.delete(address));
    return peer;
  }
}

/** Longer names than this are cut: they go into every log line of the connection. */
const MAX_NAME = 200;

function subjectOf(socket: TLSSocket): string {
  const { subject } = socket.getPeerCertificate();
  if (subject === undefined) return 'no client certificate';
  const parts = Object.entries(subject).map(([name, value]) => `${name}=${String(value)}`);
  return parts.reverse().join(',').slice(0, MAX_NAME);
}
