/**
 * The token host: the child process that a PKCS#11 module is loaded in. Started by `token-host.ts` only, with a socket as
 * file descriptor 3; ends when that socket closes.
 *
 * Calls into the module are synchronous: one at a time, in the order of the requests. Between two slow ones the socket is
 * read, so that a request that nobody waits for any more is not begun.
 */
import { Socket } from 'node:net';
import { basename } from 'node:path';
import { SignetError } from '../../errors.ts';
import { loadNative } from '../../native.ts';
import { splitParts } from './blob-parts.ts';
import { ckrOf, fromPkcs11Error } from './ckr.ts';
import { Cryptoki } from './cryptoki.ts';
import { initialiseToken } from './host-administration.ts';
import { type HostResult, performOnToken } from './host-operations.ts';
import {
  type AttachedFacts,
  encodeFrame,
  type Frame,
  FrameReader,
  type HostReply,
  type HostRequest,
} from './host-protocol.ts';
import { HostToken } from './host-token.ts';
import { profileOfFile } from './profile.ts';
import { TokenLost } from './token-session.ts';

const SOCKET_FD = 3;
/** After so long the socket is read again, milliseconds: requests that came in, and cancellations. */
const SLICE_MS = 1;

class Host {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Frame>();
  #isPumping = false;
  /** For messages, with what went wrong in it. */
  #moduleName = 'the module';
  #listingHint: string | undefined;
  #cryptoki: Cryptoki | undefined;
  #token: HostToken | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  receive(frame: Frame): void {
    // The other end is our own daemon: its requests have the shapes that its types promise.
    const request = frame.header as unknown as HostRequest;
    if (request.op === 'cancel') {
      if (this.#waiting.delete(request.id)) this.#refuse(request.id, new SignetError('CANCELLED', 'not begun'));
      return;
    }
    this.#waiting.set(frame.id, frame);
    this.#pump();
  }

  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    setImmediate(() => {
      this.#isPumping = false;
      const endsAt = performance.now() + SLICE_MS;
      for (const [id, frame] of this.#waiting) {
        this.#waiting.delete(id);
        this.#answer(frame);
        if (performance.now() >= endsAt) break;
      }
      if (this.#waiting.size > 0) this.#pump();
    });
  }

  #answer({ id, header, blob }: Frame): void {
    try {
      const { value, blob: answer } = this.#perform(header as unknown as HostRequest, blob);
      this.#send(id, { ok: true, value }, answer);
    } catch (error) {
      this.#refuse(id, error);
    } finally {
      blob.fill(0);
    }
  }

  #refuse(id: number, error: unknown): void {
    const { code, message, hint, retriesLeft } = fromPkcs11Error(error, 'the module failed');
    const isModules = ckrOf(error) !== undefined || (error instanceof SignetError && ckrOf(error.cause) !== undefined);
    const told = isModules ? `${this.#moduleName}: ${message}` : message;
    this.#send(id, { ok: false, code, message: told, hint, retriesLeft, lost: error instanceof TokenLost });
  }

  #send(id: number, reply: HostReply, blob?: Uint8Array): void {
    this.#socket.write(encodeFrame(id, reply, blob));
  }

  #perform(request: HostRequest, blob: Buffer): HostResult {
    switch (request.op) {
      case 'load':
        this.#moduleName = basename(request.modulePath);
        this.#listingHint = profileOfFile(request.modulePath).listingHint;
        this.#cryptoki = Cryptoki.load(request.modulePath, request.parameters);
        return { value: this.#cryptoki.moduleFacts() };
      case 'tokens':
        return { value: naming('listing the tokens failed', () => this.#tokens(request.fresh), this.#listingHint) };
      case 'emptySlots':
        return { value: naming('listing the slots failed', () => this.#module().emptySlots()) };
      case 'attach':
        return { value: naming(`attaching token "${request.label}" failed`, () => this.#attach(request)) };
      case 'initialise': {
        const [soPin = Buffer.alloc(0), pin = Buffer.alloc(0)] = splitParts(blob);
        this.#token = undefined; // its sessions are closed
        naming(`initialising token "${request.label}" failed`, () =>
          initialiseToken(this.#module(), request, request.newLabel, { soPin, pin }),
        );
        return {};
      }
      case 'cancel':
        return {};
      default:
        if (this.#token === undefined) throw new SignetError('INTERNAL', 'no token is attached');
        return performOnToken(this.#token, request, blob);
    }
  }

  #attach(request: Extract<HostRequest, { op: 'attach' }>): AttachedFacts {
    const cryptoki = this.#module();
    const { token, slot } = HostToken.attach(cryptoki, request, request.profile);
    this.#token = token;
    return { ...token.session.state(), mechanisms: cryptoki.mechanisms(slot) };
  }

  /** While no token is attached, nothing is lost by starting the module again. */
  #tokens(fresh: boolean): unknown {
    const cryptoki = this.#module();
    if (fresh && this.#token === undefined) {
      cryptoki.finalize();
      cryptoki.initialize();
    }
    return cryptoki.slots().map((slot) => cryptoki.tokenFacts(slot));
  }

  /** Modules that keep state outside this process (a TPM) want to be told. Nothing is in progress: calls are synchronous. */
  end(): void {
    try {
      this.#cryptoki?.finalize();
    } catch {
      // nobody is left to tell
    }
    process.exit(0);
  }

  #module(): Cryptoki {
    if (this.#cryptoki === undefined) throw new SignetError('INTERNAL', 'no module is loaded');
    return this.#cryptoki;
  }
}

/**
 * @param what What was being done, for errors of the module that do not say so.
 * @param hint What to do about them.
 */
function naming<T>(what: string, operation: () => T, hint?: string): T {
  try {
    return operation();
  } catch (error) {
    throw fromPkcs11Error(error, what, hint === undefined ? {} : { hint });
  }
}

async function main(): Promise<void> {
  // A terminal or a service manager signals the whole group; the daemon decides when its tokens are done.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  const native = await loadNative();
  native?.protectMemory();
  native?.endWithParent();
  const socket = new Socket({ fd: SOCKET_FD, readable: true, writable: true });
  const host = new Host(socket);
  const reader = new FrameReader();
  socket.on('data', (chunk: Buffer) => {
    for (const frame of reader.push(chunk)) host.receive(frame);
  });
  socket.on('error', () => host.end());
  socket.on('close', () => host.end());
}

await main();
