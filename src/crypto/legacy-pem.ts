/**
 * The encryption of OpenSSL's traditional key files: `Proc-Type: 4,ENCRYPTED` and `DEK-Info` (RFC 1421 §4.6.1), with
 * one round of MD5 to make the key. Read, never written.
 *
 * Key derivation and single DES come from node-forge, the rest from node:crypto: OpenSSL 3 keeps DES in its legacy
 * provider. node-forge works on strings, so here passphrase and derived key pass through memory that cannot be zeroed.
 */
import { SignetError } from '../errors.ts';
import { AES_128_CBC, AES_192_CBC, AES_256_CBC, type CbcCipher, DES_EDE3_CBC, decryptCbc, isCbcLength } from './cbc.ts';
import type { PemBlock } from './pem.ts';

/** What node-forge's published types leave out. */
interface ForgePbe {
  readonly pbe: {
    opensslDeriveBytes(password: string, salt: string, lengthBytes: number): string;
  };
}

interface LegacyCipher extends Pick<CbcCipher, 'keyBytes' | 'blockBytes'> {
  decrypt(key: Buffer, iv: Uint8Array, data: Uint8Array): Promise<Buffer | undefined>;
}

function throughNode(cipher: CbcCipher): LegacyCipher {
  return { ...cipher, decrypt: async (key, iv, data) => decryptCbc(cipher, key, iv, data) };
}

/** Names as OpenSSL and Go write them in `DEK-Info`. */
const CIPHERS: ReadonlyMap<string, LegacyCipher> = new Map([
  ['AES-128-CBC', throughNode(AES_128_CBC)],
  ['AES-192-CBC', throughNode(AES_192_CBC)],
  ['AES-256-CBC', throughNode(AES_256_CBC)],
  ['DES-EDE3-CBC', throughNode(DES_EDE3_CBC)],
  ['DES-CBC', { keyBytes: 8, blockBytes: 8, decrypt: decryptDes }],
]);

/** OpenSSL uses the first bytes of the IV as salt of the key. */
const SALT_BYTES = 8;

/** What a block's headers say about its encryption. */
export interface LegacyEncryption {
  readonly cipher: LegacyCipher;
  readonly iv: Buffer;
}

/** True if the block says that it is encrypted; the same test as Go's `IsEncryptedPEMBlock`. */
export function isLegacyEncrypted(block: PemBlock): boolean {
  return block.headers.has('DEK-Info');
}

/**
 * Reads the headers and checks all lengths, without a passphrase.
 *
 * @throws {SignetError} INTEGRITY if they are malformed, UNSUPPORTED for another cipher
 */
export function parseLegacyEncryption(block: PemBlock): LegacyEncryption {
  const info = block.headers.get('DEK-Info') ?? '';
  const comma = info.indexOf(',');
  if (comma < 0) throw malformed('DEK-Info has no IV');
  const cipher = CIPHERS.get(info.slice(0, comma));
  if (cipher === undefined) {
    throw new SignetError('UNSUPPORTED', 'encrypted private key: the cipher in DEK-Info is not supported', {
      hint: 'convert it with "openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA1"',
    });
  }
  const hex = info.slice(comma + 1);
  if (hex.length !== 2 * cipher.blockBytes || !/^[0-9A-Fa-f]*$/.test(hex)) {
    throw malformed(`the IV in DEK-Info has not ${cipher.blockBytes} bytes of hex`);
  }
  if (!isCbcLength(block.bytes.length, cipher.blockBytes)) throw malformed('the data is not a number of whole blocks');
  return { cipher, iv: Buffer.from(hex, 'hex') };
}

function malformed(problem: string): SignetError {
  return new SignetError('INTEGRITY', `malformed encrypted private key: ${problem}`);
}

/**
 * Decrypts.
 *
 * @param passphrase Copied before this returns; not changed.
 * @returns The plaintext, which the caller zeroes; undefined if the padding is wrong, as with the wrong passphrase.
 */
export async function decryptLegacy(
  { cipher, iv }: LegacyEncryption,
  data: Uint8Array,
  passphrase: Uint8Array,
): Promise<Buffer | undefined> {
  // Before the first await: the caller may zero it afterwards.
  const password = toBinary(passphrase);
  const { default: forge } = await import('node-forge');
  const { pbe } = forge as unknown as ForgePbe;
  const salt = iv.subarray(0, SALT_BYTES);
  const key = Buffer.alloc(cipher.keyBytes);
  try {
    key.write(pbe.opensslDeriveBytes(password, toBinary(salt), cipher.keyBytes), 'latin1');
    return await cipher.decrypt(key, iv, data);
  } finally {
    key.fill(0);
  }
}

async function decryptDes(key: Buffer, iv: Uint8Array, data: Uint8Array): Promise<Buffer | undefined> {
  const { default: forge } = await import('node-forge');
  const decipher = forge.cipher.createDecipher('DES-CBC', toBinary(key));
  decipher.start({ iv: toBinary(iv) });
  decipher.update(forge.util.createBuffer(toBinary(data)));
  return decipher.finish() ? Buffer.from(decipher.output.getBytes(), 'latin1') : undefined;
}

/** node-forge's "binary strings": one character per byte. */
function toBinary(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
