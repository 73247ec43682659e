/**
 * EncryptedPrivateKeyInfo (RFC 5208 §6) under PBES2 (RFC 8018 §6.2).
 *
 * Reads what OpenSSL 3 and others write; writes only what Notary reads: PBKDF2 without `prf` (so HMAC-SHA-1), without
 * `keyLength`, AES-256-CBC. CBC is not authenticated: a wrong passphrase shows in the padding or in what comes out.
 */
import { pbkdf2, randomBytes, scrypt } from 'node:crypto';
import { promisify } from 'node:util';
import { SignetError } from '../errors.ts';
import {
  AES_128_CBC,
  AES_192_CBC,
  AES_256_CBC,
  type CbcCipher,
  DES_EDE3_CBC,
  decryptCbc,
  encryptCbc,
  isCbcLength,
} from './cbc.ts';
import {
  DER_TAG,
  DerReader,
  derOctetString,
  derOid,
  derSequence,
  derUnsigned,
  encodeDer,
  isDerSequence,
} from './der.ts';

const pbkdf2Async = promisify(pbkdf2);
const scryptAsync = promisify<Uint8Array, Uint8Array, number, object, Buffer>(scrypt);

/** RFC 8018 appendix A, RFC 7914 §7.1, NIST's CSOR. */
const OID = {
  pbes2: '1.2.840.113549.1.5.13',
  pbkdf2: '1.2.840.113549.1.5.12',
  scrypt: '1.3.6.1.4.1.11591.4.11',
  aes256Cbc: '2.16.840.1.101.3.4.1.42',
} as const;

/** PBES1 (RFC 8018 §6.1) and the schemes of PKCS#12 (RFC 7292 appendix C). */
const PBES1 = /^1\.2\.840\.113549\.1\.(?:5\.(?:1|3|4|6|10|11)|12\.1\.[1-6])$/;

const HASH_OF_PRF: ReadonlyMap<string, string> = new Map([
  ['1.2.840.113549.2.7', 'sha1'],
  ['1.2.840.113549.2.9', 'sha256'],
  ['1.2.840.113549.2.10', 'sha384'],
  ['1.2.840.113549.2.11', 'sha512'],
]);

const CIPHERS: ReadonlyMap<string, CbcCipher> = new Map([
  ['2.16.840.1.101.3.4.1.2', AES_128_CBC],
  ['2.16.840.1.101.3.4.1.22', AES_192_CBC],
  [OID.aes256Cbc, AES_256_CBC],
  ['1.2.840.113549.3.7', DES_EDE3_CBC],
]);

/** Ten seconds of a core at most. */
export const MAX_ITERATIONS = 10_000_000;
const MAX_SALT_BYTES = 1024;
/** scrypt takes 128·N·r bytes of memory (256 MiB) and time in proportion to N·r·p. */
const MAX_SCRYPT_N_R = 2 ** 21;
const MAX_SCRYPT_N_R_P = 2 ** 22;
/** SP 800-132 §5.1 asks for 16 bytes; Notary writes 8 and reads any number. */
const SALT_BYTES = 16;

const CONVERT_HINT = 'convert it with "openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA1"';

type Kdf =
  | { readonly name: 'pbkdf2'; readonly salt: Uint8Array; readonly iterations: number; readonly hash: string }
  | { readonly name: 'scrypt'; readonly salt: Uint8Array; readonly N: number; readonly r: number; readonly p: number };

/** A parsed EncryptedPrivateKeyInfo. Its views are of the bytes it was parsed from. */
export interface SealedPkcs8 {
  readonly kdf: Kdf;
  readonly cipher: CbcCipher;
  readonly iv: Uint8Array;
  readonly data: Uint8Array;
}

/**
 * Reads the structure and checks every bound, without a passphrase.
 *
 * @throws {SignetError} INTEGRITY if it is malformed or out of bounds; UNSUPPORTED for another scheme
 */
export function parseSealedPkcs8(der: Uint8Array): SealedPkcs8 {
  const outer = new DerReader(der, { what: 'encrypted private key', code: 'INTEGRITY' });
  const info = outer.readSequence('EncryptedPrivateKeyInfo');
  outer.end();
  const algorithm = info.readSequence('encryptionAlgorithm');
  const data = info.read(DER_TAG.OCTET_STRING, 'encryptedData');
  info.end();

  const scheme = algorithm.readOid('encryption scheme');
  if (scheme !== OID.pbes2) throw unsupported(PBES1.test(scheme) ? 'PBES1 encryption' : 'encryption scheme', scheme);
  const parameters = algorithm.readSequence('PBES2-params');
  algorithm.end();
  const kdfAlgorithm = parameters.readSequence('keyDerivationFunc');
  const cipherAlgorithm = parameters.readSequence('encryptionScheme');
  parameters.end();

  const { cipher, iv } = readCipher(cipherAlgorithm);
  if (!isCbcLength(data.byteLength, cipher.blockBytes)) info.fail('encryptedData is not a number of whole blocks');
  return { kdf: readKdf(kdfAlgorithm, cipher), cipher, iv, data };
}

function unsupported(what: string, oid: string): SignetError {
  return new SignetError('UNSUPPORTED', `encrypted private key: ${what} ${oid} is not supported`, {
    hint: CONVERT_HINT,
  });
}

function readCipher(algorithm: DerReader): Pick<SealedPkcs8, 'cipher' | 'iv'> {
  const oid = algorithm.readOid('cipher');
  const cipher = CIPHERS.get(oid);
  if (cipher === undefined) throw unsupported('cipher', oid);
  const iv = algorithm.read(DER_TAG.OCTET_STRING, 'IV');
  algorithm.end();
  if (iv.byteLength !== cipher.blockBytes) algorithm.fail(`IV has not ${cipher.blockBytes} bytes`);
  return { cipher, iv };
}

function readKdf(algorithm: DerReader, cipher: CbcCipher): Kdf {
  const oid = algorithm.readOid('key derivation function');
  if (oid !== OID.pbkdf2 && oid !== OID.scrypt) throw unsupported('key derivation function', oid);
  const parameters = algorithm.readSequence('parameters of the key derivation function');
  algorithm.end();
  const salt = parameters.read(DER_TAG.OCTET_STRING, 'salt');
  if (salt.byteLength < 1 || salt.byteLength > MAX_SALT_BYTES) {
    parameters.fail(`salt has not 1 to ${MAX_SALT_BYTES} bytes`);
  }
  const kdf = oid === OID.pbkdf2 ? readPbkdf2(parameters, salt, cipher) : readScrypt(parameters, salt, cipher);
  parameters.end();
  return kdf;
}

/** RFC 8018 appendix A.2. */
function readPbkdf2(parameters: DerReader, salt: Uint8Array, cipher: CbcCipher): Kdf {
  const iterations = parameters.readSmallUnsigned('iterationCount');
  if (iterations < 1 || iterations > MAX_ITERATIONS) {
    parameters.fail(`iterationCount is not 1 to ${MAX_ITERATIONS}`);
  }
  readKeyLength(parameters, cipher);
  if (parameters.peekTag() !== DER_TAG.SEQUENCE) return { name: 'pbkdf2', salt, iterations, hash: 'sha1' };
  const prf = parameters.readSequence('prf');
  const oid = prf.readOid('prf');
  const hash = HASH_OF_PRF.get(oid);
  if (hash === undefined) throw unsupported('pseudorandom function', oid);
  if (prf.readOptional(DER_TAG.NULL, 'parameters')?.byteLength) prf.fail('NULL is not empty');
  prf.end();
  return { name: 'pbkdf2', salt, iterations, hash };
}

/** RFC 7914 §7.1. */
function readScrypt(parameters: DerReader, salt: Uint8Array, cipher: CbcCipher): Kdf {
  const N = parameters.readSmallUnsigned('costParameter');
  const r = parameters.readSmallUnsigned('blockSize');
  const p = parameters.readSmallUnsigned('parallelizationParameter');
  const isPowerOfTwo = N > 1 && N <= MAX_SCRYPT_N_R && (N & (N - 1)) === 0;
  const isBounded = N * r <= MAX_SCRYPT_N_R && N * r * p <= MAX_SCRYPT_N_R_P;
  if (!isPowerOfTwo || r < 1 || p < 1 || !isBounded) parameters.fail('scrypt parameters are out of bounds');
  readKeyLength(parameters, cipher);
  return { name: 'scrypt', salt, N, r, p };
}

function readKeyLength(parameters: DerReader, cipher: CbcCipher): void {
  if (parameters.peekTag() !== DER_TAG.INTEGER) return;
  if (parameters.readSmallUnsigned('keyLength') !== cipher.keyBytes)
    parameters.fail('keyLength does not fit the cipher');
}

/**
 * Decrypts. The key is derived on the thread pool.
 *
 * @param passphrase Copied before this returns; neither kept nor changed.
 * @returns DER PrivateKeyInfo, not looked into; the caller zeroes it.
 * @throws {SignetError} PASSPHRASE_INCORRECT if the padding is wrong or no ASN.1 comes out
 */
export async function openPkcs8(sealed: SealedPkcs8, passphrase: Uint8Array): Promise<Buffer> {
  const key = await deriveKey(sealed.kdf, passphrase, sealed.cipher.keyBytes);
  try {
    const plaintext = decryptCbc(sealed.cipher, key, sealed.iv, sealed.data);
    if (plaintext !== undefined && isDerSequence(plaintext)) return plaintext;
    plaintext?.fill(0);
    throw new SignetError('PASSPHRASE_INCORRECT', 'the passphrase does not open the private key');
  } finally {
    key.fill(0);
  }
}

function deriveKey(kdf: Kdf, passphrase: Uint8Array, keyBytes: number): Promise<Buffer> {
  if (kdf.name === 'pbkdf2') return pbkdf2Async(passphrase, kdf.salt, kdf.iterations, keyBytes, kdf.hash);
  const { salt, N, r, p } = kdf;
  return scryptAsync(passphrase, salt, keyBytes, { N, r, p, maxmem: 128 * r * (N + p + 2) });
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
    const kdf = derSequence(derOid(OID.pbkdf2), derSequence(derOctetString(salt), derUnsigned(iterations)));
    const cipher = derSequence(derOid(OID.aes256Cbc), derOctetString(iv));
    const algorithm = derSequence(derOid(OID.pbes2), derSequence(kdf, cipher));
    return encodeDer(derSequence(algorithm, derOctetString(encryptCbc(AES_256_CBC, key, iv, pkcs8))));
  } finally {
    key.fill(0);
  }
}
