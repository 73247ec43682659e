/** The private keys of a collection's owner, which the daemon holds. */
import { hash } from 'node:crypto';
import type { AgentClient, CallOptions } from '../client/agent-client.ts';
import { parseKeyAlgorithm } from '../crypto/algorithms.ts';
import type { CertificateSigner } from '../crypto/certificate-builder.ts';
import { type KeyId, parseKeyId } from '../crypto/key-id.ts';
import type { PublicKey } from '../crypto/public-key.ts';
import type { SignInput } from '../crypto/sign-input.ts';
import { SignetError } from '../errors.ts';
import type { AgentKey, GenerateKeyRequest, SignRequest } from '../rpc/messages.ts';
import type { SignCallback } from '../tuf/sign.ts';
import type { Warn } from './collection.ts';

/** A key that can sign, with its public half. */
export interface SigningKey {
  readonly info: AgentKey;
  readonly publicKey: PublicKey;
}

/** The daemon takes 4 MiB in one request; of a longer message it gets the digest that ECDSA and RSA keys sign. */
const MAX_MESSAGE_BYTES = 3 * 1024 * 1024;

/** What is asked of the daemon. */
export type KeyAgent = Pick<
  AgentClient,
  'listKeys' | 'findKey' | 'getPublicKey' | 'generateKey' | 'removeKey' | 'sign'
>;

export class SigningKeys {
  readonly #agent: KeyAgent;
  readonly #call: CallOptions;
  /** Made by this object. */
  readonly #made: AgentKey[] = [];

  constructor(agent: KeyAgent, call: CallOptions) {
    this.#agent = agent;
    this.#call = call;
  }

  /** Keys that were made here, in their order. */
  get made(): readonly AgentKey[] {
    return this.#made;
  }

  /** All keys of a role, root keys for example. */
  async withRole(role: string): Promise<readonly AgentKey[]> {
    const found: AgentKey[] = [];
    for await (const key of this.#agent.listKeys(this.#call)) if (key.role === role) found.push(key);
    return found;
  }

  /** @returns Undefined if there is none. */
  async find(keyId: KeyId): Promise<AgentKey | undefined> {
    try {
      return await this.#agent.findKey(keyId, this.#call);
    } catch (error) {
      if (error instanceof SignetError && error.code === 'KEY_NOT_FOUND') return undefined;
      throw error;
    }
  }

  /** Asks for the passphrase where the public half is sealed too. */
  async open(info: AgentKey): Promise<SigningKey> {
    const { algorithm, bytes } = info.public_key ?? (await this.#agent.getPublicKey(info.key_id, this.#call));
    return { info, publicKey: { algorithm: parseKeyAlgorithm(algorithm), bytes } };
  }

  async generate(request: GenerateKeyRequest): Promise<SigningKey> {
    const info = await this.#agent.generateKey(request, this.#call);
    this.#made.push(info);
    return await this.open(info);
  }

  /** For `signMetadata`. */
  readonly sign: SignCallback = async (keyId, message) => await this.#sign(keyId, { message });

  /** For `buildRootCertificate`. */
  signerOf({ info }: SigningKey): CertificateSigner {
    return async (input) => await this.#sign(info.key_id, input);
  }

  async #sign(keyId: string, input: SignInput): Promise<Uint8Array> {
    const { signature } = await this.#agent.sign({ key_id: keyId, ...requestOf(input) }, this.#call);
    return signature;
  }

  /** Also after Ctrl-C. @returns False if there was none. */
  async remove(keyId: KeyId): Promise<boolean> {
    const { removed } = await this.#agent.removeKey(keyId, { ...this.#call, signal: undefined });
    return removed;
  }

  /** Takes back what was made here, as far as that goes, because nothing came of it. */
  async removeMade(warn: Warn): Promise<void> {
    for (const { key_id: keyId, role, location } of this.#made.splice(0).reverse()) {
      try {
        await this.remove(parseKeyId(keyId));
      } catch (error) {
        warn(`the new ${role} key ${keyId} is still in ${location}: ${(error as Error).message}`);
      }
    }
  }
}

function requestOf(input: SignInput): Omit<SignRequest, 'key_id'> {
  if ('digest' in input) return { digest: { hash: input.hash, value: input.digest } };
  if (input.message.byteLength <= MAX_MESSAGE_BYTES) return { message: input.message };
  return { digest: { hash: 'sha256', value: hash('sha256', input.message, 'buffer') } };
}
