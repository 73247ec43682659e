/** JWK and JWK Set files (RFC 7517 §5). */
import { SignetError } from '../errors.ts';
import type { JwkMembers } from './jwk.ts';

const MAX_KEYS = 256;

/**
 * @returns The keys in order, not checked yet; of a JWK Set, all of them.
 * @throws {SignetError} INVALID_ARGUMENT if it is no JSON, no JWK or an empty set; UNSUPPORTED for an encrypted one
 */
export function readJwkFile(text: Uint8Array): {
  readonly kind: 'jwk' | 'jwk-set';
  readonly keys: readonly JwkMembers[];
} {
  const value = parseJson(text);
  if (!isObject(value)) throw new SignetError('INVALID_ARGUMENT', 'the JSON file holds no object');
  if (value['kty'] !== undefined) return { kind: 'jwk', keys: [value] };
  if (Array.isArray(value['keys'])) {
    const keys: readonly unknown[] = value['keys'];
    if (keys.length === 0 || keys.length > MAX_KEYS || !keys.every(isObject)) {
      throw new SignetError('INVALID_ARGUMENT', `a JWK Set holds 1 to ${MAX_KEYS} keys`);
    }
    return { kind: 'jwk-set', keys };
  }
  if (value['ciphertext'] !== undefined) throw new SignetError('UNSUPPORTED', 'encrypted JWKs are not supported');
  if (value['signed'] !== undefined) {
    throw new SignetError('INVALID_ARGUMENT', 'the file holds TUF metadata, not a key');
  }
  throw new SignetError('INVALID_ARGUMENT', 'the JSON file holds no JWK and no JWK Set');
}

/** The parser's own message quotes the text, which may be a private key. */
function parseJson(text: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(text.buffer, text.byteOffset, text.byteLength).toString('utf8'));
  } catch {
    throw new SignetError('INVALID_ARGUMENT', 'the file is not JSON');
  }
}

function isObject(value: unknown): value is JwkMembers {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
