/** The management key and its block cipher (NIST SP 800-73-4 Part 2 §3.2.4; Yubico's SET MANAGEMENT KEY). */
import { createCipheriv } from 'node:crypto';
import { FACTORY_MANAGEMENT_KEY, type ManagementAlgorithm } from './settings.ts';
import { type Firmware, isAtLeast } from './tables.ts';

interface CipherFacts {
  /** NIST SP 800-78-4 table 6-2. */
  readonly id: number;
  readonly keyBytes: number;
  readonly blockBytes: number;
  /** OpenSSL's name; one block needs no chaining. */
  readonly cipher: string;
}

const CIPHERS: Readonly<Record<ManagementAlgorithm, CipherFacts>> = {
  '3DES': { id: 0x03, keyBytes: 24, blockBytes: 8, cipher: 'des-ede3' },
  'AES-128': { id: 0x08, keyBytes: 16, blockBytes: 16, cipher: 'aes-128-ecb' },
  'AES-192': { id: 0x0a, keyBytes: 24, blockBytes: 16, cipher: 'aes-192-ecb' },
  'AES-256': { id: 0x0c, keyBytes: 32, blockBytes: 16, cipher: 'aes-256-ecb' },
};

export class ManagementKey {
  /** Set with the key by SET MANAGEMENT KEY: every authentication wants a touch. */
  readonly needsTouch: boolean;
  readonly #facts: CipherFacts;
  readonly #key: Buffer;

  private constructor(facts: CipherFacts, key: Buffer, needsTouch: boolean) {
    this.#facts = facts;
    this.#key = key;
    this.needsTouch = needsTouch;
  }

  /** @returns Undefined for a key of the wrong length. */
  static of(algorithm: ManagementAlgorithm, key: Buffer, needsTouch = false): ManagementKey | undefined {
    const facts = CIPHERS[algorithm];
    return key.length === facts.keyBytes ? new ManagementKey(facts, Buffer.from(key), needsTouch) : undefined;
  }

  /** Yubico's well-known key, cut or repeated to the algorithm's length; the algorithm is AES-192 since firmware 5.7. */
  static factory(firmware: Firmware, algorithm?: ManagementAlgorithm): ManagementKey {
    const facts = CIPHERS[algorithm ?? (isAtLeast(firmware, 5, 7) ? 'AES-192' : '3DES')];
    return new ManagementKey(facts, factoryKey(facts), false);
  }

  get algorithmId(): number {
    return this.#facts.id;
  }

  get blockBytes(): number {
    return this.#facts.blockBytes;
  }

  get isFactory(): boolean {
    return this.#key.equals(factoryKey(this.#facts));
  }

  encrypt(block: Buffer): Buffer {
    const cipher = createCipheriv(this.#facts.cipher, this.#key, null).setAutoPadding(false);
    return Buffer.concat([cipher.update(block), cipher.final()]);
  }

  /** True if `response` is `block` enciphered with this key. */
  proves(block: Buffer, response: Buffer): boolean {
    return this.encrypt(block).equals(response);
  }
}

function factoryKey({ keyBytes }: CipherFacts): Buffer {
  return Buffer.alloc(keyBytes, FACTORY_MANAGEMENT_KEY, 'hex');
}

/** The algorithm with this identifier, if the firmware has it: AES since 5.4. */
export function managementAlgorithm(id: number, firmware: Firmware): ManagementAlgorithm | undefined {
  const names: readonly ManagementAlgorithm[] = isAtLeast(firmware, 5, 4)
    ? ['3DES', 'AES-128', 'AES-192', 'AES-256']
    : ['3DES'];
  return names.find((name) => CIPHERS[name].id === id);
}
