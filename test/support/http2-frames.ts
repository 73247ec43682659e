/** HTTP/2 frame by frame (RFC 9113), to send what no HTTP/2 library would. */
import type { Socket } from 'node:net';
import type { Door } from './grpc-connection.ts';

/** RFC 9113 §6. */
export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;
export const FLAG = { END_STREAM: 1, ACK: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 0x20 } as const;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

/** @param length What the frame says of its length; the payload's own by default */
export function frame(type: number, flags: number, streamId: number, payload: Uint8Array = NOTHING, length?: number) {
  const header = Buffer.alloc(9);
  header.writeUIntBE(length ?? payload.byteLength, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(streamId >>> 0, 5);
  return Buffer.concat([header, payload]);
}

const NOTHING = Buffer.alloc(0);

/** A 32-bit number, as most control frames carry. */
export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

/** The connection preface with empty SETTINGS (§3.4). */
export const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(FRAME.SETTINGS, 0, 0)]);

type Headers = readonly (readonly [name: string, value: string])[];

/** A header block of literals that touch no table (RFC 7541 §6.2.2); names and values as Latin-1, unchecked. */
export function headerBlock(headers: Headers): Buffer {
  return Buffer.concat(headers.flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]));
}

/** String literal without Huffman coding (RFC 7541 §5.2). */
function literal(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const prefix = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest >>= 7) prefix.push((rest & 127) | 128);
  return Buffer.concat([Buffer.from([...prefix, rest]), bytes]);
}

/** The headers of a gRPC call. @param changed Added, or in the place of those of the same name; undefined leaves out */
export function grpcHeaders(path: string, changed: Readonly<Record<string, string | undefined>> = {}): Headers {
  const headers = {
    ':method': 'POST',
    ':scheme': 'https',
    ':path': path,
    ':authority': 'localhost',
    'content-type': 'application/grpc',
    te: 'trailers',
    ...changed,
  };
  return Object.entries(headers).filter((header): header is [string, string] => header[1] !== undefined);
}

/** Stream IDs of a client: 1, 3, 5 … */
export function streamIds(count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => 2 * index + 1);
}

/** A connection on which every frame is written by hand, and every frame that comes back is kept. */
export class RawConnection implements Disposable {
  readonly socket: Socket;
  /** What came back so far; of a flood only the newest. */
  readonly frames: Frame[] = [];
  isClosed = false;
  /** Settles at the first GOAWAY, or when the connection is gone: nobody reads what is written from then on. */
  readonly #over: Promise<void>;
  #end: () => void = () => undefined;
  #rest: Buffer = NOTHING;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => undefined); // resets are what these tests are about
    socket.on('data', (chunk: Buffer) => this.#parse(chunk));
    this.#over = new Promise((resolve) => {
      this.#end = resolve;
    });
    socket.once('close', () => {
      this.isClosed = true;
      this.#end();
    });
  }

  static async open(door: Door): Promise<RawConnection> {
    return new RawConnection(await door.open());
  }

  /** True once the server has given the connection up. */
  get isOver(): boolean {
    return this.isClosed || this.frames.some(({ type }) => type === FRAME.GOAWAY);
  }

  /** Writes all parts. @returns When they have left, or the server has given the connection up */
  async write(...parts: readonly Uint8Array[]): Promise<void> {
    if (this.isOver) return;
    const written = new Promise<void>((resolve) => {
      this.socket.write(Buffer.concat(parts), () => resolve());
    });
    await Promise.race([written, this.#over]);
  }

  /** Waits for a frame that matches. @returns Undefined if the connection ends or `timeoutMs` pass before */
  async find(matches: (frame: Frame) => boolean, timeoutMs: number): Promise<Frame | undefined> {
    const giveUpAt = Date.now() + timeoutMs;
    for (;;) {
      const found = this.frames.find(matches);
      if (found !== undefined || this.isClosed || Date.now() >= giveUpAt) return found;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** @returns Whether the connection ended, by GOAWAY or by closing, within `timeoutMs` */
  async ends(timeoutMs: number): Promise<boolean> {
    await this.find(({ type }) => type === FRAME.GOAWAY, timeoutMs);
    return this.isOver;
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  #parse(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 9) {
      const end = 9 + this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < end) return;
      const [type = 0, flags = 0] = this.#rest.subarray(3, 5);
      const streamId = this.#rest.readUInt32BE(5);
      this.frames.push({ type, flags, streamId, payload: Buffer.from(this.#rest.subarray(9, end)) });
      if (type === FRAME.GOAWAY) this.#end();
      else if (this.frames.length > 1000) this.frames.splice(0, 500);
      this.#rest = this.#rest.subarray(end);
    }
  }
}
