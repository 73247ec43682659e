/** A test's end of the control connection (control-protocol.ts). */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Answer, CardOrder, MachineVerb, Order } from './control-protocol.ts';

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class ControlConnection implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #lastWords: () => string;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;

  private constructor(socket: Socket, lastWords: () => string) {
    this.#socket = socket;
    this.#lastWords = lastWords;
    createInterface({ input: socket }).on('line', (line) => this.#settle(JSON.parse(line) as Answer));
    socket.on('error', () => {}); // `close` follows
    socket.once('close', () => {
      for (const { reject } of this.#waiting.values()) reject(this.#ended());
      this.#waiting.clear();
    });
  }

  /** @param lastWords What the simulator has written to stderr, for the errors after its end. */
  static async open(path: string, lastWords: () => string): Promise<ControlConnection> {
    const socket = connect(path);
    await once(socket, 'connect');
    return new ControlConnection(socket, lastWords);
  }

  /** @returns What the verb answers. @throws {Error} what the simulator says against it, or that it has ended */
  async order(body: MachineVerb | CardOrder): Promise<unknown> {
    const id = ++this.#lastId;
    return await new Promise((resolve, reject) => {
      if (this.#socket.destroyed) {
        reject(this.#ended());
        return;
      }
      this.#waiting.set(id, { resolve, reject });
      this.#socket.write(`${JSON.stringify({ id, ...body } satisfies Order)}\n`);
    });
  }

  /** Closes, upon which the simulator ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#socket.closed) return;
    this.#socket.destroy();
    await once(this.#socket, 'close');
  }

  #ended(): Error {
    return new Error(`the virtual YubiKey has ended: ${this.#lastWords()}`);
  }

  #settle(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if ('error' in answer) waiting?.reject(new Error(answer.error));
    else waiting?.resolve(answer.result);
  }
}
