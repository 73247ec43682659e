/** A backend whose answers a test decides, member by member. */
import type { KeyBackend, KeyInfo } from '../../src/backends/backend.ts';
import type { KeyId } from '../../src/crypto/key-id.ts';
import type { PublicKey } from '../../src/crypto/public-key.ts';
import { SignetError } from '../../src/errors.ts';

export const FAKE_PUBLIC_KEY: PublicKey = { algorithm: 'ed25519', bytes: new Uint8Array(32) };

export function fakeKeyInfo(keyId: KeyId, facts: Partial<KeyInfo> = {}): KeyInfo {
  const needs = { pin: false, touch: false, passphrase: false };
  return { keyId, role: '', gun: '', location: 'fake', needs, ...facts };
}

/** Ready and without keys, unless told otherwise. */
export function fakeBackend(members: Partial<KeyBackend> = {}): KeyBackend {
  return {
    name: 'memory',
    location: `fake ${members.name ?? 'memory'}`,
    health: async () => ({ ready: true }),
    async *list() {},
    count: async () => 0,
    find: async () => undefined,
    publicKey: async () => FAKE_PUBLIC_KEY,
    sign: async () => new Uint8Array(64),
    [Symbol.asyncDispose]: async () => undefined,
    ...members,
  };
}

/** A backend that answers nothing but its failure. */
export function failedBackend(name: string): KeyBackend {
  const fail = () => Promise.reject(new SignetError('UNAVAILABLE', `${name} is down`));
  return fakeBackend({
    name,
    health: async () => ({ ready: false, reason: `${name} is down` }),
    // biome-ignore lint/correctness/useYield: it fails before the first key
    async *list() {
      await fail();
    },
    count: fail,
    find: fail,
    publicKey: fail,
    sign: fail,
    generator: { algorithms: ['ecdsa', 'ed25519', 'rsa'], generate: fail },
    remover: { remove: fail },
  });
}
