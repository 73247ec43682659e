/**
 * The table of key algorithms. All that is known about one lives in its row; nothing below the edges switches on names.
 */
import { SignetError } from '../errors.ts';

/** Key types of TUF metadata, as Notary spells them. */
export type KeyAlgorithm = 'ecdsa' | 'ed25519' | 'rsa';

/** Hashes a caller may have applied itself (`SignInput.digest`). */
export type SignatureHash = 'sha256' | 'sha384' | 'sha512';

interface AlgorithmRow {
  readonly name: KeyAlgorithm;
  /** `method` in Notary's metadata and `Signature.algorithm` in its RPC. */
  readonly signatureMethod: 'ecdsa' | 'eddsa' | 'rsapss';
  /** The hash applied to a message: SHA-256 whatever the curve; null where the scheme signs the message itself. */
  readonly messageHash: SignatureHash | null;
  /** Whether notary-signer's CreateKey makes such keys. */
  readonly creatable: boolean;
}

const TABLE = {
  ecdsa: { name: 'ecdsa', signatureMethod: 'ecdsa', messageHash: 'sha256', creatable: true },
  ed25519: { name: 'ed25519', signatureMethod: 'eddsa', messageHash: null, creatable: true },
  rsa: { name: 'rsa', signatureMethod: 'rsapss', messageHash: 'sha256', creatable: false },
} as const satisfies Record<KeyAlgorithm, AlgorithmRow>;

export function algorithmRow(name: KeyAlgorithm): AlgorithmRow {
  return TABLE[name];
}

/** @returns The name if it is a key algorithm. @throws {SignetError} UNSUPPORTED */
export function parseKeyAlgorithm(text: string): KeyAlgorithm {
  if (Object.hasOwn(TABLE, text)) return text as KeyAlgorithm;
  throw new SignetError('UNSUPPORTED', `unknown key algorithm "${text.slice(0, 64)}"`, {
    hint: `use one of ${Object.keys(TABLE).join(', ')}`,
  });
}

/** Digest sizes in bytes (FIPS 180-4). */
export const DIGEST_BYTES: Readonly<Record<SignatureHash, number>> = { sha256: 32, sha384: 48, sha512: 64 };
