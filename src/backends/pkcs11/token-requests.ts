/**
 * What clients ask of one token: waits in a queue that is fair between them, goes to whichever of the token's hosts has
 * room, and leaves when its caller has gone or its deadline has passed.
 */
import { SignetError } from '../../errors.ts';
import { anotherToken, isSameToken } from '../same-token.ts';
import type { WhichToken } from '../token-facts.ts';
import { FairQueue, type QueueBounds } from './fair-queue.ts';
import type { HostRequest } from './host-protocol.ts';
import {
  cancelled,
  type HostAnswer,
  HostRequestInFlight,
  type RequestOptions,
  type RequestOwner,
} from './host-request.ts';

/** More callers than these on one token would only time out. */
const BOUNDS: QueueBounds = {
  maxItems: 4096,
  maxBytes: 64 * 1024 * 1024,
  maxItemsPerClient: 1024,
  maxBytesPerClient: 16 * 1024 * 1024,
};

/** How often it is asked whether callers have gone that tell it only then, milliseconds. */
const LOOK_MS = 100;

/** A host as the queue sees it. */
export interface RequestServer {
  /** How many requests it has. */
  readonly load: number;
  /** Whether the token is open there: the others fail requests that need a login. */
  readonly isOpen: boolean;
  /** The token that it serves. */
  readonly token: WhichToken | undefined;
  /** Takes requests with `next` while it has room. */
  pull(): void;
  /** Nobody waits for it any more: it need not be begun, if the server has it. */
  abandon(request: HostRequestInFlight): void;
}

export class TokenRequests implements RequestOwner {
  readonly #name: string;
  readonly #queue = new FairQueue<HostRequestInFlight>(BOUNDS);
  readonly #servers = new Set<RequestServer>();
  /** Not settled yet, waiting or begun. */
  readonly #live = new Set<HostRequestInFlight>();
  readonly #onIdle = new Set<() => void>();
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  /** @param name Of the token, for messages. */
  constructor(name: string) {
    this.#name = name;
  }

  /** Whether requests are in progress or waiting. */
  get isBusy(): boolean {
    return this.#live.size > 0;
  }

  /** Waits until none is in progress or waiting, for at most so many milliseconds. */
  idle(timeoutMs: number): Promise<void> {
    if (!this.isBusy) return Promise.resolve();
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#onIdle.delete(end);
        resolve();
      };
      const timer = setTimeout(end, timeoutMs);
      this.#onIdle.add(end);
    });
  }

  /**
   * Queues a request.
   *
   * @param client Whose turn it takes.
   * @throws {SignetError} what the host answers; UNAVAILABLE if there is none or it ended, OVERLOADED, CANCELLED,
   *   DEADLINE_EXCEEDED
   */
  request<T>(client: string, request: HostRequest, options: RequestOptions<T>): Promise<HostAnswer<T>> {
    return HostRequestInFlight.run(this, client, request, options);
  }

  /** The next request for `server` to work on. */
  next(server: RequestServer): HostRequestInFlight | undefined {
    const canOthers = !server.isOpen && [...this.#servers].some(({ isOpen }) => isOpen);
    if (canOthers) return undefined;
    for (let request = this.#queue.next(); request !== undefined; request = this.#queue.next()) {
      const refusal = refusalAt(server, request);
      if (refusal === undefined) return request;
      request.fail(refusal);
    }
    return undefined;
  }

  /** From now on `server` is given requests. */
  join(server: RequestServer): void {
    this.#servers.add(server);
    server.pull();
  }

  /** @param reason Told to everybody who waits, if no other server can go on with that. */
  leave(server: RequestServer, reason: SignetError): void {
    if (!this.#servers.delete(server)) return;
    const others = [...this.#servers].filter(({ isOpen }) => isOpen);
    if (others.length > 0) {
      // Some may be idle: there was nothing to wake them if all was queued before they were open.
      for (const other of others) other.pull();
      return;
    }
    for (let request = this.#queue.next(); request !== undefined; request = this.#queue.next()) request.fail(reason);
  }

  submit(request: HostRequestInFlight): void {
    const refusal = this.#refusal(request);
    if (refusal !== undefined) {
      request.fail(refusal);
      return;
    }
    this.#live.add(request);
    this.#armTimer(wakeUpFor(request));
    this.#leastLoaded()?.pull();
  }

  settled(request: HostRequestInFlight): void {
    this.#live.delete(request);
    if (this.#live.size === 0) for (const tell of this.#onIdle) tell();
  }

  /** Queues it, or tells why not. */
  #refusal(request: HostRequestInFlight): SignetError | undefined {
    if (this.#servers.size === 0) {
      return new SignetError('UNAVAILABLE', `no token host serves ${this.#name} at present`);
    }
    if (request.deadline <= Date.now()) return this.#late();
    if (this.#queue.add(request)) return undefined;
    return new SignetError('OVERLOADED', `too many requests wait for the token of ${this.#name}`);
  }

  #leastLoaded(): RequestServer | undefined {
    let best: RequestServer | undefined;
    for (const server of this.#servers) {
      if (best === undefined || rank(server) < rank(best)) best = server;
    }
    return best;
  }

  /** Unless the token is being changed: then the outcome must not get lost. */
  abandon(request: HostRequestInFlight, reason: SignetError): void {
    if (!this.#queue.delete(request) && request.isChange) return;
    request.fail(reason);
    for (const server of this.#servers) server.abandon(request);
  }

  /** One timer for all: one for each would be set and cleared for every signature. */
  #armTimer(at: number): void {
    if (at >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => this.#expire(), Math.min(at - Date.now(), MAX_TIMER_MS)).unref();
  }

  #expire(): void {
    this.#timerAt = Number.POSITIVE_INFINITY;
    const now = Date.now();
    let next = Number.POSITIVE_INFINITY;
    for (const request of this.#live) {
      if (request.deadline <= now) this.abandon(request, this.#late());
      else if (request.isCancelled?.()) this.abandon(request, cancelled());
      else next = Math.min(next, wakeUpFor(request));
    }
    this.#armTimer(next);
  }

  #late(): SignetError {
    return new SignetError('DEADLINE_EXCEEDED', `${this.#name} did not answer before the caller's deadline`);
  }
}

/** What Node's timers can hold (2^31 - 1 ms); a later deadline is looked at again then. */
const MAX_TIMER_MS = 0x7fffffff;

/** Why `server` is not given a request whose turn it is. */
function refusalAt(server: RequestServer, { isCancelled, token }: HostRequestInFlight): SignetError | undefined {
  if (isCancelled?.()) return cancelled();
  return token === undefined || isSameToken(token, server.token) ? undefined : anotherToken(token, server.token);
}

/** When a request is to be looked at again. */
function wakeUpFor({ deadline, isCancelled }: HostRequestInFlight): number {
  return isCancelled === undefined ? deadline : Math.min(deadline, Date.now() + LOOK_MS);
}

/** A server that is not open comes last: it answers what is wrong, if nobody else can do better. */
function rank({ load, isOpen }: RequestServer): number {
  return isOpen ? load : Number.MAX_SAFE_INTEGER;
}
