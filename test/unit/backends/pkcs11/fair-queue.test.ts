import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FairQueue } from '../../../../src/backends/pkcs11/fair-queue.ts';

const BOUNDS = { maxItems: 100, maxBytes: 10_000, maxItemsPerClient: 50, maxBytesPerClient: 5000 };

interface Item {
  readonly client: string;
  readonly bytes: number;
  readonly number: number;
}

function queueOf(clients: readonly string[], bounds = BOUNDS): FairQueue<Item> {
  const queue = new FairQueue<Item>(bounds);
  for (const [number, client] of clients.entries()) expect(queue.add({ client, bytes: 1, number })).toBe(true);
  return queue;
}

function drain(queue: FairQueue<Item>): Item[] {
  const items: Item[] = [];
  for (let item = queue.next(); item !== undefined; item = queue.next()) items.push(item);
  return items;
}

describe('a fair queue', () => {
  it('lets clients take turns, each in the order of its own items', () => {
    const items = drain(queueOf(['a', 'a', 'a', 'b', 'c', 'b']));
    expect(items.map(({ client, number }) => `${client}${number}`)).toEqual(['a0', 'b3', 'c4', 'a1', 'b5', 'a2']);
  });

  it('serves a client that comes late before those that have had their turns', () => {
    const queue = queueOf([...Array<string>(40).fill('flood'), ...Array<string>(40).fill('another')]);
    for (let i = 0; i < 7; i++) queue.next();
    queue.add({ client: 'late', bytes: 1, number: 80 });
    const order = drain(queue).map(({ client }) => client);
    expect(order.indexOf('late')).toBe(0);
  });

  it('does not let a client that always brings one item go before the others', () => {
    const queue = queueOf(Array<string>(10).fill('flood'));
    const order: string[] = [];
    for (let number = 10; number < 20; number++) {
      queue.add({ client: 'one at a time', bytes: 1, number });
      order.push(queue.next()?.client ?? '', queue.next()?.client ?? '');
    }
    expect(order.filter((client) => client === 'flood')).toHaveLength(10);
  });

  it('gives out every item once, whatever comes and leaves between', () => {
    const steps = fc.array(
      fc.record({ what: fc.constantFrom('add', 'next', 'delete'), client: fc.constantFrom('a', 'b', 'c') }),
      { maxLength: 200 },
    );
    fc.assert(
      fc.property(steps, (script) => {
        const queue = new FairQueue<Item>(BOUNDS);
        const inside = new Map<number, Item>();
        for (const [number, { what, client }] of script.entries()) {
          const [first] = inside.values();
          if (what === 'add') {
            const item = { client, bytes: 1, number };
            if (queue.add(item)) inside.set(number, item);
          } else if (what === 'delete' && first !== undefined) {
            expect(queue.delete(first)).toBe(true);
            expect(queue.delete(first)).toBe(false);
            inside.delete(first.number);
          } else if (what === 'next') {
            const item = queue.next();
            expect(item === undefined).toBe(inside.size === 0);
            if (item !== undefined) expect(inside.delete(item.number)).toBe(true);
          }
          expect(queue.size).toBe(inside.size);
        }
        expect(drain(queue)).toHaveLength(inside.size);
      }),
    );
  });

  it('no client can fill for the others', () => {
    const queue = queueOf(Array<string>(50).fill('flood'));
    expect(queue.add({ client: 'flood', bytes: 1, number: 50 })).toBe(false);
    expect(queue.add({ client: 'another', bytes: 5000, number: 51 })).toBe(true);
    expect(queue.add({ client: 'another', bytes: 1, number: 52 })).toBe(false);
    expect(queue.add({ client: 'third', bytes: 1, number: 53 })).toBe(true);
  });

  it('is bounded in items and bytes, and has room again for what leaves', () => {
    const bounds = { ...BOUNDS, maxItems: 2, maxBytes: 100 };
    const queue = queueOf(['a', 'b'], bounds);
    const third = { client: 'c', bytes: 1, number: 2 };
    expect(queue.add(third)).toBe(false);
    queue.next();
    expect(queue.add({ ...third, bytes: 100 })).toBe(false);
    expect(queue.add(third)).toBe(true);
  });
});
