/** CBC with PKCS#7 padding (RFC 8018 §6.1.1, appendix B.2), the encryption of all sealed key files. */
import { createCipheriv, createDecipheriv } from 'node:crypto';

/** A block cipher in CBC mode. */
export interface CbcCipher {
  /** node:crypto's name. */
  readonly name: 'aes-128-cbc' | 'aes-192-cbc' | 'aes-256-cbc' | 'des-ede3-cbc';
  readonly keyBytes: number;
  /** Also the length of the IV. */
  readonly blockBytes: number;
}

export const AES_128_CBC: CbcCipher = { name: 'aes-128-cbc', keyBytes: 16, blockBytes: 16 };
export const AES_192_CBC: CbcCipher = { name: 'aes-192-cbc', keyBytes: 24, blockBytes: 16 };
export const AES_256_CBC: CbcCipher = { name: 'aes-256-cbc', keyBytes: 32, blockBytes: 16 };
export const DES_EDE3_CBC: CbcCipher = { name: 'des-ede3-cbc', keyBytes: 24, blockBytes: 8 };

/** True for a length that such a cipher can have written: whole blocks, at least one. */
export function isCbcLength(lengthBytes: number, blockBytes: number): boolean {
  return lengthBytes > 0 && lengthBytes % blockBytes === 0;
}

/**
 * @param data Whole blocks, at least one.
 * @returns The plaintext, which the caller zeroes; undefined if the padding is wrong, as with the wrong key.
 */
export function decryptCbc(cipher: CbcCipher, key: Uint8Array, iv: Uint8Array, data: Uint8Array): Buffer | undefined {
  // Without OpenSSL's own padding all comes out in one piece, which can be zeroed.
  const decipher = createDecipheriv(cipher.name, key, iv).setAutoPadding(false);
  const padded = decipher.update(data);
  decipher.final();
  return removePadding(padded, cipher.blockBytes);
}

export function encryptCbc(cipher: CbcCipher, key: Uint8Array, iv: Uint8Array, plaintext: Uint8Array): Buffer {
  const encipher = createCipheriv(cipher.name, key, iv);
  return Buffer.concat([encipher.update(plaintext), encipher.final()]);
}

/** PKCS#7. @returns A view of `padded` without its padding; if that is wrong, `padded` is zeroed and the answer undefined. */
export function removePadding(padded: Buffer, blockBytes: number): Buffer | undefined {
  const count = padded.at(-1) ?? 0;
  const isPadding = count > 0 && count <= blockBytes && padded.subarray(-count).every((octet) => octet === count);
  if (isPadding) return padded.subarray(0, padded.length - count);
  padded.fill(0);
  return undefined;
}
