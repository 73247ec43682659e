/** The key derivation of PKCS#12 (RFC 7292 appendix B), for its old encryption and for the MAC of most files. */
import { isUtf8, transcode } from 'node:buffer';
import { hash as digestOf } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { SignetError } from '../errors.ts';

/** What the key is for; the ID of appendix B.3. */
export const PKCS12_KEY_USE = { encryption: 1, iv: 2, mac: 3 } as const;

export type Pkcs12Hash = 'sha1' | 'sha256' | 'sha384' | 'sha512';

/** Output and block size in bytes (FIPS 180-4), u and v of appendix B.2. */
const SIZES: Readonly<Record<Pkcs12Hash, { readonly output: number; readonly block: number }>> = {
  sha1: { output: 20, block: 64 },
  sha256: { output: 32, block: 64 },
  sha384: { output: 48, block: 128 },
  sha512: { output: 64, block: 128 },
};

/** The event loop gets a turn after so many hashes, a few milliseconds. */
const ITERATIONS_PER_TURN = 5000;

export interface Pkcs12KdfOptions {
  readonly hash: Pkcs12Hash;
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly use: (typeof PKCS12_KEY_USE)[keyof typeof PKCS12_KEY_USE];
  readonly lengthBytes: number;
}

/**
 * The passphrase as a BMPString with two zero bytes behind it (appendix B.1).
 *
 * @param passphrase UTF-8.
 * @returns A fresh buffer, which the caller zeroes.
 * @throws {SignetError} INVALID_ARGUMENT for other encodings
 */
export function bmpPassword(passphrase: Uint8Array): Buffer {
  if (!isUtf8(passphrase)) throw new SignetError('INVALID_ARGUMENT', 'the passphrase is not UTF-8');
  const utf16 = transcode(passphrase, 'utf8', 'utf16le');
  const out = Buffer.alloc(utf16.length + 2);
  utf16.copy(out);
  utf16.fill(0);
  return out.swap16();
}

/** @param password As `bmpPassword` makes it, or empty. @returns A fresh buffer, which the caller zeroes. */
export async function derivePkcs12Key(password: Uint8Array, options: Pkcs12KdfOptions): Promise<Buffer> {
  const { hash, salt, iterations, use, lengthBytes } = options;
  const { output, block } = SIZES[hash];
  // Step numbers of appendix B.2; 1 to 4.
  const state = Buffer.concat([Buffer.alloc(block, use), repeated(salt, block), repeated(password, block)]);
  const key = Buffer.alloc(lengthBytes);
  try {
    for (let offset = 0; offset < lengthBytes; offset += output) {
      // 6.A
      let digest = digestOf(hash, state, 'buffer');
      for (let iteration = 1; iteration < iterations; iteration++) {
        digest = digestOf(hash, digest, 'buffer');
        if (iteration % ITERATIONS_PER_TURN === 0) await setImmediate();
      }
      // 7
      digest.copy(key, offset);
      // 6.B, 6.C
      const addend = repeated(digest, block);
      for (let start = block; start < state.length; start += block)
        increment(state.subarray(start, start + block), addend);
      digest.fill(0);
      addend.fill(0);
    }
    return key;
  } finally {
    state.fill(0);
  }
}

/** `bytes` again and again, to the next multiple of `block`; nothing stays nothing. */
function repeated(bytes: Uint8Array, block: number): Buffer {
  const out = Buffer.alloc(block * Math.ceil(bytes.byteLength / block));
  for (let index = 0; index < out.length; index++) out[index] = bytes[index % bytes.byteLength] ?? 0;
  return out;
}

/** number ← number + addend + 1, modulo its size. */
function increment(number: Buffer, addend: Buffer): void {
  let carry = 1;
  for (let index = number.length - 1; index >= 0; index--) {
    carry += (number[index] ?? 0) + (addend[index] ?? 0);
    number[index] = carry & 0xff;
    carry >>= 8;
  }
}
