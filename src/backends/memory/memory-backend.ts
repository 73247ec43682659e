/** Keys in this process's memory only, gone at exit: notary-signer's `memory` storage, for tests and trials. */
import type { KeyId } from '../../crypto/key-id.ts';
import { PrivateKey } from '../../crypto/private-key.ts';
import type { PublicKey } from '../../crypto/public-key.ts';
import type { SignInput } from '../../crypto/sign-input.ts';
import { SignetError } from '../../errors.ts';
import type {
  BackendHealth,
  KeyBackend,
  KeyGenerator,
  KeyImporter,
  KeyInfo,
  KeyRemover,
  SignContext,
} from '../backend.ts';
import { throwIfCancelled } from '../cancellation.ts';

interface Entry {
  readonly key: PrivateKey;
  readonly info: KeyInfo & { readonly publicKey: PublicKey };
}

export class MemoryBackend implements KeyBackend {
  readonly name = 'memory';
  readonly location = 'memory of this process';
  readonly #entries = new Map<KeyId, Entry>();

  readonly generator: KeyGenerator = {
    algorithms: ['ecdsa', 'ed25519', 'rsa'],
    generate: async (request) => this.#add(await PrivateKey.generate(request.algorithm, request), request),
  };

  readonly importer: KeyImporter = {
    import: async (pkcs8, owner) => this.#add(PrivateKey.fromPkcs8(pkcs8), owner),
  };

  readonly remover: KeyRemover = {
    remove: async (keyId) => {
      this.#entries.get(keyId)?.key.dispose();
      return this.#entries.delete(keyId);
    },
  };

  async health(): Promise<BackendHealth> {
    return { ready: true };
  }

  async *list(): AsyncIterable<KeyInfo> {
    for (const { info } of this.#entries.values()) yield info;
  }

  async count(): Promise<number> {
    return this.#entries.size;
  }

  async find(keyId: KeyId): Promise<KeyInfo | undefined> {
    return this.#entries.get(keyId)?.info;
  }

  async publicKey(keyId: KeyId): Promise<PublicKey> {
    return this.#get(keyId).info.publicKey;
  }

  async sign(keyId: KeyId, input: SignInput, context: SignContext): Promise<Uint8Array> {
    const { key } = this.#get(keyId);
    throwIfCancelled(context);
    context.onStart?.();
    return key.sign(input);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { key } of this.#entries.values()) key.dispose();
    this.#entries.clear();
  }

  #get(keyId: KeyId): Entry {
    const entry = this.#entries.get(keyId);
    if (entry === undefined) throw new SignetError('KEY_NOT_FOUND', `no key ${keyId} in memory`);
    return entry;
  }

  #add(key: PrivateKey, owner: Pick<KeyInfo, 'role' | 'gun'>): KeyInfo & { readonly publicKey: PublicKey } {
    const { keyId, publicKey } = key;
    if (this.#entries.has(keyId)) {
      key.dispose();
      throw new SignetError('KEY_EXISTS', `key ${keyId} exists in memory`);
    }
    const needs = { pin: false, touch: false, passphrase: false };
    const info = { keyId, role: owner.role, gun: owner.gun, location: this.location, needs, publicKey };
    this.#entries.set(keyId, { key, info });
    return info;
  }
}
