/**
 * JSON Web Keys (RFC 7517, RFC 7518 §6, RFC 8037 §2), private and public.
 *
 * The text of a private JWK is a string, and so are its members: they cannot be zeroed.
 */
import { hash } from 'node:crypto';
import { SignetError } from '../errors.ts';
import {
  contextTag,
  derBitString,
  derOctetString,
  derOid,
  derSequence,
  derUnsigned,
  derUnsignedBytes,
  encodeDer,
} from './der.ts';
import { curveByName, type NamedCurve } from './named-curves.ts';
import { PrivateKey } from './private-key.ts';
import { decodePkcs8 } from './private-key-info.ts';
import { privateKeyParts } from './private-key-parts.ts';
import { fromSpki, type PublicKey, publicKeyOf } from './public-key.ts';
import { publicKeyParts } from './public-key-parts.ts';

/** A public key; members in the order of RFC 7638 §3.2, so that the thumbprint is the hash of their JSON. */
export type PublicJwk = (
  | { readonly crv: string; readonly kty: 'EC'; readonly x: string; readonly y: string }
  | { readonly crv: 'Ed25519'; readonly kty: 'OKP'; readonly x: string }
  | { readonly e: string; readonly kty: 'RSA'; readonly n: string }
) & { readonly use: 'sig'; readonly kid: string };

/** With `d`, and for RSA with the primes and what follows from them. */
export type PrivateJwk = PublicJwk & Readonly<Record<'d' | string, string>>;

/** The members of a parsed JWK, not checked yet. */
export type JwkMembers = Readonly<Record<string, unknown>>;

const base64url = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url');

/**
 * @returns With the RFC 7638 thumbprint (SHA-256) as `kid`, which every JOSE library can compute for itself; Notary's key
 *   ID, which none can, stays out.
 * @throws {SignetError} UNSUPPORTED for P-224, which JOSE does not know; INVALID_ARGUMENT for a malformed key
 */
export function toPublicJwk(key: PublicKey): PublicJwk {
  const members = requiredMembers(key);
  return { ...members, use: 'sig', kid: hash('sha256', JSON.stringify(members), 'base64url') };
}

function requiredMembers(key: PublicKey) {
  const parts = publicKeyParts(key);
  switch (parts.kind) {
    case 'ed25519':
      return { crv: 'Ed25519', kty: 'OKP', x: base64url(parts.bytes) } as const;
    case 'rsa':
      return { e: base64url(parts.exponent), kty: 'RSA', n: base64url(parts.modulus) } as const;
    case 'ec': {
      if (parts.curve.name === 'P-224') throw new SignetError('UNSUPPORTED', 'P-224 keys have no JWK form');
      return { crv: parts.curve.name, kty: 'EC', x: base64url(parts.x), y: base64url(parts.y) } as const;
    }
  }
}

/**
 * @param pkcs8 DER PrivateKeyInfo in any dialect; not changed.
 * @throws {SignetError} as `toPublicJwk` and `PrivateKey.fromPkcs8`
 */
export function toPrivateJwk(pkcs8: Uint8Array): PrivateJwk {
  const key = decodePkcs8(pkcs8);
  const jwk = toPublicJwk(publicKeyOf(key));
  const { parts } = privateKeyParts(key);
  const members = Object.fromEntries(RSA_PRIVATE.slice(0, parts.length).map((name, index) => [name, parts[index]]));
  try {
    return { ...jwk, ...mapValues(members, base64url) };
  } finally {
    for (const part of parts) part.fill(0);
  }
}

/** In the order of RSAPrivateKey (RFC 8017 appendix A.1.2); the other types have the first only. */
const RSA_PRIVATE = ['d', 'p', 'q', 'dp', 'dq', 'qi'] as const;

function mapValues(members: Readonly<Record<string, Uint8Array | undefined>>, map: (value: Uint8Array) => string) {
  return Object.fromEntries(
    Object.entries(members).flatMap(([name, value]) => (value === undefined ? [] : [[name, map(value)]])),
  );
}

/** True for a JWK that has a private half. */
export function isPrivateJwk(jwk: JwkMembers): boolean {
  return jwk['d'] !== undefined;
}

/**
 * Reads a private JWK and checks that its halves belong together.
 *
 * @throws {SignetError} INVALID_ARGUMENT if it is malformed; UNSUPPORTED for other types, curves and uses
 */
export function fromPrivateJwk(jwk: JwkMembers): PrivateKey {
  const reader = new JwkReader(jwk);
  switch (reader.type()) {
    case 'EC': {
      const { curve, point } = reader.point();
      const scalar = reader.octets('d', curve.scalarBytes);
      const parameters = { tag: contextTag(0, 'constructed'), content: [derOid(curve.oid)] };
      const publicKey = { tag: contextTag(1, 'constructed'), content: [derBitString(point)] };
      const sec1 = encodeDer(derSequence(derUnsigned(1), derOctetString(scalar), parameters, publicKey));
      return useAndZero(sec1, PrivateKey.fromSec1);
    }
    case 'OKP': {
      const x = reader.ed25519();
      return useAndZero(Buffer.concat([x, reader.octets('d', 32), x]), PrivateKey.fromNotaryEd25519);
    }
    case 'RSA': {
      if (jwk['oth'] !== undefined) throw unsupported('RSA keys with more than two primes');
      if (jwk['p'] === undefined) throw unsupported('RSA keys without their primes');
      const numbers = (['n', 'e', ...RSA_PRIVATE] as const).map((name) => derUnsignedBytes(reader.octets(name)));
      return useAndZero(encodeDer(derSequence(derUnsigned(0), ...numbers)), PrivateKey.fromPkcs1);
    }
  }
}

/** Reads the public half of a JWK; a private one is not looked at. @throws {SignetError} as `fromPrivateJwk` */
export function fromPublicJwk(jwk: JwkMembers): PublicKey {
  const reader = new JwkReader(jwk);
  switch (reader.type()) {
    case 'EC': {
      const { curve, point } = reader.point();
      const algorithm = derSequence(derOid('1.2.840.10045.2.1'), derOid(curve.oid));
      return fromSpki(encodeDer(derSequence(algorithm, derBitString(point))));
    }
    case 'OKP':
      return { algorithm: 'ed25519', bytes: reader.ed25519() };
    case 'RSA': {
      const key = derSequence(derUnsignedBytes(reader.octets('n')), derUnsignedBytes(reader.octets('e')));
      const algorithm = derSequence(derOid('1.2.840.113549.1.1.1'), { tag: 0x05, content: Buffer.of() });
      return fromSpki(encodeDer(derSequence(algorithm, derBitString(encodeDer(key)))));
    }
  }
}

function useAndZero<T>(bytes: Buffer, use: (bytes: Buffer) => T): T {
  try {
    return use(bytes);
  } finally {
    bytes.fill(0);
  }
}

function unsupported(what: string): SignetError {
  return new SignetError('UNSUPPORTED', `JWK: ${what} are not supported`);
}

/** Reads members strictly: base64url without padding (RFC 7515 §2), in the one form that it has. */
class JwkReader {
  readonly #jwk: JwkMembers;

  constructor(jwk: JwkMembers) {
    this.#jwk = jwk;
  }

  type(): 'EC' | 'OKP' | 'RSA' {
    const type = this.#text('kty');
    if (this.#jwk['use'] !== undefined && this.#jwk['use'] !== 'sig')
      throw unsupported('keys that are not for signing');
    if (type !== 'EC' && type !== 'OKP' && type !== 'RSA') throw unsupported(`keys of type "${quote(type)}"`);
    return type;
  }

  /** RFC 7518 §6.2.1: coordinates of the curve's full size. */
  point(): { readonly curve: NamedCurve; readonly point: Buffer } {
    const name = this.#text('crv');
    const curve = curveByName(name);
    if (curve === undefined || curve.name === 'P-224') throw unsupported(`keys on the curve "${quote(name)}"`);
    const [x, y] = ['x', 'y'].map((member) => this.octets(member, curve.scalarBytes));
    return { curve, point: Buffer.concat([Buffer.of(4), x ?? Buffer.of(), y ?? Buffer.of()]) };
  }

  ed25519(): Buffer {
    const name = this.#text('crv');
    if (name !== 'Ed25519') throw unsupported(`keys on the curve "${quote(name)}"`);
    return this.octets('x', 32);
  }

  octets(member: string, length?: number): Buffer {
    const text = this.#text(member);
    const bytes = Buffer.from(text, 'base64url');
    if (bytes.toString('base64url') !== text) throw malformed(`"${member}" is not base64url`);
    if (length !== undefined && bytes.length !== length) throw malformed(`"${member}" has not ${length} bytes`);
    return bytes;
  }

  #text(member: string): string {
    const value = this.#jwk[member];
    if (typeof value !== 'string' || value === '') throw malformed(`"${member}" is missing or not a text`);
    return value;
  }
}

function malformed(problem: string): SignetError {
  return new SignetError('INVALID_ARGUMENT', `malformed JWK: ${problem}`);
}

/** Only what looks like a name is repeated: it could be a misplaced secret. */
function quote(text: string): string {
  return /^[\w-]{1,16}$/.test(text) ? text : '…';
}
