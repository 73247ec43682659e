import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { PinCache } from '../../../../src/backends/pkcs11/pin-cache.ts';
import { Secret } from '../../../../src/crypto/secret.ts';

const TOKEN = { serial: '1001', label: 'one' };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function cacheWith(pin: string, ttlMs: number): PinCache {
  const cache = new PinCache(ttlMs);
  using given = Secret.fromText(pin);
  cache.put(TOKEN, given);
  return cache;
}

function pinOf(cache: PinCache, token = TOKEN): string | undefined {
  using pin = cache.get(token);
  return pin === undefined ? undefined : Buffer.from(pin.bytes()).toString();
}

describe('a PIN that a person gave', () => {
  it('is kept as long as configured, and no longer, however often it is used', () => {
    const cache = cacheWith('123456', 60_000);
    for (let second = 0; second < 59; second++) {
      vi.advanceTimersByTime(1000);
      expect(pinOf(cache)).toBe('123456');
    }
    vi.advanceTimersByTime(1000);
    expect(cache.has(TOKEN)).toBe(false);
    expect(pinOf(cache)).toBeUndefined();
  });

  it('is not kept unless that is configured', () => {
    expect(pinOf(cacheWith('123456', 0))).toBeUndefined();
  });

  it('that is given again is kept for the whole time again', () => {
    const cache = cacheWith('123456', 60_000);
    vi.advanceTimersByTime(40_000);
    using other = Secret.fromText('654321');
    cache.put(TOKEN, other);
    vi.advanceTimersByTime(40_000);
    expect(pinOf(cache)).toBe('654321');
    vi.advanceTimersByTime(20_000);
    expect(pinOf(cache)).toBeUndefined();
  });

  it('is for one token only, by serial number and label', () => {
    const cache = cacheWith('123456', 60_000);
    expect(pinOf(cache, { ...TOKEN, serial: '1002' })).toBeUndefined();
    expect(pinOf(cache, { ...TOKEN, label: 'two' })).toBeUndefined();
  });

  it('is gone once it is dropped', () => {
    const cache = cacheWith('123456', 60_000);
    cache.clear();
    expect(pinOf(cache)).toBeUndefined();
  });
});
