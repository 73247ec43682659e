/**
 * A bounded queue that is fair between clients: each in turn gives one item, in the order in which it brought its own. Who
 * asks now and then waits for one item of everybody else, however many they have brought.
 */

export interface QueueItem {
  /** Whose turn it takes. */
  readonly client: string;
  readonly bytes: number;
}

export interface QueueBounds {
  readonly maxItems: number;
  readonly maxBytes: number;
  /** Of one client, so that it cannot fill the queue for others. */
  readonly maxItemsPerClient: number;
  readonly maxBytesPerClient: number;
}

interface Lane<Item> {
  readonly items: Set<Item>;
  bytes: number;
}

export class FairQueue<Item extends QueueItem> {
  readonly #bounds: QueueBounds;
  /** Clients that have items, the next one first. */
  readonly #lanes = new Map<string, Lane<Item>>();
  #size = 0;
  #bytes = 0;

  constructor(bounds: QueueBounds) {
    this.#bounds = bounds;
  }

  get size(): number {
    return this.#size;
  }

  /** @returns False if the queue, or the client's part of it, is full. */
  add(item: Item): boolean {
    const { maxItems, maxBytes, maxItemsPerClient, maxBytesPerClient } = this.#bounds;
    const lane = this.#lanes.get(item.client) ?? { items: new Set(), bytes: 0 };
    if (this.#size >= maxItems || this.#bytes + item.bytes > maxBytes) return false;
    if (lane.items.size >= maxItemsPerClient || lane.bytes + item.bytes > maxBytesPerClient) return false;
    lane.items.add(item);
    lane.bytes += item.bytes;
    this.#lanes.set(item.client, lane);
    this.#size++;
    this.#bytes += item.bytes;
    return true;
  }

  /** Takes the first item of the client whose turn it is; undefined if there is none. */
  next(): Item | undefined {
    for (const [client, lane] of this.#lanes) {
      for (const item of lane.items) {
        this.delete(item);
        // Behind the others until its next turn.
        if (this.#lanes.delete(client)) this.#lanes.set(client, lane);
        return item;
      }
    }
    return undefined;
  }

  /** @returns False if it was not queued. */
  delete(item: Item): boolean {
    const lane = this.#lanes.get(item.client);
    if (lane === undefined || !lane.items.delete(item)) return false;
    lane.bytes -= item.bytes;
    if (lane.items.size === 0) this.#lanes.delete(item.client);
    this.#size--;
    this.#bytes -= item.bytes;
    return true;
  }
}
