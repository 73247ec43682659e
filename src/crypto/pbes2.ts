/**
 * PBES2 (RFC 8018 §6.2), the encryption of PKCS#8 and PKCS#12 files. Reads what OpenSSL 3 and others write. CBC is not
 * authenticated: a wrong passphrase shows in the padding or in what comes out.
 */
import { pbkdf2, scrypt } from 'node:crypto';
import { promisify } from 'node:util';
import { AES_128_CBC, AES_192_CBC, AES_256_CBC, type CbcCipher, DES_EDE3_CBC, decryptCbc } from './cbc.ts';
import { DER_TAG, type DerReader } from './der.ts';

const pbkdf2Async = promisify(pbkdf2);
const scryptAsync = promisify<Uint8Array, Uint8Array, number, object, Buffer>(scrypt);

/** RFC 8018 appendix A, RFC 7914 §7.1. */
export const PBES2 = '1.2.840.113549.1.5.13';
export const PBKDF2 = '1.2.840.113549.1.5.12';
const SCRYPT = '1.3.6.1.4.1.11591.4.11';

const HASH_OF_PRF: ReadonlyMap<string, string> = new Map([
  ['1.2.840.113549.2.7', 'sha1'],
  ['1.2.840.113549.2.9', 'sha256'],
  ['1.2.840.113549.2.10', 'sha384'],
  ['1.2.840.113549.2.11', 'sha512'],
]);

/** NIST's CSOR. */
export const AES_256_CBC_OID = '2.16.840.1.101.3.4.1.42';

const CIPHERS: ReadonlyMap<string, CbcCipher> = new Map([
  ['2.16.840.1.101.3.4.1.2', AES_128_CBC],
  ['2.16.840.1.101.3.4.1.22', AES_192_CBC],
  [AES_256_CBC_OID, AES_256_CBC],
  ['1.2.840.113549.3.7', DES_EDE3_CBC],
]);

/** Ten seconds of a core at most. */
export const MAX_ITERATIONS = 10_000_000;
const MAX_SALT_BYTES = 1024;
/** scrypt takes 128·N·r bytes of memory (256 MiB) and time in proportion to N·r·p. */
const MAX_SCRYPT_N_R = 2 ** 21;
const MAX_SCRYPT_N_R_P = 2 ** 22;

type Kdf =
  | { readonly name: 'pbkdf2'; readonly salt: Uint8Array; readonly iterations: number; readonly hash: string }
  | { readonly name: 'scrypt'; readonly salt: Uint8Array; readonly N: number; readonly r: number; readonly p: number };

/** Parameters of PBES2. Their views are of the bytes they were read from. */
export interface Pbes2 {
  readonly kdf: Kdf;
  readonly cipher: CbcCipher;
  readonly iv: Uint8Array;
}

/**
 * Reads PBES2-params and checks every bound.
 *
 * @param algorithm Stands behind the identifier `PBES2` of an AlgorithmIdentifier; is read to its end.
 * @throws {SignetError} the reader's code if it is malformed or out of bounds; UNSUPPORTED for another cipher or function
 */
export function readPbes2(algorithm: DerReader): Pbes2 {
  const parameters = algorithm.readSequence('PBES2-params');
  algorithm.end();
  const kdfAlgorithm = parameters.readSequence('keyDerivationFunc');
  const cipherAlgorithm = parameters.readSequence('encryptionScheme');
  parameters.end();
  const { cipher, iv } = readCipher(cipherAlgorithm);
  return { kdf: readKdf(kdfAlgorithm, cipher), cipher, iv };
}

function readCipher(algorithm: DerReader): Pick<Pbes2, 'cipher' | 'iv'> {
  const oid = algorithm.readOid('cipher');
  const cipher = CIPHERS.get(oid);
  if (cipher === undefined) throw algorithm.unsupported(`cipher ${oid}`);
  const iv = algorithm.read(DER_TAG.OCTET_STRING, 'IV');
  algorithm.end();
  if (iv.byteLength !== cipher.blockBytes) algorithm.fail(`IV has not ${cipher.blockBytes} bytes`);
  return { cipher, iv };
}

function readKdf(algorithm: DerReader, cipher: CbcCipher): Kdf {
  const oid = algorithm.readOid('key derivation function');
  if (oid !== PBKDF2 && oid !== SCRYPT) throw algorithm.unsupported(`key derivation function ${oid}`);
  const parameters = algorithm.readSequence('parameters of the key derivation function');
  algorithm.end();
  const salt = readSalt(parameters);
  const kdf = oid === PBKDF2 ? readPbkdf2(parameters, salt, cipher) : readScrypt(parameters, salt, cipher);
  parameters.end();
  return kdf;
}

/** @throws {SignetError} the reader's code if it is empty or longer than any in use */
export function readSalt(parameters: DerReader): Uint8Array {
  const salt = parameters.read(DER_TAG.OCTET_STRING, 'salt');
  if (salt.byteLength < 1 || salt.byteLength > MAX_SALT_BYTES) {
    parameters.fail(`salt has not 1 to ${MAX_SALT_BYTES} bytes`);
  }
  return salt;
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
  if (hash === undefined) throw prf.unsupported(`pseudorandom function ${oid}`);
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

/** How much work deriving the key is, as iterations of PBKDF2. */
export function workOf({ kdf }: Pbes2): number {
  return kdf.name === 'pbkdf2' ? kdf.iterations : kdf.N * kdf.r * kdf.p;
}

/**
 * Decrypts. The key is derived on the thread pool.
 *
 * @param data Whole blocks, at least one.
 * @param passphrase Copied before this returns; neither kept nor changed.
 * @returns The plaintext, which the caller zeroes; undefined if the padding is wrong, as with the wrong passphrase.
 */
export async function decryptPbes2(
  { kdf, cipher, iv }: Pbes2,
  data: Uint8Array,
  passphrase: Uint8Array,
): Promise<Buffer | undefined> {
  const key = await deriveKey(kdf, passphrase, cipher.keyBytes);
  try {
    return decryptCbc(cipher, key, iv, data);
  } finally {
    key.fill(0);
  }
}

function deriveKey(kdf: Kdf, passphrase: Uint8Array, keyBytes: number): Promise<Buffer> {
  if (kdf.name === 'pbkdf2') return pbkdf2Async(passphrase, kdf.salt, kdf.iterations, keyBytes, kdf.hash);
  const { salt, N, r, p } = kdf;
  return scryptAsync(passphrase, salt, keyBytes, { N, r, p, maxmem: 128 * r * (N + p + 2) });
}
