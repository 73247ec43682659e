/**
 * The JWE (RFC 7516) in the column `private` of notary-signer's table: a private key under a passphrase, compact,
 * PBES2-HS256+A128KW (RFC 7518 §4.8) around A256GCM (§5.3).
 */
import { createDecipheriv, pbkdf2, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { CompactEncrypt, compactDecrypt, decodeProtectedHeader, errors, type ProtectedHeaderParameters } from 'jose';
import { SignetError } from '../errors.ts';
import { DER_TAG, DerReader } from './der.ts';
import { PrivateKey } from './private-key.ts';
import type { Secret } from './secret.ts';

const pbkdf2Async = promisify(pbkdf2);

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
/** The content key of 32 bytes in AES key wrap (RFC 3394 §2.2.1). */
const WRAPPED_KEY_BYTES = 40;
const WRAPPING_KEY_BYTES = 16;
/** RFC 3394 §2.2.3.1. */
const WRAP_IV = Buffer.alloc(8, 0xa6);
const NOTARY_ED25519_BYTES = 96;

/**
 * Opens a stored key. The passphrase is stretched on the thread pool.
 *
 * @param token Compact serialisation; any text.
 * @returns The caller checks that its key ID is the row's.
 * @throws {SignetError} PASSPHRASE_INCORRECT if the wrapped key does not open (a wrapped key that was tampered with
 *   cannot be told from a wrong passphrase); INTEGRITY for a damaged token, content that fails its authentication, a
 *   plaintext that is no key, or more than `MAX_P2C` iterations; UNSUPPORTED for another algorithm
 */
export async function openKeyJwe(token: string, passphrase: Secret): Promise<PrivateKey> {
  const header = readHeader(token);
  let plaintext: Uint8Array | undefined;
  try {
    ({ plaintext } = await compactDecrypt(token, passphrase.bytes(), {
      keyManagementAlgorithms: [ALG],
      contentEncryptionAlgorithms: [ENC],
      maxPBES2Count: MAX_P2C,
      maxDecompressedLength: 0,
    }));
    return decodeKey(plaintext);
  } catch (error) {
    if (error instanceof errors.JWEDecryptionFailed) throw await whyUndecryptable(token, header, passphrase);
    throw asStoredKeyError(error);
  } finally {
    plaintext?.fill(0);
  }
}

/** Checks what does not need the passphrase. */
function readHeader(token: string): ProtectedHeaderParameters {
  if (token.length > MAX_TOKEN_CHARACTERS) throw damaged(`longer than ${MAX_TOKEN_CHARACTERS} characters`);
  const parts = token.split('.');
  if (parts.length !== 5) throw damaged('not five parts');
  // One token, one spelling: base64url has several for the same bytes (RFC 4648 §3.5), so damage could go unseen.
  const isCanonical = parts.every((part) => Buffer.from(part, 'base64url').toString('base64url') === part);
  if (!isCanonical) throw damaged('a part is not base64url');
  let header: ProtectedHeaderParameters;
  try {
    header = decodeProtectedHeader(token);
  } catch (cause) {
    throw damaged('the header is not a JSON object', cause);
  }
  if (header.alg !== ALG) throw unsupported('alg');
  if (header['enc'] !== ENC) throw unsupported('enc');
  for (const name of ['zip', 'crit']) if (name in header) throw unsupported(name);
  const iterations = header['p2c'];
  if (typeof iterations === 'number' && iterations > MAX_P2C) throw damaged(`p2c is above ${MAX_P2C}`);
  if (Buffer.from(part(parts, 1), 'base64url').length !== WRAPPED_KEY_BYTES)
    throw damaged('no wrapped key of 32 bytes');
  return header;
}

function part(parts: readonly string[], index: number): string {
  return parts[index] ?? '';
}

/**
 * jose goes on with a random content key when the real one does not unwrap, so that a remote attacker learns nothing
 * (RFC 7516 §11.5). Here the one who asks holds the passphrase, and must be told which of the two is wrong.
 */
async function whyUndecryptable(
  token: string,
  header: ProtectedHeaderParameters,
  passphrase: Secret,
): Promise<SignetError> {
  const salt = Buffer.concat([Buffer.from(`${ALG}\0`), Buffer.from(String(header['p2s']), 'base64url')]);
  const wrapped = Buffer.from(part(token.split('.'), 1), 'base64url');
  const wrappingKey = await pbkdf2Async(passphrase.bytes(), salt, Number(header['p2c']), WRAPPING_KEY_BYTES, 'sha256');
  try {
    const unwrap = createDecipheriv('id-aes128-wrap', wrappingKey, WRAP_IV);
    unwrap.update(wrapped).fill(0);
    unwrap.final().fill(0);
    return damaged('the content fails its authentication');
  } catch (cause) {
    return new SignetError('PASSPHRASE_INCORRECT', 'the passphrase does not open the private key', { cause });
  } finally {
    wrappingKey.fill(0);
  }
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

/** What the decoders call invalid input is damage here: the bytes are a stored key. */
function asStoredKeyError(error: unknown): unknown {
  if (error instanceof SignetError) {
    return error.code === 'INVALID_ARGUMENT' ? new SignetError('INTEGRITY', error.message, { cause: error }) : error;
  }
  // jose's messages name header members, never their values.
  return error instanceof errors.JOSEError ? damaged(error.message, error) : error;
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
