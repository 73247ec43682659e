/** What tests of token backends do with the keys that are there. */
import { expect } from 'vitest';
import type { KeyBackend, KeyInfo, SignContext } from '../../src/backends/backend.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';

const CONTEXT: SignContext = { caller: 'test' };
const message = Buffer.from('what is signed to see whether it is');

/** All keys, as they are listed. */
export async function keysOf(backend: KeyBackend): Promise<readonly KeyInfo[]> {
  const keys: KeyInfo[] = [];
  for await (const key of backend.list()) keys.push(key);
  return keys;
}

/** @param slot As `9c`. @throws {Error} There is no key in it */
export async function keyIn(backend: KeyBackend, slot: string): Promise<KeyInfo> {
  const key = (await keysOf(backend)).find(({ device }) => device?.slot === slot);
  if (key === undefined) throw new Error(`no key in ${slot}`);
  return key;
}

/** The key signs now, and its own public half verifies that. */
export async function expectSigns(
  backend: KeyBackend,
  { keyId }: Pick<KeyInfo, 'keyId'>,
  context: SignContext = CONTEXT,
): Promise<void> {
  const signature = await backend.sign(keyId, { message }, context);
  expect(verifySignature(await backend.publicKey(keyId, context), message, signature)).toBe(true);
}
