/**
 * The JWE (RFC 7516) in the column `private` of notary-signer's table: a private key under a passphrase, compact,
 * PBES2-HS256+A128KW (RFC 7518 §4.8) around A256GCM (§5.3).
 */
import { createDecipheriv, pbkdf2, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { CompactEncrypt, decodeProtectedHeader, type ProtectedHeaderParameters } from 'jose';
import { SignetError } from '../errors.ts';
import { DER_TAG, DerReader } from './der.ts';
import { PrivateKey } from './private-key.ts';
import type { Secret } from './secret.ts';

/**
 * PBKDF2-HMAC-SHA-256 (RFC 8018 §5.2).
 *
 * @param passphrase Neither kept nor changed.
 * @returns `keyBytes` bytes; the caller zeroes them.
 */
export type DeriveKey = (
  passphrase: Uint8Array,
  salt: Uint8Array,
  iterations: number,
  keyBytes: number,
) => Promise<Uint8Array>;

const pbkdf2Async = promisify(pbkdf2);
const deriveOnThreadPool: DeriveKey = (passphrase, salt, iterations, keyBytes) =>
  pbkdf2Async(passphrase, salt, iterations, keyBytes, 'sha256');

const ALG = 'PBES2-HS256+A128KW';
const ENC = 'A256GCM';

/** PBKDF2 iterations that notary-signer writes. OWASP's figure of 600 000 would cost each first use of a key that much. */
export const NOTARY_P2C = 8192;
/** Who can write to the table must not be able to keep our processors busy: 0.2 s at most. */
export const MAX_P2C = 1_000_000;

/** notary-signer's tokens have 365 characters; RSA 16384 would need 13 000. */
const MAX_TOKEN_CHARACTERS = 16 * 1024;
/** As many as notary-signer takes; RFC 7518 §4.8.1.1 asks for 8 at least. */
const SALT_BYTES = 12;
const MIN_SALT_BYTES = 8;
/** The content key of 32 bytes in AES key wrap (RFC 3394 §2.2.1). */
const WRAPPED_KEY_BYTES = 40;
const WRAPPING_KEY_BYTES = 16;
/** A256GCM (RFC 7518 §5.3). */
const IV_BYTES = 12;
const TAG_BYTES = 16;
/** RFC 3394 §2.2.3.1. */
const WRAP_IV = Buffer.alloc(8, 0xa6);
const NOTARY_ED25519_BYTES = 96;

/**
 * Opens a stored key. By hand, not with jose: this way the passphrase is stretched where the caller wants, and a wrong one
 * is told from damaged content without stretching it twice.
 *
 * @param token Compact serialisation; any text.
 * @param derive How the passphrase is stretched; by default on Node's thread pool.
 * @returns The caller checks that its key ID is the row's.
 * @throws {SignetError} PASSPHRASE_INCORRECT if the wrapped key does not open (a wrapped key that was tampered with
 *   cannot be told from a wrong passphrase); INTEGRITY for a damaged token, content that fails its authentication, a
 *   plaintext that is no key, or more than `MAX_P2C` iterations; UNSUPPORTED for another algorithm
 */
export async function openKeyJwe(
  token: string,
  passphrase: Secret,
  derive: DeriveKey = deriveOnThreadPool,
): Promise<PrivateKey> {
  const parts = readToken(token);
  const { salt, iterations } = parts;
  const wrappingKey = await derive(passphrase.bytes(), salt, iterations, WRAPPING_KEY_BYTES);
  let contentKey: Buffer | undefined;
  let plaintext: Buffer | undefined;
  try {
    contentKey = unwrap(parts.wrappedKey, wrappingKey);
    plaintext = decrypt(parts, contentKey);
    return decodeKey(plaintext);
  } catch (error) {
    // What a decoder of keys calls an invalid argument is, here, a damaged row.
    if (!(error instanceof SignetError) || error.code !== 'INVALID_ARGUMENT') throw error;
    throw new SignetError('INTEGRITY', error.message, { cause: error });
  } finally {
    for (const secret of [wrappingKey, contentKey, plaintext]) secret?.fill(0);
  }
}

interface TokenParts {
  /** Algorithm, zero octet, salt of the token (RFC 7518 §4.8.1.1). */
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly wrappedKey: Uint8Array;
  readonly iv: Uint8Array;
  readonly ciphertext: Uint8Array;
  readonly tag: Uint8Array;
  /** The header as it is in the token (RFC 7516 §5.2, step 15). */
  readonly additionalData: Uint8Array;
}

/** RFC 3394 §2.2.2. */
function unwrap(wrappedKey: Uint8Array, wrappingKey: Uint8Array): Buffer {
  const cipher = createDecipheriv('id-aes128-wrap', wrappingKey, WRAP_IV);
  try {
    const contentKey = cipher.update(wrappedKey);
    cipher.final(); // wrapping keeps nothing back
    return contentKey;
  } catch (cause) {
    throw new SignetError('PASSPHRASE_INCORRECT', 'the passphrase does not open the private key', { cause });
  }
}

function decrypt({ iv, ciphertext, tag, additionalData }: TokenParts, contentKey: Uint8Array): Buffer {
  const cipher = createDecipheriv('aes-256-gcm', contentKey, iv, { authTagLength: TAG_BYTES });
  cipher.setAAD(additionalData).setAuthTag(tag);
  const plaintext = cipher.update(ciphertext);
  try {
    cipher.final(); // GCM keeps nothing back
    return plaintext;
  } catch (cause) {
    plaintext.fill(0);
    throw damaged('the content fails its authentication', cause);
  }
}

/** Checks what does not need the passphrase. */
function readToken(token: string): TokenParts {
  if (token.length > MAX_TOKEN_CHARACTERS) throw damaged(`longer than ${MAX_TOKEN_CHARACTERS} characters`);
  const [protectedHeader, ...texts] = token.split('.');
  if (protectedHeader === undefined || texts.length !== 4) throw damaged('not five parts');
  readBase64Url(protectedHeader, 'a part');
  const [wrappedKey, iv, ciphertext, tag] = texts.map((text) => readBase64Url(text, 'a part')) as [
    Buffer,
    Buffer,
    Buffer,
    Buffer,
  ];
  let header: ProtectedHeaderParameters;
  try {
    header = decodeProtectedHeader(token);
  } catch (cause) {
    throw damaged('the header is not a JSON object', cause);
  }
  if (header.alg !== ALG) throw unsupported('alg');
  if (header['enc'] !== ENC) throw unsupported('enc');
  for (const name of ['zip', 'crit']) if (name in header) throw unsupported(name);
  if (wrappedKey.length !== WRAPPED_KEY_BYTES) throw damaged('no wrapped key of 32 bytes');
  if (iv.length !== IV_BYTES || tag.length !== TAG_BYTES) throw damaged('IV or tag has a wrong length');
  const additionalData = Buffer.from(protectedHeader);
  return { ...readDerivation(header), wrappedKey, iv, ciphertext, tag, additionalData };
}

function readDerivation({ p2c, p2s }: ProtectedHeaderParameters): Pick<TokenParts, 'salt' | 'iterations'> {
  if (typeof p2c !== 'number' || !Number.isInteger(p2c) || p2c < 1) throw damaged('p2c is not a positive integer');
  if (p2c > MAX_P2C) throw damaged(`p2c is above ${MAX_P2C}`);
  const salt = typeof p2s === 'string' ? readBase64Url(p2s, 'p2s') : undefined;
  if (salt === undefined || salt.length < MIN_SALT_BYTES) throw damaged(`p2s has less than ${MIN_SALT_BYTES} octets`);
  return { salt: Buffer.concat([Buffer.from(`${ALG}\0`), salt]), iterations: p2c };
}

/** One token, one spelling: base64url has several for the same bytes (RFC 4648 §3.5), so damage could go unseen. */
function readBase64Url(text: string, what: string): Buffer {
  const bytes = Buffer.from(text, 'base64url');
  if (bytes.toString('base64url') !== text) throw damaged(`${what} is not base64url`);
  return bytes;
}

/** notary-signer keeps no mark of the encoding: 96 bytes public ‖ seed ‖ public, or else SEC1. */
function decodeKey(plaintext: Uint8Array): PrivateKey {
  const publicHalf = plaintext.subarray(0, 32);
  const isEd25519 =
    plaintext.byteLength === NOTARY_ED25519_BYTES && Buffer.compare(publicHalf, plaintext.subarray(64)) === 0;
  return isEd25519 ? PrivateKey.fromNotaryEd25519(plaintext) : PrivateKey.fromSec1(plaintext);
}

function damaged(why: string, cause?: unknown): SignetError {
  return new SignetError('INTEGRITY', `damaged private key: ${why}`, { cause });
}

function unsupported(member: string): SignetError {
  return new SignetError('UNSUPPORTED', `private key under an unsupported "${member}"`, {
    hint: `only ${ALG} with ${ENC}, uncompressed, is supported`,
  });
}

/**
 * Seals a key as notary-signer does: fresh salt, content key and IV, the header's members sorted and no others.
 *
 * @param passphrase Not empty.
 * @param p2c PBKDF2 iterations, 1 to `MAX_P2C`; notary-signer reads any.
 * @returns 365 characters for P-256, 331 for Ed25519 with `NOTARY_P2C`
 * @throws {SignetError} INVALID_ARGUMENT for an empty passphrase or a count out of bounds; UNSUPPORTED for an RSA key,
 *   which notary-signer does not keep; INTERNAL if the key was disposed of
 */
export async function sealKeyJwe(key: PrivateKey, passphrase: Secret, p2c: number): Promise<string> {
  if (passphrase.bytes().byteLength === 0) throw new SignetError('INVALID_ARGUMENT', 'the passphrase is empty');
  if (!Number.isInteger(p2c) || p2c < 1 || p2c > MAX_P2C) {
    throw new SignetError('INVALID_ARGUMENT', `iteration count is not 1 to ${MAX_P2C}`);
  }
  if (key.algorithm === 'rsa') {
    throw new SignetError('UNSUPPORTED', 'RSA keys cannot be kept in the table of notary-signer');
  }
  const pkcs8 = key.toPkcs8();
  try {
    return await new CompactEncrypt(privateKeyOctets(pkcs8))
      .setProtectedHeader({ alg: ALG, enc: ENC })
      .setKeyManagementParameters({ p2c, p2s: randomBytes(SALT_BYTES) })
      .encrypt(passphrase.bytes());
  } finally {
    pkcs8.fill(0);
  }
}

/** @returns A view of the innermost encoding in Notary's PKCS#8: SEC1, or 96 bytes of Ed25519 */
function privateKeyOctets(pkcs8: Uint8Array): Uint8Array {
  const info: DerReader = new DerReader(pkcs8, { what: 'PKCS#8 private key', code: 'INVALID_ARGUMENT' }).readSequence(
    'PrivateKeyInfo',
  );
  info.readSmallUnsigned('version');
  info.readSequence('privateKeyAlgorithm');
  return info.read(DER_TAG.OCTET_STRING, 'privateKey');
}
