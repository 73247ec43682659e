import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { Secret } from '../../../src/crypto/secret.ts';

describe('Secret', () => {
  it('holds the UTF-8 of a text', () => {
    expect(Buffer.from(Secret.fromText('pässword').bytes()).toString()).toBe('pässword');
  });

  it('takes over the bytes and zeroes them', () => {
    const bytes = Buffer.from('passw0rd1');
    const secret = new Secret(bytes);
    secret.dispose();
    expect(bytes).toEqual(Buffer.alloc(9));
  });

  it('zeroes nothing but its own view', () => {
    const buffer = Uint8Array.of(1, 2, 3, 4);
    new Secret(buffer.subarray(1, 3)).dispose();
    expect(buffer).toEqual(Uint8Array.of(1, 0, 0, 4));
  });

  it('is disposed of at the end of its scope, and twice without harm', () => {
    const bytes = Buffer.from('passw0rd1');
    {
      using secret = new Secret(bytes);
      secret.dispose();
    }
    expect(bytes).toEqual(Buffer.alloc(9));
  });

  it('refuses its bytes after disposal', () => {
    const secret = Secret.fromText('x');
    secret.dispose();
    expect(() => secret.bytes()).toThrow(
      expect.objectContaining({ code: 'INTERNAL', message: 'secret used after it was zeroed' }),
    );
    expect(() => secret.clone()).toThrow(expect.objectContaining({ code: 'INTERNAL' }));
  });

  it('lives on in a clone', () => {
    const secret = Secret.fromText('passw0rd1');
    const clone = secret.clone();
    secret.dispose();
    expect(Buffer.from(clone.bytes()).toString()).toBe('passw0rd1');
  });

  it('does not print itself', () => {
    const secret = Secret.fromText('passw0rd1');
    for (const text of [
      String(secret),
      JSON.stringify({ secret }),
      inspect({ secret }),
      inspect(secret),
      `${secret}`,
    ]) {
      expect(text).toContain('[secret]');
      expect(text).not.toContain('passw0rd1');
    }
  });
});
