/**
 * EncryptedPrivateKeyInfo (RFC 5208 §6) under PBES2.
 *
 * Writes only what Notary reads: PBKDF2 without `prf` (so HMAC-SHA-1), without `keyLength`, AES-256-CBC.
 */
import { pbkdf2, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { SignetError } from '../errors.ts';
import { AES_256_CBC, encryptCbc, isCbcLength } from './cbc.ts';
import {
  DER_TAG,
  DerReader,
  type DerSubject,
  derOctetString,
  derOid,
  derSequence,
  derUnsigned,
  encodeDer,
  isDerSequence,
} from './der.ts';
import { AES_256_CBC_OID, decryptPbes2, MAX_ITERATIONS, PBES2, PBKDF2, type Pbes2, readPbes2 } from './pbes2.ts';

const pbkdf2Async = promisify(pbkdf2);

/** PBES1 (RFC 8018 §6.1) and the schemes of PKCS#12 (RFC 7292 appendix C). */
const PBES1 = /^1\.2\.840\.113549\.1\.(?:5\.(?:1|3|4|6|10|11)|12\.1\.[1-6])$/;

const SUBJECT: DerSubject = {
  what: 'encrypted private key',
  code: 'INTEGRITY',
  conversion: 'convert it with "openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA1"',
};

/** SP 800-132 §5.1 asks for 16 bytes; Notary writes 8 and reads any number. */
const SALT_BYTES = 16;

/** A parsed EncryptedPrivateKeyInfo. Its views are of the bytes it was parsed from. */
export interface SealedPkcs8 extends Pbes2 {
  readonly data: Uint8Array;
}

/**
 * Reads the structure and checks every bound, without a passphrase.
 *
 * @throws {SignetError} INTEGRITY if it is malformed or out of bounds; UNSUPPORTED for another scheme
 */
export function parseSealedPkcs8(der: Uint8Array): SealedPkcs8 {
  const outer = new DerReader(der, SUBJECT);
  const info = outer.readSequence('EncryptedPrivateKeyInfo');
  outer.end();
  const algorithm = info.readSequence('encryptionAlgorithm');
  const data = info.read(DER_TAG.OCTET_STRING, 'encryptedData');
  info.end();

  const scheme = algorithm.readOid('encryption scheme');
  if (scheme !== PBES2) {
    throw info.unsupported(`${PBES1.test(scheme) ? 'PBES1 encryption' : 'encryption scheme'} ${scheme}`);
  }
  const pbes2 = readPbes2(algorithm);
  if (!isCbcLength(data.byteLength, pbes2.cipher.blockBytes)) {
    info.fail('encryptedData is not a number of whole blocks');
  }
  return { ...pbes2, data };
}

/**
 * Decrypts. The key is derived on the thread pool.
 *
 * @param passphrase Copied before this returns; neither kept nor changed.
 * @returns DER PrivateKeyInfo, not looked into; the caller zeroes it.
 * @throws {SignetError} PASSPHRASE_INCORRECT if the padding is wrong or no ASN.1 comes out
 */
export async function openPkcs8(sealed: SealedPkcs8, passphrase: Uint8Array): Promise<Buffer> {
  const plaintext = await decryptPbes2(sealed, sealed.data, passphrase);
  if (plaintext !== undefined && isDerSequence(plaintext)) return plaintext;
  plaintext?.fill(0);
  throw new SignetError('PASSPHRASE_INCORRECT', 'the passphrase does not open the private key');
}

/**
 * Encrypts as Notary does, with a longer salt.
 *
 * @param pkcs8 DER PrivateKeyInfo; neither kept nor changed.
 * @param passphrase Copied before this returns; neither kept nor changed.
 * @param iterations 1 to `MAX_ITERATIONS`.
 * @returns DER EncryptedPrivateKeyInfo
 * @throws {SignetError} INVALID_ARGUMENT
 */
export async function sealPkcs8(pkcs8: Uint8Array, passphrase: Uint8Array, iterations: number): Promise<Buffer> {
  if (!Number.isInteger(iterations) || iterations < 1 || iterations > MAX_ITERATIONS) {
    throw new SignetError('INVALID_ARGUMENT', `iteration count is not 1 to ${MAX_ITERATIONS}`);
  }
  const salt = randomBytes(SALT_BYTES);
  const iv = randomBytes(AES_256_CBC.blockBytes);
  const key = await pbkdf2Async(passphrase, salt, iterations, AES_256_CBC.keyBytes, 'sha1');
  try {
    const kdf = derSequence(derOid(PBKDF2), derSequence(derOctetString(salt), derUnsigned(iterations)));
    const cipher = derSequence(derOid(AES_256_CBC_OID), derOctetString(iv));
    const algorithm = derSequence(derOid(PBES2), derSequence(kdf, cipher));
    return encodeDer(derSequence(algorithm, derOctetString(encryptCbc(AES_256_CBC, key, iv, pkcs8))));
  } finally {
    key.fill(0);
  }
}
