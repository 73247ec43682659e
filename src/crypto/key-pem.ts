/** Private key files as `notary`, `docker trust` and OpenSSL write them: PEM around every encoding Notary reads. */
import { SignetError } from '../errors.ts';
import { isDerSequence } from './der.ts';
import { decryptLegacy, isLegacyEncrypted, parseLegacyEncryption } from './legacy-pem.ts';
import { formatPem, type PemBlock, parsePem } from './pem.ts';
import { openPkcs8, parseSealedPkcs8, sealPkcs8 } from './pkcs8.ts';
import { PrivateKey } from './private-key.ts';
import type { Secret } from './secret.ts';

/**
 * PBKDF2 iterations for keys that Signet seals: the figure of OWASP's Password Storage Cheat Sheet for HMAC-SHA-1,
 * the only pseudorandom function that Notary reads. notary and docker take any count; they write 2048 themselves.
 */
export const KDF_ITERATIONS: number = 1_300_000;

/** Larger files are not looked at; RSA 16384 needs 13 KiB. */
const MAX_FILE_BYTES = 64 * 1024;
/** In UTF-16 units, role and GUN each; far above any real name and far below `MAX_FILE_BYTES`. */
const MAX_OWNER_LENGTH = 4096;

const SEALED_TYPE = 'ENCRYPTED PRIVATE KEY';

/** PEM types of unencrypted PKCS#8 and of the three types that Notary before 0.6 wrote. */
const DECODER_OF = {
  'PRIVATE KEY': (der: Uint8Array) => PrivateKey.fromPkcs8(der),
  'EC PRIVATE KEY': (der: Uint8Array) => PrivateKey.fromSec1(der),
  'RSA PRIVATE KEY': (der: Uint8Array) => PrivateKey.fromPkcs1(der),
  'ED25519 PRIVATE KEY': (bytes: Uint8Array) => PrivateKey.fromNotaryEd25519(bytes),
} as const;

type PlainType = keyof typeof DECODER_OF;

function isPlainType(type: string): type is PlainType {
  return Object.hasOwn(DECODER_OF, type);
}

/** A key file as far as it can be read without its passphrase. */
export interface KeyPem {
  /** `''` if the file names none. Not checked: any text without line breaks. */
  readonly role: string;
  readonly gun: string;
  /** Whether a passphrase is needed. */
  readonly sealed: boolean;
  /** If not `sealed`, its bytes are the private key: the caller zeroes them when done. */
  readonly block: PemBlock;
}

/**
 * Reads the header of a key file. Only the first PEM block counts, as for Notary.
 *
 * @throws {SignetError} INTEGRITY if it is too large, has no PEM block or one of another type
 */
export function readKeyPem(text: Uint8Array): KeyPem {
  if (text.byteLength > MAX_FILE_BYTES) throw new SignetError('INTEGRITY', 'key file is larger than 64 KiB');
  const block = parsePem(text);
  if (block === undefined) throw new SignetError('INTEGRITY', 'no PEM block');
  if (!isPrivateKeyType(block.type)) {
    throw new SignetError('INTEGRITY', `unknown PEM type ${quoteType(block.type)}`, {
      hint: `the first PEM block must be one of ${[SEALED_TYPE, ...Object.keys(DECODER_OF)].join(', ')}`,
    });
  }
  return keyPemOf(block);
}

/** True for the PEM types that `keyPemOf` takes. */
export function isPrivateKeyType(type: string): boolean {
  return isPlainType(type) || type === SEALED_TYPE;
}

/** @param block Of a type for which `isPrivateKeyType` holds. */
export function keyPemOf(block: PemBlock): KeyPem {
  return {
    role: block.headers.get('role') ?? '',
    gun: block.headers.get('gun') ?? '',
    sealed: block.type === SEALED_TYPE || (isTraditional(block.type) && isLegacyEncrypted(block)),
    block,
  };
}

/** The types that OpenSSL encrypts by PEM headers. */
function isTraditional(type: string): boolean {
  return type !== 'PRIVATE KEY' && type !== SEALED_TYPE;
}

/** A damaged file can have anything in its first line, even the key: only what looks like a label is repeated. */
export function quoteType(type: string): string {
  return /^[A-Z0-9]{1,16}(?: [A-Z0-9]{1,16}){0,4}$/.test(type) ? `"${type}"` : '(not a label)';
}

/**
 * Opens a key file.
 *
 * @param passphrase Needed for sealed files, ignored for others.
 * @throws {SignetError} PASSPHRASE_REQUIRED, PASSPHRASE_INCORRECT; INTEGRITY for a damaged file; UNSUPPORTED for a
 *   cipher or key that Signet does not read
 */
export async function openKeyPem(pem: KeyPem, passphrase: Secret | undefined): Promise<PrivateKey> {
  try {
    if (!pem.sealed) return decode(pem.block.type, pem.block.bytes);
    if (pem.block.type === SEALED_TYPE) return await openSealed(pem.block, passphrase);
    return await openTraditional(pem.block, passphrase);
  } catch (error) {
    throw asStoredKeyError(error);
  }
}

/** The decoders take bytes from anyone; here the bytes are a stored key, so what is wrong with them is damage. */
function asStoredKeyError(error: unknown): unknown {
  if (!(error instanceof SignetError) || error.code !== 'INVALID_ARGUMENT') return error;
  return new SignetError('INTEGRITY', error.message, { cause: error });
}

function decode(type: string, bytes: Uint8Array): PrivateKey {
  if (isPlainType(type)) return DECODER_OF[type](bytes);
  throw new SignetError('INTERNAL', `no decoder for PEM type ${quoteType(type)}`);
}

async function openSealed(block: PemBlock, passphrase: Secret | undefined): Promise<PrivateKey> {
  const sealed = parseSealedPkcs8(block.bytes);
  const pkcs8 = await openPkcs8(sealed, required(passphrase));
  try {
    return PrivateKey.fromPkcs8(pkcs8);
  } finally {
    pkcs8.fill(0);
  }
}

async function openTraditional(block: PemBlock, passphrase: Secret | undefined): Promise<PrivateKey> {
  const encryption = parseLegacyEncryption(block);
  const plaintext = await decryptLegacy(encryption, block.bytes, required(passphrase));
  try {
    if (plaintext === undefined || !looksLike(block.type, plaintext)) {
      throw new SignetError('PASSPHRASE_INCORRECT', 'the passphrase does not open the private key');
    }
    return decode(block.type, plaintext);
  } finally {
    plaintext?.fill(0);
  }
}

/** CBC is not authenticated: with the wrong passphrase the padding fits once in 256 times, and what comes out is noise. */
function looksLike(type: string, plaintext: Buffer): boolean {
  if (type !== 'ED25519 PRIVATE KEY') return isDerSequence(plaintext);
  return plaintext.length === 96 && plaintext.subarray(0, 32).equals(plaintext.subarray(64));
}

function required(passphrase: Secret | undefined): Uint8Array {
  if (passphrase === undefined) {
    throw new SignetError('PASSPHRASE_REQUIRED', 'the private key is sealed under a passphrase');
  }
  return passphrase.bytes();
}

/**
 * Seals a key as `notary` and `docker trust` read it.
 *
 * @param owner Become headers; empty ones are left out.
 * @param passphrase Not empty: notary takes an empty one for none.
 * @param iterations Of PBKDF2; `KDF_ITERATIONS` outside tests.
 * @returns PEM text of type ENCRYPTED PRIVATE KEY
 * @throws {SignetError} INVALID_ARGUMENT for an owner that a header cannot hold, an empty passphrase or an iteration
 *   count out of bounds; INTERNAL if the key was disposed of
 */
export async function sealKeyPem(
  key: PrivateKey,
  owner: { readonly role: string; readonly gun: string },
  passphrase: Secret,
  iterations: number,
): Promise<string> {
  if (Math.max(owner.role.length, owner.gun.length) > MAX_OWNER_LENGTH) {
    throw new SignetError('INVALID_ARGUMENT', `role or GUN is longer than ${MAX_OWNER_LENGTH} characters`);
  }
  if (passphrase.bytes().byteLength === 0) throw new SignetError('INVALID_ARGUMENT', 'the passphrase is empty');
  const headers = new Map(Object.entries({ role: owner.role, gun: owner.gun }).filter(([, value]) => value !== ''));
  const pkcs8 = key.toPkcs8();
  try {
    const bytes = await sealPkcs8(pkcs8, passphrase.bytes(), iterations);
    return formatPem({ type: SEALED_TYPE, headers, bytes });
  } finally {
    pkcs8.fill(0);
  }
}
