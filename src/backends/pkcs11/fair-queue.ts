/**
 * A bounded queue that is fair between clients: each in turn gives one item, in the order in which it brought its own. A
 * client that has not had a turn lately comes first, so that who asks now and then does not wait for those who always do
 * (RFC 8290 §4.1 does the same with packets).
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
  /** Clients that have had no turn yet, the next one first. */
  readonly #fresh = new Map<string, Lane<Item>>();
  /** Clients that have, the next one first. One that has no more items stays until its turn: else it would be fresh again. */
  readonly #turns = new Map<string, Lane<Item>>();
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
    const known = this.#laneOf(item.client);
    const lane = known ?? { items: new Set(), bytes: 0 };
    if (this.#size >= maxItems || this.#bytes + item.bytes > maxBytes) return false;
    if (lane.items.size >= maxItemsPerClient || lane.bytes + item.bytes > maxBytesPerClient) return false;
    lane.items.add(item);
    lane.bytes += item.bytes;
    if (known === undefined) this.#fresh.set(item.client, lane);
    this.#size++;
    this.#bytes += item.bytes;
    return true;
  }

  /** Takes the first item of the client whose turn it is; undefined if there is none. */
  next(): Item | undefined {
    for (const lanes of [this.#fresh, this.#turns]) {
      for (const [client, lane] of lanes) {
        lanes.delete(client);
        const [item] = lane.items;
        if (item === undefined) continue;
        this.#turns.set(client, lane); // behind the others
        this.delete(item);
        return item;
      }
    }
    return undefined;
  }

  /** @returns False if it was not queued. */
  delete(item: Item): boolean {
    const lane = this.#laneOf(item.client);
    if (lane === undefined || !lane.items.delete(item)) return false;
    lane.bytes -= item.bytes;
    this.#size--;
    this.#bytes -= item.bytes;
    return true;
  }

  #laneOf(client: string): Lane<Item> | undefined {
    return this.#fresh.get(client) ?? this.#turns.get(client);
  }
}
