/** How many calls, or calls of one kind, are in progress, in all and of each client. */
import { SignetError } from '../errors.ts';

/** So that one client, with however many connections, leaves room for others. */
const CLIENT_SHARE = 7 / 8;

export interface CallSlotsOptions {
  /** What messages call them. */
  readonly what?: string;
  /** How much of them one client may have: a number up to 1, 7/8 by default. */
  readonly clientShare?: number;
}

export class CallSlots {
  readonly #what: string;
  readonly #most: number;
  readonly #mostOfClient: number;
  /** Clients without a call are left out. */
  readonly #byClient = new Map<string, number>();
  #inUse = 0;

  /** @param most Calls at one time, at least 1; of one client its share, rounded up. */
  constructor(most: number, { what = 'calls', clientShare = CLIENT_SHARE }: CallSlotsOptions = {}) {
    this.#what = what;
    this.#most = most;
    this.#mostOfClient = Math.ceil(most * clientShare);
  }

  get inUse(): number {
    return this.#inUse;
  }

  /** Why a further call of the client is refused: OVERLOADED. @returns Undefined if there is room */
  refusal(client: string): SignetError | undefined {
    if (this.#inUse >= this.#most) return new SignetError('OVERLOADED', `too many ${this.#what}`);
    if (this.#of(client) < this.#mostOfClient) return undefined;
    return new SignetError('OVERLOADED', `too many ${this.#what} of one client`);
  }

  take(client: string): void {
    this.#inUse++;
    this.#byClient.set(client, this.#of(client) + 1);
  }

  giveBack(client: string): void {
    this.#inUse--;
    const others = this.#of(client) - 1;
    if (others > 0) this.#byClient.set(client, others);
    else this.#byClient.delete(client);
  }

  #of(client: string): number {
    return this.#byClient.get(client) ?? 0;
  }
}
