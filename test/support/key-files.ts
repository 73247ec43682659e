/** Key files made for one test, and passphrase sources that tell what became of their secrets. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PassphraseSource } from '../../src/backends/backend.ts';
import { sealKeyPem } from '../../src/crypto/key-pem.ts';
import { formatPem } from '../../src/crypto/pem.ts';
import { PrivateKey } from '../../src/crypto/private-key.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { TEST_KDF_ITERATIONS } from './file-home.ts';

export interface KeyFileOptions {
  readonly key?: PrivateKey;
  readonly role?: string;
  readonly gun?: string;
  /** Without one the key is stored as unencrypted PKCS#8. */
  readonly passphrase?: string;
  /** `<key ID>.key` by default. */
  readonly name?: string;
}

/** The text of a key file. */
export async function keyFileText(key: PrivateKey, options: KeyFileOptions = {}): Promise<string> {
  const { role = '', gun = '', passphrase } = options;
  if (passphrase !== undefined) {
    using secret = Secret.fromText(passphrase);
    return sealKeyPem(key, { role, gun }, secret, TEST_KDF_ITERATIONS);
  }
  const headers = Object.fromEntries(Object.entries({ role, gun }).filter(([, value]) => value !== ''));
  return formatPem({ type: 'PRIVATE KEY', headers, bytes: key.toPkcs8() });
}

/** Writes a key file into an existing directory. @returns Its key and its path */
export async function writeKeyFile(
  directory: string,
  options: KeyFileOptions = {},
): Promise<{ readonly key: PrivateKey; readonly path: string }> {
  const key = options.key ?? (await PrivateKey.generate('ed25519'));
  const path = join(directory, options.name ?? `${key.keyId}.key`);
  await writeFile(path, await keyFileText(key, options), { mode: 0o600 });
  return { key, path };
}

export interface ListedPassphrases extends PassphraseSource {
  /** How often candidates were asked for: once per key that is opened. */
  readonly asked: number;
  /** Every secret that was handed out. */
  readonly handedOut: readonly Secret[];
}

/** @param texts Tried in this order; the first also seals new keys. @param before Runs before each answer. */
export function listedPassphrases(texts: readonly string[], before?: () => Promise<void>): ListedPassphrases {
  const handedOut: Secret[] = [];
  let asked = 0;
  const hand = (text: string) => {
    const secret = Secret.fromText(text);
    handedOut.push(secret);
    return secret;
  };
  return {
    get asked() {
      return asked;
    },
    handedOut,
    candidates: async () => {
      asked++;
      await before?.();
      return texts.map(hand);
    },
    forNewKey: async () => ({ passphrase: hand(texts[0] ?? ''), iterations: TEST_KDF_ITERATIONS }),
  };
}
