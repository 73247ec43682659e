/**
 * The encryption inside PKCS#12 files: PBES2 as OpenSSL 3 writes it, and the old schemes of RFC 7292 appendix C with
 * 3DES and RC2, which Windows and Java still write.
 */
import { SignetError } from '../errors.ts';
import { type CbcCipher, DES_EDE3_CBC, decryptCbc, isCbcLength, removePadding } from './cbc.ts';
import type { DerReader } from './der.ts';
import { decryptPbes2, PBES2, type Pbes2, readPbes2, readSalt, workOf } from './pbes2.ts';
import { bmpPassword, derivePkcs12Key, PKCS12_KEY_USE } from './pkcs12-kdf.ts';

/** What node-forge's published types leave out. OpenSSL 3 keeps RC2 in its legacy provider. */
interface ForgeRc2 {
  readonly rc2: {
    createDecryptionCipher(
      key: string,
      effectiveBits: number,
    ): {
      readonly output: { getBytes(): string };
      start(iv: string): void;
      update(data: unknown): void;
      finish(unpad: () => boolean): boolean;
    };
  };
}

interface OldCipher {
  /** Bytes derived from the passphrase. */
  readonly keyBytes: number;
  decrypt(key: Buffer, iv: Buffer, data: Uint8Array): Promise<Buffer | undefined>;
}

/** All of the old ciphers have blocks of 8 bytes. */
const OLD_BLOCK_BYTES = 8;

/** pkcs-12PbeIds (appendix C). RC4 has no padding to recognise a wrong passphrase by, and nobody writes it. */
const OLD_CIPHERS: ReadonlyMap<string, OldCipher> = new Map([
  ['1.2.840.113549.1.12.1.3', tripleDes(24)],
  ['1.2.840.113549.1.12.1.4', tripleDes(16)],
  ['1.2.840.113549.1.12.1.5', rc2(16)],
  ['1.2.840.113549.1.12.1.6', rc2(5)],
]);

/** A passphrase in both forms: PBES2 takes UTF-8, the old schemes and most MACs take UTF-16. Both are zeroed with it. */
export class Pkcs12Password implements Disposable {
  readonly utf8: Buffer;
  readonly bmp: Buffer;

  /** @param isTerminated False for programs that derive keys from no bytes at all where there is no passphrase. */
  constructor(passphrase: Uint8Array, isTerminated: boolean) {
    this.utf8 = Buffer.alloc(passphrase.byteLength, passphrase);
    this.bmp = isTerminated ? bmpPassword(passphrase) : Buffer.alloc(0);
  }

  [Symbol.dispose](): void {
    this.utf8.fill(0);
    this.bmp.fill(0);
  }
}

/** Bounds the work that one file can ask for, however many parts it has. */
export class WorkBudget {
  #left: number;

  /** @param iterations Of PBKDF2 or of the old derivation. */
  constructor(iterations: number) {
    this.#left = iterations;
  }

  /** @throws {SignetError} INVALID_ARGUMENT when it is used up */
  spend(iterations: number): void {
    this.#left -= iterations;
    if (this.#left < 0) throw new SignetError('INVALID_ARGUMENT', 'the PKCS#12 file asks for too many iterations');
  }
}

export type Pkcs12Encryption =
  | { readonly name: 'pbes2'; readonly parameters: Pbes2 }
  | { readonly name: 'old'; readonly cipher: OldCipher; readonly salt: Uint8Array; readonly iterations: number };

/**
 * Reads the AlgorithmIdentifier of an encryption.
 *
 * @throws {SignetError} INVALID_ARGUMENT if it is malformed, UNSUPPORTED for another scheme
 */
export function readPkcs12Encryption(algorithm: DerReader): Pkcs12Encryption {
  const oid = algorithm.readOid('encryption scheme');
  if (oid === PBES2) return { name: 'pbes2', parameters: readPbes2(algorithm) };
  const cipher = OLD_CIPHERS.get(oid);
  if (cipher === undefined) throw algorithm.unsupported(`encryption scheme ${oid}`);
  const parameters: DerReader = algorithm.readSequence('pkcs-12PbeParams');
  algorithm.end();
  const salt = readSalt(parameters);
  const iterations = parameters.readSmallUnsigned('iterations');
  parameters.end();
  if (iterations < 1) parameters.fail('iterations is zero');
  return { name: 'old', cipher, salt, iterations };
}

/** @returns The plaintext, which the caller zeroes; undefined if the padding is wrong, as with the wrong passphrase. */
export async function decryptPkcs12(
  encryption: Pkcs12Encryption,
  data: Uint8Array,
  password: Pkcs12Password,
  budget: WorkBudget,
): Promise<Buffer | undefined> {
  if (encryption.name === 'pbes2') {
    if (!isCbcLength(data.byteLength, encryption.parameters.cipher.blockBytes)) return undefined;
    budget.spend(workOf(encryption.parameters));
    return decryptPbes2(encryption.parameters, data, password.utf8);
  }
  const { cipher, salt, iterations } = encryption;
  if (!isCbcLength(data.byteLength, OLD_BLOCK_BYTES)) return undefined;
  budget.spend(3 * iterations); // two hashes' worth of key at most, one of IV
  const shared = { hash: 'sha1', salt, iterations } as const;
  const key = await derivePkcs12Key(password.bmp, {
    ...shared,
    use: PKCS12_KEY_USE.encryption,
    lengthBytes: cipher.keyBytes,
  });
  try {
    const iv = await derivePkcs12Key(password.bmp, {
      ...shared,
      use: PKCS12_KEY_USE.iv,
      lengthBytes: OLD_BLOCK_BYTES,
    });
    return await cipher.decrypt(key, iv, data);
  } finally {
    key.fill(0);
  }
}

/** With 16 bytes, the third key is the first one again. */
function tripleDes(keyBytes: 16 | 24): OldCipher {
  return {
    keyBytes,
    decrypt: async (key, iv, data) => {
      const cipher: CbcCipher = DES_EDE3_CBC;
      const three = Buffer.concat([key, key.subarray(0, cipher.keyBytes - key.length)]);
      try {
        return decryptCbc(cipher, three, iv, data);
      } finally {
        three.fill(0);
      }
    },
  };
}

/** Key and plaintext pass through strings, which cannot be zeroed. */
function rc2(keyBytes: 5 | 16): OldCipher {
  return {
    keyBytes,
    decrypt: async (key, iv, data) => {
      const { default: forge } = await import('node-forge');
      const decipher = (forge as unknown as ForgeRc2).rc2.createDecryptionCipher(key.toString('latin1'), keyBytes * 8);
      decipher.start(iv.toString('latin1'));
      decipher.update(forge.util.createBuffer(Buffer.from(data).toString('latin1')));
      decipher.finish(() => true);
      return removePadding(Buffer.from(decipher.output.getBytes(), 'latin1'), OLD_BLOCK_BYTES);
    },
  };
}
