/**
 * Files sealed under a passphrase in the age format, version 1 (https://c2sp.org/age): the `age` program reads them too.
 *
 * One scrypt recipient; the payload in chunks of 64 KiB, each authenticated with its place and whether it is the last, so
 * that neither side holds more than one chunk.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hkdfSync,
  randomBytes,
  scrypt,
  timingSafeEqual,
} from 'node:crypto';
import { SignetError } from '../errors.ts';
import { ByteReader } from './byte-reader.ts';

const VERSION_LINE = 'age-encryption.org/v1';
const SCRYPT_LABEL = 'age-encryption.org/v1/scrypt';
const CHUNK_BYTES = 64 * 1024;
const TAG_BYTES = 16;
const FILE_KEY_BYTES = 16;
const NONCE_BYTES = 16;
/** A header with one scrypt stanza has 180 bytes. */
const MAX_HEADER_BYTES = 1024;
/** OWASP Password Storage Cheat Sheet: N = 2^17, r = 8, p = 1. Takes 128 MiB for a moment. */
const LOG_N = 17;
/** What the `age` program writes; more would take more memory than a daemon has to spare. */
const MAX_LOG_N = 18;
const HEADER =
  /^age-encryption\.org\/v1\n-> scrypt ([A-Za-z0-9+/]{22}) ([1-9][0-9]?)\n([A-Za-z0-9+/]{43})\n--- ([A-Za-z0-9+/]{43})\n/;

/**
 * Seals a stream.
 *
 * @param passphrase UTF-8; neither kept nor changed.
 * @param logN Work factor of scrypt; `LOG_N` outside tests.
 */
export async function* sealAge(
  passphrase: Uint8Array,
  plaintext: AsyncIterable<Uint8Array>,
  logN: number = LOG_N,
): AsyncIterable<Buffer> {
  const fileKey = randomBytes(FILE_KEY_BYTES);
  let payloadKey: Buffer | undefined;
  try {
    const salt = randomBytes(16);
    const wrapKey = await deriveWrapKey(passphrase, salt, logN);
    const body = sealChunk(wrapKey, Buffer.alloc(12), fileKey);
    wrapKey.fill(0);
    const head = `${VERSION_LINE}\n-> scrypt ${base64(salt)} ${logN}\n${base64(body)}\n---`;
    yield Buffer.from(`${head} ${base64(macOf(fileKey, head))}\n`);
    const nonce = randomBytes(NONCE_BYTES);
    yield nonce;
    payloadKey = derivePayloadKey(fileKey, nonce);
    for await (const { chunk, isLast, index } of chunksOf(plaintext, CHUNK_BYTES)) {
      yield sealChunk(payloadKey, chunkNonce(index, isLast), chunk);
    }
  } finally {
    payloadKey?.fill(0);
    fileKey.fill(0);
  }
}

/**
 * Opens what `sealAge`, or `age -p`, made. Every piece that comes out is authentic and in its place; that nothing is
 * missing is known only when the stream ends without an error.
 *
 * @throws {SignetError} INVALID_ARGUMENT if it is no such file, UNSUPPORTED for a work factor beyond 2^18,
 *   PASSPHRASE_INCORRECT, INTEGRITY if it is damaged or cut short
 */
export async function* openAge(passphrase: Uint8Array, sealed: AsyncIterable<Uint8Array>): AsyncIterable<Buffer> {
  const input = new ByteReader(sealed);
  const header = parseHeader(await input.peek(MAX_HEADER_BYTES));
  await input.take(header.lengthBytes);
  const fileKey = await unwrap(passphrase, header);
  let payloadKey: Buffer | undefined;
  try {
    if (!timingSafeEqual(macOf(fileKey, header.macked), header.mac)) throw damaged();
    const nonce = await input.take(NONCE_BYTES);
    if (nonce.length < NONCE_BYTES) throw damaged();
    payloadKey = derivePayloadKey(fileKey, nonce);
    for await (const { chunk, isLast, index } of chunksOf(input.rest(), CHUNK_BYTES + TAG_BYTES)) {
      const opened = openChunk(payloadKey, chunkNonce(index, isLast), chunk);
      // Only an empty file ends with an empty chunk.
      if (opened === undefined || (opened.length === 0 && index > 0)) throw damaged();
      yield opened;
    }
  } finally {
    payloadKey?.fill(0);
    fileKey.fill(0);
  }
}

interface Header {
  readonly lengthBytes: number;
  readonly salt: Buffer;
  readonly logN: number;
  readonly body: Buffer;
  /** What the MAC is over: all up to the three dashes. */
  readonly macked: string;
  readonly mac: Buffer;
}

function parseHeader(start: Buffer): Header {
  const text = start.toString('latin1');
  const match = HEADER.exec(text);
  const [all, saltText, logNText, bodyText, macText] = match ?? [];
  const salt = decodeBase64(saltText);
  const body = decodeBase64(bodyText);
  const mac = decodeBase64(macText);
  if (all === undefined || salt === undefined || body === undefined || mac === undefined) {
    throw new SignetError('INVALID_ARGUMENT', 'this is no archive that is sealed under a passphrase');
  }
  const logN = Number(logNText);
  if (logN > MAX_LOG_N) {
    throw new SignetError('UNSUPPORTED', `the archive's scrypt work factor is beyond 2^${MAX_LOG_N}`);
  }
  return { lengthBytes: all.length, salt, logN, body, macked: all.slice(0, all.lastIndexOf(' ')), mac };
}

async function unwrap(passphrase: Uint8Array, { salt, logN, body }: Header): Promise<Buffer> {
  const wrapKey = await deriveWrapKey(passphrase, salt, logN);
  const fileKey = openChunk(wrapKey, Buffer.alloc(12), body);
  wrapKey.fill(0);
  if (fileKey !== undefined) return fileKey;
  throw new SignetError('PASSPHRASE_INCORRECT', 'the passphrase does not open the archive');
}

function deriveWrapKey(passphrase: Uint8Array, salt: Uint8Array, logN: number): Promise<Buffer> {
  const N = 2 ** logN;
  const r = 8;
  const options = { N, r, p: 1, maxmem: 128 * N * r + 1024 * 1024 };
  return new Promise((resolve, reject) => {
    scrypt(passphrase, Buffer.concat([Buffer.from(SCRYPT_LABEL), salt]), 32, options, (error, key) => {
      if (error === null) resolve(key);
      else reject(new SignetError('INTERNAL', 'scrypt failed', { cause: error }));
    });
  });
}

function derivePayloadKey(fileKey: Uint8Array, nonce: Uint8Array): Buffer {
  return Buffer.from(hkdfSync('sha256', fileKey, nonce, 'payload', 32));
}

function macOf(fileKey: Uint8Array, head: string): Buffer {
  const key = Buffer.from(hkdfSync('sha256', fileKey, Buffer.alloc(0), 'header', 32));
  return createHmac('sha256', key).update(head).digest();
}

/** STREAM: an 11-byte big-endian counter, then 1 for the last chunk. */
function chunkNonce(index: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(index, 5, 6);
  nonce[11] = Number(isLast);
  return nonce;
}

function sealChunk(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array): Buffer {
  const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: TAG_BYTES });
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/** @returns Undefined if it is not authentic. */
function openChunk(key: Uint8Array, nonce: Uint8Array, sealed: Buffer): Buffer | undefined {
  if (sealed.length < TAG_BYTES) return undefined;
  const decipher = createDecipheriv('chacha20-poly1305', key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  const plaintext = decipher.update(sealed.subarray(0, -TAG_BYTES));
  try {
    decipher.final();
    return plaintext;
  } catch {
    return undefined;
  }
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64').replaceAll('=', '');
}

/** @returns Undefined unless it is the one way to write these bytes. */
function decodeBase64(text: string | undefined): Buffer | undefined {
  const bytes = Buffer.from(text ?? '', 'base64');
  return text !== undefined && base64(bytes) === text ? bytes : undefined;
}

function damaged(): SignetError {
  return new SignetError('INTEGRITY', 'the archive is damaged or cut short');
}

/** Pieces of `size` bytes; the last may be shorter, and is empty only if there is nothing at all. */
async function* chunksOf(
  source: AsyncIterable<Uint8Array>,
  size: number,
): AsyncIterable<{ readonly chunk: Buffer; readonly isLast: boolean; readonly index: number }> {
  const input = new ByteReader(source);
  for (let index = 0; ; index++) {
    const chunk = await input.take(size);
    const isLast = (await input.peek(1)).length === 0;
    yield { chunk, isLast, index };
    if (isLast) return;
  }
}
