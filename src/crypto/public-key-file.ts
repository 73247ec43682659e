/** Public keys of signers out of files: keys, and certificates that an authority issued. */
import { createPublicKey } from 'node:crypto';
import { SignetError } from '../errors.ts';
import { type Certificate, certificatePublicKey, parseCertificate } from './certificate.ts';
import { fromPublicJwk, isPrivateJwk } from './jwk.ts';
import { readJwkFile } from './key-file-jwk.ts';
import { detectFile } from './key-file-kind.ts';
import { readKeyBlocks } from './key-file-pem.ts';
import { isPrivateKeyType } from './key-pem.ts';
import { fromSpki, type PublicKey, publicKeyOf, toKeyObject } from './public-key.ts';

export interface PublicKeyEntry {
  readonly publicKey: PublicKey;
  /** The header `role` of PEM, as `docker trust key generate` writes it; '' without. */
  readonly role: string;
  /** The signer's certificate and those that follow it in the file, where it is one. Its chain is not verified. */
  readonly certificates: readonly Certificate[];
  /** For people; the key can be used. */
  readonly warnings: readonly string[];
}

const RSA_MIN_BITS = 2048;
const MS_PER_DAY = 24 * 60 * 60 * 1000;
/** Notary warns six months before, and takes certificates from one day before they are valid. */
const NEAR_EXPIRY_DAYS = 183;
const LEEWAY_DAYS = 1;

/**
 * Reads PEM, DER and JWK files. Consecutive certificates are one signer's chain, the signer's own first; for these hold
 * the rules by which Notary takes a certificate as a delegation key.
 *
 * @param at The time at which certificates must be valid.
 * @throws {SignetError} INVALID_ARGUMENT if a key is malformed, a certificate is not acceptable, the file holds a
 *   private key or none at all; UNSUPPORTED for other kinds of keys or files
 */
export function readPublicKeys(bytes: Uint8Array, at: Date): readonly PublicKeyEntry[] {
  const file = detectFile(bytes);
  switch (file.kind) {
    case 'pem':
      return readPem(file.text, at);
    case 'json':
      return readJwkFile(file.text).keys.map((jwk) => {
        if (isPrivateJwk(jwk) || jwk['k'] !== undefined) throw isPrivate();
        return ofKey(fromPublicJwk(jwk));
      });
    case 'pkcs12':
      throw isPrivate();
    case 'der':
      switch (file.structure) {
        case 'spki':
          return [ofKey(fromSpki(file.der))];
        case 'pkcs1-public':
          return [ofKey(fromPkcs1(file.der))];
        case 'certificate':
          return [ofCertificates([parseCertificate(file.der)], at)];
        default:
          throw isPrivate();
      }
  }
}

function isPrivate(): SignetError {
  return new SignetError('INVALID_ARGUMENT', 'the file holds a private key where a public one belongs', {
    hint: 'keep it to yourself and give the public key or certificate',
  });
}

function readPem(text: Uint8Array, at: Date): readonly PublicKeyEntry[] {
  const blocks = readKeyBlocks(text);
  const privateKeys = blocks.filter(({ type }) => isPrivateKeyType(type));
  for (const { bytes } of privateKeys) bytes.fill(0);
  if (privateKeys.length > 0) throw isPrivate();
  const entries: PublicKeyEntry[] = [];
  let chain: Certificate[] = [];
  const endChain = () => {
    if (chain.length > 0) entries.push(ofCertificates(chain, at));
    chain = [];
  };
  for (const { type, headers, bytes } of blocks) {
    if (type === 'CERTIFICATE') {
      chain.push(parseCertificate(bytes));
      continue;
    }
    endChain();
    const role = headers.get('role') ?? '';
    if (type === 'PUBLIC KEY') entries.push({ ...ofKey(fromSpki(bytes)), role });
    if (type === 'RSA PUBLIC KEY') entries.push({ ...ofKey(fromPkcs1(bytes)), role });
  }
  endChain();
  if (entries.length === 0) throw new SignetError('INVALID_ARGUMENT', 'the file holds no public key');
  return entries;
}

function ofKey(publicKey: PublicKey): PublicKeyEntry {
  toKeyObject(publicKey);
  return { publicKey, role: '', certificates: [], warnings: [] };
}

/** RSAPublicKey (RFC 8017 appendix A.1.1). */
function fromPkcs1(der: Uint8Array): PublicKey {
  try {
    return publicKeyOf(createPublicKey({ key: Buffer.from(der), format: 'der', type: 'pkcs1' }));
  } catch (cause) {
    throw new SignetError('INVALID_ARGUMENT', 'malformed RSA public key', { cause });
  }
}

/** The checks and limits of Notary's ValidateCertificate. */
function ofCertificates(chain: readonly Certificate[], at: Date): PublicKeyEntry {
  const [leaf] = chain;
  if (leaf === undefined) throw new TypeError('no certificate');
  const name = leaf.subject.text;
  const publicKey = certificatePublicKey(leaf);
  if (publicKey.algorithm === 'ed25519') {
    throw new SignetError('UNSUPPORTED', `certificate ${name} has an ed25519 key, which Notary does not read`);
  }
  if (leaf.signatureAlgorithm === undefined) {
    throw refused(name, `is signed with ${leaf.signatureAlgorithmOid}, which is not accepted`);
  }
  const bits = toKeyObject(publicKey).asymmetricKeyDetails?.modulusLength ?? RSA_MIN_BITS;
  if (bits < RSA_MIN_BITS) throw refused(name, `has an RSA key of ${bits} bits; ${RSA_MIN_BITS} are the least`);
  if (leaf.notBefore.getTime() > leaf.notAfter.getTime()) throw refused(name, 'expires before it becomes valid');
  if (at.getTime() < leaf.notBefore.getTime() - LEEWAY_DAYS * MS_PER_DAY) {
    throw refused(name, `is valid only from ${leaf.notBefore.toISOString()} on`);
  }
  const leftMs = leaf.notAfter.getTime() - at.getTime();
  if (!(leftMs > 0)) throw refused(name, `expired at ${leaf.notAfter.toISOString()}`);
  const warnings =
    leftMs < NEAR_EXPIRY_DAYS * MS_PER_DAY ? [`certificate ${name} expires at ${leaf.notAfter.toISOString()}`] : [];
  return { publicKey, role: '', certificates: chain, warnings };
}

function refused(name: string, problem: string): SignetError {
  return new SignetError('INVALID_ARGUMENT', `certificate ${name} ${problem}`);
}
