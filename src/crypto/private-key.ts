/** A software private key: made, read and written in every encoding that Notary knows, and used for signing. */
import { constants, generateKeyPair, type KeyObject, type SignKeyObjectInput, sign } from 'node:crypto';
import { promisify } from 'node:util';
import { SignetError } from '../errors.ts';
import { algorithmRow, DIGEST_BYTES, type KeyAlgorithm, type SignatureHash } from './algorithms.ts';
import { type KeyId, keyIdOf } from './key-id.ts';
import { decodeNotaryEd25519, decodePkcs1, decodePkcs8, decodeSec1, encodePkcs8 } from './private-key-info.ts';
import { type PublicKey, publicKeyOf } from './public-key.ts';
import { signDigest } from './sign-digest.ts';
import type { SignInput } from './sign-input.ts';

const generateAsync = promisify(generateKeyPair);

/** DER, because exporting a fresh key as JWK can deadlock Node 20. */
const publicKeyEncoding = { format: 'der', type: 'spki' } as const;
const privateKeyEncoding = { format: 'der', type: 'pkcs8' } as const;

/** Sizes of new keys. Notary's ecdsa is P-256; 3072 bits of RSA match its strength (SP 800-57 part 1, table 2). */
export interface KeySize {
  /** Undefined: P-256. */
  readonly curve?: 'P-256' | 'P-384' | undefined;
  /** Undefined: 3072. */
  readonly modulusBits?: 2048 | 3072 | 4096 | undefined;
}

function generateDer(
  algorithm: KeyAlgorithm,
  { curve = 'P-256', modulusBits = 3072 }: KeySize,
): Promise<{ readonly privateKey: Buffer }> {
  switch (algorithm) {
    case 'ecdsa':
      return generateAsync('ec', { namedCurve: curve, publicKeyEncoding, privateKeyEncoding });
    case 'ed25519':
      return generateAsync('ed25519', { publicKeyEncoding, privateKeyEncoding });
    case 'rsa':
      return generateAsync('rsa', { modulusLength: modulusBits, publicKeyEncoding, privateKeyEncoding });
  }
}

/**
 * The private half lives in a node:crypto `KeyObject`, which never prints it and whose memory OpenSSL clears when the
 * object is collected; `dispose()` only lets go of it.
 */
export class PrivateKey implements Disposable {
  readonly algorithm: KeyAlgorithm;
  readonly publicKey: PublicKey;
  readonly keyId: KeyId;
  readonly #hash: SignatureHash | null;
  /** Signing takes microseconds: a thread would cost more than it saves. */
  readonly #isQuick: boolean;
  /** Made once, so that a signature allocates no options. */
  #parameters: SignKeyObjectInput | undefined;

  private constructor(key: KeyObject) {
    this.publicKey = publicKeyOf(key);
    this.algorithm = this.publicKey.algorithm;
    this.keyId = keyIdOf(this.publicKey);
    this.#hash = algorithmRow(this.algorithm).messageHash;
    this.#isQuick = this.algorithm === 'ed25519' || key.asymmetricKeyDetails?.namedCurve === 'prime256v1';
    this.#parameters = signParameters(this.algorithm, key);
  }

  /** A new key, made on the thread pool. */
  static async generate(algorithm: KeyAlgorithm, size: KeySize = {}): Promise<PrivateKey> {
    const { privateKey } = await generateDer(algorithm, size);
    try {
      return PrivateKey.fromPkcs8(privateKey);
    } finally {
      privateKey.fill(0);
    }
  }

  /**
   * Reads PrivateKeyInfo (RFC 5208, RFC 5958, RFC 8410) or Notary's dialect of it.
   *
   * @param der Neither kept nor changed; the caller zeroes it.
   * @throws {SignetError} INVALID_ARGUMENT if it is malformed, has trailing bytes or a public half of another key;
   *   UNSUPPORTED for other algorithms, curves or RSA sizes
   */
  static fromPkcs8(der: Uint8Array): PrivateKey {
    return new PrivateKey(decodePkcs8(der));
  }

  /** Reads ECPrivateKey (RFC 5915) that names its curve; otherwise as `fromPkcs8`. */
  static fromSec1(der: Uint8Array): PrivateKey {
    return new PrivateKey(decodeSec1(der));
  }

  /** Reads RSAPrivateKey (RFC 8017 appendix A.1.2); otherwise as `fromPkcs8`. */
  static fromPkcs1(der: Uint8Array): PrivateKey {
    return new PrivateKey(decodePkcs1(der));
  }

  /** Reads Notary's 96 bytes public ‖ seed ‖ public; otherwise as `fromPkcs8`. */
  static fromNotaryEd25519(bytes: Uint8Array): PrivateKey {
    return new PrivateKey(decodeNotaryEd25519(bytes));
  }

  /**
   * Signs.
   *
   * @param input Neither kept nor changed. A message of any length, hashed with SHA-256 whatever the curve.
   * @returns ecdsa: r‖s, each half padded to the curve's size; ed25519: 64 bytes (RFC 8032 §5.1.6); rsa: RSASSA-PSS,
   *   MGF1 with the same hash, salt as long as the hash (RFC 8017 §8.1).
   * @throws {SignetError} INVALID_ARGUMENT for a digest that the key cannot sign, INTERNAL after disposal
   */
  sign(input: SignInput): Promise<Uint8Array> {
    const parameters = this.#parameters;
    if (parameters === undefined) return Promise.reject(disposed());
    if (!('message' in input)) return signDigest(parameters.key, input.digest, input.hash);
    if (!this.#isQuick) return signOnThread(this.#hash, input.message, parameters);
    try {
      return Promise.resolve(sign(this.#hash, input.message, parameters));
    } catch (cause) {
      return Promise.reject(failed(cause));
    }
  }

  /**
   * The key in Notary's dialect of PrivateKeyInfo.
   *
   * @returns A fresh buffer that the caller zeroes.
   * @throws {SignetError} INTERNAL after disposal
   */
  toPkcs8(): Buffer {
    if (this.#parameters === undefined) throw disposed();
    return encodePkcs8(this.#parameters.key);
  }

  /** Lets go of the private half. Signatures under way end well; later ones are refused. */
  dispose(): void {
    this.#parameters = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function signParameters(algorithm: KeyAlgorithm, key: KeyObject): SignKeyObjectInput {
  switch (algorithm) {
    case 'ecdsa':
      return { key, dsaEncoding: 'ieee-p1363' };
    case 'ed25519':
      return { key };
    case 'rsa':
      return { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: DIGEST_BYTES.sha256 };
  }
}

function signOnThread(
  hash: SignatureHash | null,
  message: Uint8Array,
  parameters: SignKeyObjectInput,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    sign(hash, message, parameters, (error, signature) => {
      if (error === null) resolve(signature);
      else reject(failed(error));
    });
  });
}

function disposed(): SignetError {
  return new SignetError('INTERNAL', 'private key used after it was disposed of');
}

function failed(cause: unknown): SignetError {
  return new SignetError('INTERNAL', 'signing failed', { cause });
}
