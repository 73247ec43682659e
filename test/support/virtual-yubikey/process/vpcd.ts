/**
 * The card's side of vpcd, the virtual reader of vsmartcard: the card connects to the reader. Every message, either way,
 * has its length before it in two octets; messages of one octet to the card are about power.
 */
import { connect, type Socket } from 'node:net';

/** One octet each. */
const POWER_OFF = 0x00;
const RESET = 0x02;
const GET_ATR = 0x04;

const RECONNECT_MS = 10;

export interface VpcdCard {
  readonly atr: Buffer;
  /** Is called with one command at a time. Undefined when its power was lost meanwhile. */
  transmit(apdu: Buffer): Promise<Buffer | undefined>;
  /** Power is gone, if only for a moment: the card was reset, taken out, or its reader ended. */
  onPowerLost(): void;
}

/** A card that can be put into the reader at `port` and taken out. While it is in, it finds a reader that restarts. */
export class VpcdSlot {
  readonly #port: number;
  readonly #card: VpcdCard;
  #socket: Socket | undefined;
  #retry: NodeJS.Timeout | undefined;
  #isInserted = false;

  constructor(port: number, card: VpcdCard) {
    this.#port = port;
    this.#card = card;
  }

  get isInserted(): boolean {
    return this.#isInserted;
  }

  insert(): void {
    if (this.#isInserted) return;
    this.#isInserted = true;
    this.#connect();
  }

  /** Cuts the connection, also in the middle of a command. */
  remove(): void {
    this.#isInserted = false;
    clearTimeout(this.#retry);
    this.#socket?.destroy();
  }

  #connect(): void {
    const socket = connect(this.#port, '127.0.0.1').setNoDelay(true);
    this.#socket = socket;
    const received = new FrameReader();
    let pending = Promise.resolve();
    socket.on('error', () => {}); // `close` follows
    socket.on('data', (chunk) => {
      for (const frame of received.push(chunk)) {
        pending = pending.then(() => this.#answer(socket, frame));
      }
    });
    socket.once('close', () => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#card.onPowerLost();
      if (this.#isInserted) this.#retry = setTimeout(() => this.#connect(), RECONNECT_MS);
    });
  }

  async #answer(socket: Socket, message: Buffer): Promise<void> {
    const answer = message.length === 1 ? this.#control(message.readUInt8()) : await this.#card.transmit(message);
    if (answer === undefined || !socket.writable) return;
    const frame = Buffer.alloc(2 + answer.length);
    frame.writeUInt16BE(answer.length);
    answer.copy(frame, 2);
    socket.write(frame); // one segment
  }

  #control(code: number): Buffer | undefined {
    if (code === GET_ATR) return this.#card.atr;
    if (code === POWER_OFF || code === RESET) this.#card.onPowerLost();
    return undefined; // nothing is answered, to power on neither
  }
}

/** Cuts a stream into its messages. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0);

  /** @returns The messages that `chunk` completes. */
  push(chunk: Buffer): readonly Buffer[] {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const frames: Buffer[] = [];
    while (this.#rest.length >= 2 && this.#rest.length >= 2 + this.#rest.readUInt16BE()) {
      const end = 2 + this.#rest.readUInt16BE();
      frames.push(this.#rest.subarray(2, end));
      this.#rest = this.#rest.subarray(end);
    }
    return frames;
  }
}
