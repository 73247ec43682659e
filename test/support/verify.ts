/** Verification that shares no code with the product: @noble/curves for curves, node:crypto for RSA. */
import { constants, createHash, createPublicKey, verify } from 'node:crypto';
import { ed25519 } from '@noble/curves/ed25519.js';
import { p256, p384, p521 } from '@noble/curves/nist.js';
import type { PublicKey } from '../../src/crypto/public-key.ts';

/** Bytes of a signature half, by the length of the uncompressed point at the end of the SubjectPublicKeyInfo. */
const CURVES = [
  { curve: p256, spkiBytes: 91, pointBytes: 65 },
  { curve: p384, spkiBytes: 120, pointBytes: 97 },
  { curve: p521, spkiBytes: 158, pointBytes: 133 },
];

/** Over a message: SHA-256 whatever the curve, as Notary verifies. */
export function verifyIndependently(key: PublicKey, message: Uint8Array, signature: Uint8Array): boolean {
  if (key.algorithm === 'ed25519') return ed25519.verify(signature, message, key.bytes);
  return verifyDigestIndependently(key, createHash('sha256').update(message).digest(), 'sha256', signature);
}

export function verifyDigestIndependently(
  key: PublicKey,
  digest: Uint8Array,
  hash: 'sha256' | 'sha384' | 'sha512',
  signature: Uint8Array,
): boolean {
  if (key.algorithm === 'ecdsa') {
    const row = CURVES.find(({ spkiBytes }) => spkiBytes === key.bytes.length);
    if (row === undefined) throw new Error(`no curve has a key of ${key.bytes.length} bytes`);
    const point = key.bytes.subarray(key.bytes.length - row.pointBytes);
    // Notary's verifier has no low-S rule.
    return row.curve.verify(signature, digest, point, { prehash: false, lowS: false });
  }
  // A ready digest cannot be given to node:crypto: undo the RSA operation and check the padding by hand (RFC 8017 §9.1.2).
  const object = createPublicKey({ key: Buffer.from(key.bytes), format: 'der', type: 'spki' });
  return verifyPss(object, digest, hash, signature);
}

function verifyPss(
  key: ReturnType<typeof createPublicKey>,
  digest: Uint8Array,
  hash: 'sha256' | 'sha384' | 'sha512',
  signature: Uint8Array,
): boolean {
  const encoded = publicRaw(key, signature);
  const hashBytes = digest.length;
  const bits = (key.asymmetricKeyDetails?.modulusLength ?? 0) - 1;
  if (encoded[encoded.length - 1] !== 0xbc) return false;
  const maskedLength = encoded.length - hashBytes - 1;
  const h = encoded.subarray(maskedLength, encoded.length - 1);
  const db = Buffer.from(encoded.subarray(0, maskedLength));
  const mask = mgf1(h, maskedLength, hash);
  for (let i = 0; i < maskedLength; i++) db[i] = (db[i] ?? 0) ^ (mask[i] ?? 0);
  db[0] = (db[0] ?? 0) & (0xff >> (8 * encoded.length - bits));
  const separator = db.indexOf(1);
  if (separator < 0 || db.subarray(0, separator).some((byte) => byte !== 0)) return false;
  const salt = db.subarray(separator + 1);
  if (salt.length !== hashBytes) return false;
  return createHash(hash).update(Buffer.alloc(8)).update(digest).update(salt).digest().equals(h);
}

function publicRaw(key: ReturnType<typeof createPublicKey>, signature: Uint8Array): Buffer {
  const { n, e } = key.export({ format: 'jwk' }) as { n: string; e: string };
  const number = (text: string) => BigInt(`0x${Buffer.from(text, 'base64url').toString('hex')}`);
  const modulus = number(n);
  let base = BigInt(`0x${Buffer.from(signature).toString('hex')}`);
  let exponent = number(e);
  let result = 1n;
  for (; exponent > 0n; exponent >>= 1n) {
    if (exponent & 1n) result = (result * base) % modulus;
    base = (base * base) % modulus;
  }
  return Buffer.from(result.toString(16).padStart(signature.length * 2, '0'), 'hex');
}

function mgf1(seed: Uint8Array, length: number, hash: string): Buffer {
  const parts: Buffer[] = [];
  for (let counter = 0; Buffer.concat(parts).length < length; counter++) {
    const block = Buffer.alloc(4);
    block.writeUInt32BE(counter);
    parts.push(createHash(hash).update(seed).update(block).digest());
  }
  return Buffer.concat(parts).subarray(0, length);
}

/** RSASSA-PSS with SHA-256 over a message, by node:crypto. */
export function verifyPssMessage(key: PublicKey, message: Uint8Array, signature: Uint8Array): boolean {
  const object = createPublicKey({ key: Buffer.from(key.bytes), format: 'der', type: 'spki' });
  return verify(
    'sha256',
    message,
    { key: object, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 },
    signature,
  );
}
