import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { UnlockedKeys } from '../../../src/backends/unlocked-keys.ts';
import { PrivateKey } from '../../../src/crypto/private-key.ts';

const MESSAGE = { message: Buffer.from('message') };

let sealed: Buffer[];
let now: number;
let keys: PrivateKey[];
let unlocked: UnlockedKeys<string>;

beforeAll(async () => {
  const made = await Promise.all(Array.from({ length: 6 }, () => PrivateKey.generate('ed25519')));
  sealed = made.map((key) => key.toPkcs8());
});
beforeEach(() => {
  now = 1000;
  keys = sealed.map((pkcs8) => PrivateKey.fromPkcs8(pkcs8));
  unlocked = new UnlockedKeys({ max: 4, ttlMs: 100, now: () => now });
});
afterEach(() => {
  unlocked[Symbol.dispose]();
  vi.useRealTimers();
});

function key(index: number): PrivateKey {
  const found = keys[index];
  if (found === undefined) throw new Error(`no key ${index}`);
  return found;
}
function put(index: number, limitMs?: number): void {
  unlocked.put(key(index).keyId, key(index), `facts ${index}`, limitMs);
}
const isOpen = (index: number) => unlocked.peek(key(index).keyId) !== undefined;
const signs = (index: number) => key(index).sign(MESSAGE);
async function expectDisposed(index: number): Promise<void> {
  await expect(signs(index)).rejects.toMatchObject({ code: 'INTERNAL' });
}

describe('the clock', () => {
  it('is not the one that people set: setting it back keeps no key open', () => {
    vi.useFakeTimers({ now: 1_000_000, toFake: ['Date', 'performance'] });
    using clocked = new UnlockedKeys<string>({ max: 4, ttlMs: 100 });
    clocked.put(key(0).keyId, key(0), 'facts');
    vi.setSystemTime(0);
    vi.advanceTimersByTime(99);
    expect(clocked.peek(key(0).keyId)).toBeDefined();
    vi.advanceTimersByTime(1);
    expect(clocked.get(key(0).keyId)).toBeUndefined();
  });
});

describe('the number of open keys', () => {
  it('is bounded: the least recently used key goes, and is disposed of', async () => {
    for (const index of [0, 1, 2, 3]) put(index);
    unlocked.get(key(0).keyId);
    put(4);
    expect([0, 1, 2, 3, 4].filter(isOpen)).toEqual([0, 2, 3, 4]);
    expect(unlocked.size).toBe(4);
    await expectDisposed(1);
    await expect(signs(0)).resolves.toHaveLength(64);
  });

  it('is not changed by putting the same key again, and the former instance is disposed of', async () => {
    put(0);
    const [again] = sealed.slice(0, 1).map((pkcs8) => PrivateKey.fromPkcs8(pkcs8));
    if (again === undefined) throw new Error('no key');
    unlocked.put(again.keyId, again, 'again');
    expect(unlocked.size).toBe(1);
    expect(unlocked.get(again.keyId)?.facts).toBe('again');
    await expectDisposed(0);
  });

  it('may be one', async () => {
    using single = new UnlockedKeys<string>({ max: 1, ttlMs: 100, now: () => now });
    single.put(key(0).keyId, key(0), '');
    single.put(key(1).keyId, key(1), '');
    expect([single.size, single.get(key(1).keyId)?.key]).toEqual([1, key(1)]);
    await expectDisposed(0);
  });
});

describe('the time of an open key', () => {
  it('is prolonged by each use when it is the configured one', () => {
    put(0);
    for (const at of [1099, 1198, 1297]) {
      now = at;
      expect(unlocked.get(key(0).keyId)?.facts).toBe('facts 0');
    }
    now = 1397;
    expect(unlocked.get(key(0).keyId)).toBeUndefined();
  });

  it("is not prolonged by use when it is a person's limit", async () => {
    put(0, 50);
    now = 1049;
    expect(unlocked.get(key(0).keyId)).toBeDefined();
    now = 1050;
    expect(unlocked.get(key(0).keyId)).toBeUndefined();
    await expectDisposed(0);
  });

  it('may be longer than the configured one when a person says so', () => {
    put(0, 5000);
    now = 5999;
    expect(isOpen(0)).toBe(true);
  });

  it('is not prolonged by a look', () => {
    put(0);
    now = 1099;
    expect(isOpen(0)).toBe(true);
    now = 1100;
    expect(isOpen(0)).toBe(false);
  });

  it('of zero keeps a key for whoever opened it and for nobody else', () => {
    using none = new UnlockedKeys<string>({ max: 4, ttlMs: 0, now: () => now });
    expect(none.put(key(0).keyId, key(0), '').key).toBe(key(0));
    expect(none.get(key(0).keyId)).toBeUndefined();
  });

  it('ends also without use: expired keys are swept out and disposed of', async () => {
    put(0);
    put(1, 500);
    now = 1100;
    unlocked.sweep();
    expect([isOpen(0), isOpen(1), unlocked.size]).toEqual([false, true, 1]);
    await expectDisposed(0);
  });

  it('is looked at every second', async () => {
    vi.useFakeTimers();
    using timed = new UnlockedKeys<string>({ max: 4, ttlMs: 100, now: () => now });
    timed.put(key(0).keyId, key(0), '');
    now = 1100;
    vi.advanceTimersByTime(1000);
    expect(timed.size).toBe(0);
    await expectDisposed(0);
  });
});

describe('letting go', () => {
  it('of one key tells whether it was open', async () => {
    put(0);
    expect(unlocked.drop(key(0).keyId)).toBe(true);
    expect(unlocked.drop(key(0).keyId)).toBe(false);
    await expectDisposed(0);
  });

  it('of all keys tells how many were open', async () => {
    for (const index of [0, 1, 2]) put(index);
    expect([unlocked.clear(), unlocked.clear(), unlocked.size]).toEqual([3, 0, 0]);
    for (const index of [0, 1, 2]) await expectDisposed(index);
  });

  it('of the collection disposes of its keys and stops its timer', async () => {
    vi.useFakeTimers();
    const closed = new UnlockedKeys<string>({ max: 4, ttlMs: 100 });
    closed.put(key(0).keyId, key(0), '');
    closed[Symbol.dispose]();
    expect(vi.getTimerCount()).toBe(0);
    await expectDisposed(0);
  });
});
