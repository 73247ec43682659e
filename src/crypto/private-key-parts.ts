/** The numbers of a software private key, for homes that want them one by one (PKCS#11 C_CreateObject). */
import type { KeyObject } from 'node:crypto';
import { SignetError } from '../errors.ts';
import { DerReader } from './der.ts';
import type { NamedCurve } from './named-curves.ts';
import { curveOf, useScalar } from './private-key-info.ts';

/** Big-endian magnitudes. `parts` are copies that the caller zeroes. */
export type PrivateKeyParts =
  | { readonly kind: 'ec'; readonly curve: NamedCurve; readonly parts: readonly [scalar: Buffer] }
  | { readonly kind: 'ed25519'; readonly parts: readonly [seed: Buffer] }
  /** d, p, q, d mod p−1, d mod q−1, q⁻¹ mod p (RFC 8017 appendix A.1.2). */
  | { readonly kind: 'rsa'; readonly parts: readonly Buffer[] };

/** PrivateKeyInfo of Ed25519 as OpenSSL writes it: the seed is its end (RFC 8410 §7). */
const ED25519_SEED_BYTES = 32;

/** @throws {SignetError} UNSUPPORTED for other types of keys */
export function privateKeyParts(key: KeyObject): PrivateKeyParts {
  switch (key.asymmetricKeyType) {
    case 'ec':
      return { kind: 'ec', curve: curveOf(key), parts: [useScalar(key, (scalar) => copy(scalar))] };
    case 'ed25519': {
      const der = key.export({ format: 'der', type: 'pkcs8' });
      const seed = copy(der.subarray(der.length - ED25519_SEED_BYTES));
      der.fill(0);
      return { kind: 'ed25519', parts: [seed] };
    }
    case 'rsa':
      return { kind: 'rsa', parts: rsaParts(key) };
    default:
      throw new SignetError('UNSUPPORTED', `private keys of type ${key.asymmetricKeyType} are not supported`);
  }
}

function rsaParts(key: KeyObject): Buffer[] {
  const der = key.export({ format: 'der', type: 'pkcs1' });
  try {
    const reader = new DerReader(der, { what: 'RSA private key', code: 'INVALID_ARGUMENT' }).readSequence(
      'RSAPrivateKey',
    );
    for (const name of ['version', 'modulus', 'publicExponent']) reader.readUnsigned(name);
    return ['privateExponent', 'prime1', 'prime2', 'exponent1', 'exponent2', 'coefficient'].map((name) =>
      copy(reader.readUnsigned(name)),
    );
  } finally {
    der.fill(0);
  }
}

/** Outside Buffer's shared pool, so that zeroing reaches all of it. */
function copy(bytes: Uint8Array): Buffer {
  return Buffer.alloc(bytes.byteLength, bytes);
}
