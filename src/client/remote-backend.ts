/** A running daemon as a backend: the same port, over the agent's socket. */
import type {
  BackendHealth,
  KeyBackend,
  KeyGenerator,
  KeyInfo,
  KeyRemover,
  KeyUnlocker,
  SignContext,
} from '../backends/backend.ts';
import { parseKeyAlgorithm } from '../crypto/algorithms.ts';
import { type KeyId, parseKeyId } from '../crypto/key-id.ts';
import type { PublicKey } from '../crypto/public-key.ts';
import type { SignInput } from '../crypto/sign-input.ts';
import { SignetError } from '../errors.ts';
import type { AgentKey, AgentPublicKey } from '../rpc/messages.ts';
import { AgentClient } from './agent-client.ts';

/** Has neither importer nor exporter: who has private keys in hand uses `AgentClient`. */
export class RemoteBackend implements KeyBackend {
  readonly name = 'remote';
  readonly location: string;
  readonly generator: KeyGenerator;
  readonly remover: KeyRemover;
  readonly unlocker: KeyUnlocker;
  readonly #agent: AgentClient;

  constructor(socketPath: string) {
    this.location = `unix:${socketPath}`;
    this.#agent = new AgentClient(socketPath);
    this.generator = {
      algorithms: ['ecdsa', 'ed25519', 'rsa'],
      generate: async ({ algorithm, role, gun, passphrase, curve = '', modulusBits = 0, device = {} }, context) => {
        const { slot = '', overwriteSlot = false, pinPolicy = '', touchPolicy = '' } = device;
        const request = {
          algorithm,
          role,
          gun,
          curve,
          modulus_bits: modulusBits,
          slot,
          overwrite_slot: overwriteSlot,
          pin_policy: pinPolicy,
          touch_policy: touchPolicy,
          ...(passphrase !== undefined && { passphrase: passphrase.bytes() }),
        };
        const key = toKeyInfo(await this.#agent.generateKey(request, { signal: context.signal }));
        if (key.publicKey === undefined) throw new SignetError('INTERNAL', 'the daemon made a key and did not show it');
        return { ...key, publicKey: key.publicKey };
      },
    };
    this.remover = {
      remove: async (keyId, context) => (await this.#agent.removeKey(keyId, { signal: context.signal })).removed,
    };
    this.unlocker = {
      unlock: async (keyId, passphrase, ttlMs) => {
        await this.#agent.unlock({ key_id: keyId, passphrase: passphrase.bytes(), ttl_ms: ttlMs ?? 0 });
      },
      lock: async (keyId) => (await this.#agent.lock(keyId ?? '')).locked,
      unlockedCount: async () => (await this.#agent.status()).unlocked_keys,
    };
  }

  async health(): Promise<BackendHealth> {
    try {
      const { backends } = await this.#agent.status();
      const down = backends.filter(({ ready }) => !ready).map(({ name, reason }) => `${name}: ${reason}`);
      return down.length < backends.length ? { ready: true } : { ready: false, reason: down.join('; ') };
    } catch (error) {
      return { ready: false, reason: (error as Error).message };
    }
  }

  async *list(): AsyncIterable<KeyInfo> {
    for await (const key of this.#agent.listKeys()) yield toKeyInfo(key);
  }

  async count(): Promise<number> {
    let count = 0;
    for await (const _ of this.#agent.listKeys()) count++;
    return count;
  }

  async find(keyId: KeyId): Promise<KeyInfo | undefined> {
    try {
      return toKeyInfo(await this.#agent.findKey(keyId));
    } catch (error) {
      if (error instanceof SignetError && error.code === 'KEY_NOT_FOUND') return undefined;
      throw error;
    }
  }

  async publicKey(keyId: KeyId, context: SignContext): Promise<PublicKey> {
    return toPublicKey(await this.#agent.getPublicKey(keyId, { signal: context.signal }));
  }

  async sign(keyId: KeyId, input: SignInput, context: SignContext): Promise<Uint8Array> {
    context.onStart?.();
    const request =
      'message' in input ? { message: input.message } : { digest: { hash: input.hash, value: input.digest } };
    return (await this.#agent.sign({ key_id: keyId, ...request }, { signal: context.signal })).signature;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent[Symbol.dispose]();
  }
}

/** @throws {SignetError} INVALID_ARGUMENT, UNSUPPORTED if the daemon speaks of keys that this client does not know */
export function toKeyInfo(key: AgentKey): KeyInfo {
  return {
    keyId: parseKeyId(key.key_id),
    role: key.role,
    gun: key.gun,
    location: key.location,
    needs: { pin: key.needs_pin, touch: key.needs_touch, passphrase: key.needs_passphrase },
    ...(key.public_key !== null && { publicKey: toPublicKey(key.public_key) }),
    ...(key.last_used_ms > 0 && { lastUsedAt: key.last_used_ms }),
  };
}

function toPublicKey({ algorithm, bytes }: AgentPublicKey): PublicKey {
  return { algorithm: parseKeyAlgorithm(algorithm), bytes };
}
