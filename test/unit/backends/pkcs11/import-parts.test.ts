import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { importParts } from '../../../../src/backends/pkcs11/import-parts.ts';
import { privateKeyParts } from '../../../../src/crypto/private-key-parts.ts';

it('gives tokens the CRT numbers of an RSA key as long as its primes', () => {
  const pem = readFileSync(new URL('../../../vectors/tokens/rsa2048-short-exponent.pem', import.meta.url));
  const { parts } = privateKeyParts(createPrivateKey(pem));
  const padded = importParts(createPrivateKey(pem));
  expect(parts.map(({ byteLength }) => byteLength)).toEqual([255, 128, 128, 128, 127, 128]);
  expect(padded.map(({ byteLength }) => byteLength)).toEqual([255, 128, 128, 128, 128, 128]);
  const numbers = (buffers: readonly Buffer[]) => buffers.map((buffer) => BigInt(`0x${buffer.toString('hex')}`));
  expect(numbers(padded)).toEqual(numbers(parts));
});
