import { describe, expect, it } from 'vitest';
import { algorithmRow, DIGEST_BYTES, parseKeyAlgorithm } from '../../../src/crypto/algorithms.ts';

describe('parseKeyAlgorithm', () => {
  it.each(['ecdsa', 'ed25519', 'rsa'] as const)('knows %s', (name) => {
    expect(parseKeyAlgorithm(name)).toBe(name);
    expect(algorithmRow(name).name).toBe(name);
  });

  it.each(['', 'ECDSA', 'ecdsa-x509', 'toString', '__proto__'])('refuses %j', (text) => {
    expect(() => parseKeyAlgorithm(text)).toThrow(
      expect.objectContaining({
        code: 'UNSUPPORTED',
        message: `unknown key algorithm "${text}"`,
        hint: 'use one of ecdsa, ed25519, rsa',
      }),
    );
  });

  it('repeats at most 64 characters of what it refuses', () => {
    expect(() => parseKeyAlgorithm('x'.repeat(1000))).toThrow(
      expect.objectContaining({ message: `unknown key algorithm "${'x'.repeat(64)}"` }),
    );
  });
});

describe('the table of algorithms', () => {
  it("uses Notary's names of signature methods", () => {
    expect(algorithmRow('ecdsa').signatureMethod).toBe('ecdsa');
    expect(algorithmRow('ed25519').signatureMethod).toBe('eddsa');
    expect(algorithmRow('rsa').signatureMethod).toBe('rsapss');
  });

  it('hashes messages with SHA-256, except for Ed25519', () => {
    expect(algorithmRow('ecdsa').messageHash).toBe('sha256');
    expect(algorithmRow('rsa').messageHash).toBe('sha256');
    expect(algorithmRow('ed25519').messageHash).toBeNull();
  });

  it('has the digest sizes of FIPS 180-4', () => {
    expect(DIGEST_BYTES).toEqual({ sha256: 32, sha384: 48, sha512: 64 });
  });
});
