/** One request to a token host, from its encoding to its answer. */
import { SignetError } from '../../errors.ts';
import type { WhichToken } from '../token-facts.ts';
import { encodeFrame, type HostReply, type HostRequest, setFrameId } from './host-protocol.ts';

export interface RequestOptions<T> {
  /** Checks and types the answer; throws INTERNAL for one that the protocol does not have. */
  readonly parse: (value: unknown) => T;
  readonly blob?: Uint8Array | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Whether the caller has gone, for callers that know it without a signal: asked now and then. */
  readonly isCancelled?: (() => boolean) | undefined;
  /** When the caller stops waiting, milliseconds since the epoch. */
  readonly deadline?: number | undefined;
  /** Where an operation takes longer than others. */
  readonly timeoutMs?: number | undefined;
  /** Whoever asked is told the outcome, come what may, of an operation that has begun: it changes the token. */
  readonly isChange?: boolean | undefined;
  /** The only token that it is for; undefined: whichever is attached. */
  readonly token?: WhichToken | undefined;
  /** Called when the request leaves the queue. */
  readonly onStart?: (() => void) | undefined;
}

export interface HostAnswer<T> {
  readonly value: T;
  readonly blob: Buffer;
}

/** Who holds a request until it is settled. */
export interface RequestOwner {
  /** Takes charge: settles the request sooner or later. */
  submit(request: HostRequestInFlight): void;
  /** The caller does not wait any more. */
  abandon(request: HostRequestInFlight, reason: SignetError): void;
  settled(request: HostRequestInFlight): void;
}

type Outcome = { readonly reply: HostReply; readonly blob: Buffer } | { readonly error: SignetError };

/** A request that waits or is being worked on. Settled once; later outcomes are dropped. */
export class HostRequestInFlight {
  readonly client: string;
  readonly timeoutMs: number | undefined;
  readonly deadline: number;
  readonly isChange: boolean;
  readonly token: WhichToken | undefined;
  /** Whether its frame is to be zeroed after use: there may be a PIN or a private key in it. */
  readonly isSecret: boolean;
  readonly isCancelled: (() => boolean) | undefined;
  readonly #frame: Buffer;
  readonly #onStart: (() => void) | undefined;
  readonly #settle: (outcome: Outcome) => void;
  #isSettled = false;
  #isBegun = false;

  private constructor(
    client: string,
    isSecret: boolean,
    frame: Buffer,
    options: Omit<RequestOptions<unknown>, 'parse'>,
    settle: (outcome: Outcome) => void,
  ) {
    this.client = client;
    this.isSecret = isSecret;
    this.timeoutMs = options.timeoutMs;
    this.deadline = options.deadline ?? Number.POSITIVE_INFINITY;
    this.isChange = options.isChange ?? false;
    this.isCancelled = options.isCancelled;
    this.token = options.token;
    this.#frame = frame;
    this.#onStart = options.onStart;
    this.#settle = settle;
  }

  /**
   * Makes a request, gives it to its owner and waits for it.
   *
   * @throws {SignetError} what the host answers, or what the request was settled with; CANCELLED, INVALID_ARGUMENT
   */
  static run<T>(
    owner: RequestOwner,
    client: string,
    request: HostRequest,
    options: RequestOptions<T>,
  ): Promise<HostAnswer<T>> {
    const { signal, blob, parse } = options;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(cancelled());
      const abort = () => owner.abandon(inFlight, cancelled());
      const isSecret = request.op !== 'sign' || request.pinBytes > 0;
      const inFlight = new HostRequestInFlight(client, isSecret, encodeFrame(0, request, blob), options, (outcome) => {
        signal?.removeEventListener('abort', abort);
        owner.settled(inFlight);
        if ('error' in outcome) return reject(outcome.error);
        try {
          resolve({ value: parse(answerOf(outcome.reply)), blob: outcome.blob });
        } catch (error) {
          reject(error);
        }
      });
      signal?.addEventListener('abort', abort, { once: true });
      owner.submit(inFlight);
      return undefined;
    });
  }

  get bytes(): number {
    return this.#frame.length;
  }

  get isSettled(): boolean {
    return this.#isSettled;
  }

  /** Whether a host has it. */
  get isBegun(): boolean {
    return this.#isBegun;
  }

  /** @returns The frame to send; the caller zeroes it if it is secret. */
  begin(id: number): Buffer {
    this.#isBegun = true;
    this.#onStart?.();
    return setFrameId(this.#frame, id);
  }

  answer(reply: HostReply, blob: Buffer): void {
    this.#finish({ reply, blob });
  }

  fail(error: SignetError): void {
    this.#finish({ error });
  }

  #finish(outcome: Outcome): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    if (this.isSecret && !this.#isBegun) this.#frame.fill(0);
    this.#settle(outcome);
  }
}

/** What a host says went wrong, as an error. */
export function errorOf(reply: Extract<HostReply, { ok: false }>): SignetError {
  const { hint, retriesLeft } = reply;
  return new SignetError(reply.code, reply.message, {
    ...(hint === undefined ? {} : { hint }),
    ...(retriesLeft === undefined ? {} : { retriesLeft }),
  });
}

export function cancelled(): SignetError {
  return new SignetError('CANCELLED', 'the call was cancelled');
}

function answerOf(reply: HostReply): unknown {
  if (reply.ok) return reply.value;
  throw errorOf(reply);
}
