/** Private keys for unit tests: fresh ones, and those in the vectors. */
import { readFileSync } from 'node:fs';
import { beforeAll } from 'vitest';
import type { KeyAlgorithm } from '../../src/crypto/algorithms.ts';
import { type PemBlock, parsePem } from '../../src/crypto/pem.ts';
import { PrivateKey } from '../../src/crypto/private-key.ts';

/** The block in `test/vectors/key-formats/<name>.pem`. */
export function pemVector(name: string): PemBlock {
  const block = parsePem(readFileSync(new URL(`../vectors/key-formats/${name}.pem`, import.meta.url)));
  if (block === undefined) throw new Error(`no PEM in ${name}`);
  return block;
}

/** Its bytes alone, as DER. */
export function keyVector(name: string): Buffer {
  return pemVector(name).bytes;
}

/** Called at the top of a file: makes a key of each algorithm before its tests. */
export function oneKeyOfEach(): (algorithm: KeyAlgorithm) => PrivateKey {
  const keys = new Map<KeyAlgorithm, PrivateKey>();
  beforeAll(async () => {
    for (const algorithm of ['ecdsa', 'ed25519', 'rsa'] as const)
      keys.set(algorithm, await PrivateKey.generate(algorithm));
  }, 60_000);
  return (algorithm) => {
    const found = keys.get(algorithm);
    if (found === undefined) throw new Error(`no ${algorithm} key`);
    return found;
  };
}
