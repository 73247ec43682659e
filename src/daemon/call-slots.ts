/** How many calls are in progress, in all and of each client. */
import { SignetError } from '../errors.ts';

/** So that one client, with however many connections, leaves room for others. */
const CLIENT_SHARE = 7 / 8;

export class CallSlots {
  readonly #most: number;
  readonly #mostOfClient: number;
  /** Clients without a call are left out. */
  readonly #byClient = new Map<string, number>();
  #inUse = 0;

  /** @param most Calls at one time, at least 1; of one client at most 7 of 8, rounded up. */
  constructor(most: number) {
    this.#most = most;
    this.#mostOfClient = Math.ceil(most * CLIENT_SHARE);
  }

  get inUse(): number {
    return this.#inUse;
  }

  /** Why a further call of the client is refused: OVERLOADED. @returns Undefined if there is room */
  refusal(client: string): SignetError | undefined {
    if (this.#inUse >= this.#most) return new SignetError('OVERLOADED', 'too many calls');
    if (this.#of(client) < this.#mostOfClient) return undefined;
    return new SignetError('OVERLOADED', 'too many calls of one client');
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
