import { describe, expect, it } from 'vitest';
import { ServiceWindow } from '../../../../src/backends/pkcs11/service-window.ts';

function after(...tookMs: readonly number[]): number {
  const window = new ServiceWindow();
  for (const took of tookMs) window.observe(took);
  return window.size;
}

describe('a window', () => {
  it('begins with one request, and stays there for a token that takes its time', () => {
    expect(after()).toBe(1);
    expect(after(100)).toBe(1);
    expect(after(3, 3)).toBe(1);
  });

  it('grows for a fast token, within bounds', () => {
    expect(after(0.5)).toBe(6);
    expect(after(...Array<number>(50).fill(0.0001))).toBe(64);
    expect(after(0)).toBe(64);
  });

  it('closes when a fast token becomes slow', () => {
    expect(after(...Array<number>(50).fill(0.05), 100)).toBe(1);
  });
});
