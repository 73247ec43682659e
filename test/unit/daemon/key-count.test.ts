import { beforeEach, describe, expect, it } from 'vitest';
import { KeyCount } from '../../../src/daemon/key-count.ts';
import { SignetError } from '../../../src/errors.ts';

let now: number;
let asked: number;
let keys: number | undefined;
let counted: KeyCount;
beforeEach(() => {
  now = 1000;
  asked = 0;
  keys = 5;
  const count = async () => {
    asked++;
    if (keys === undefined) throw new SignetError('UNAVAILABLE', 'down');
    return keys;
  };
  counted = new KeyCount({ count }, () => now);
});

describe('the number of keys', () => {
  it('is counted at most once a minute, also by many at once', async () => {
    expect(await Promise.all([counted.read(), counted.read()])).toEqual([5, 5]);
    keys = 6;
    now += 59_999;
    expect(await counted.read()).toBe(5);
    expect(asked).toBe(1);
    now++;
    expect(await counted.read()).toBe(6);
    expect(asked).toBe(2);
  });

  it('is unknown where it cannot be told, for a minute, and known again after that', async () => {
    keys = undefined;
    expect(await counted.read()).toBeUndefined();
    keys = 7;
    expect(await counted.read()).toBeUndefined();
    now += 60_000;
    expect(await counted.read()).toBe(7);
  });
});
