/** Private keys out of files by any program: one entry for every kind that Signet imports. */
import { SignetError } from '../errors.ts';
import { type Certificate, isIssuedBy, parseCertificate } from './certificate.ts';
import { fromPrivateJwk, isPrivateJwk } from './jwk.ts';
import { readJwkFile } from './key-file-jwk.ts';
import { type DerKind, detectFile } from './key-file-kind.ts';
import { readKeyBlocks } from './key-file-pem.ts';
import { isKeyId } from './key-id.ts';
import { isPrivateKeyType, keyPemOf, openKeyPem } from './key-pem.ts';
import type { PemBlock } from './pem.ts';
import { openPkcs12 } from './pkcs12.ts';
import { PrivateKey } from './private-key.ts';
import { toSpki } from './public-key.ts';
import type { Secret } from './secret.ts';

/** `bundle`: several PEM blocks, or one with a header `path`, as `notary key export` writes. */
export type KeyFileKind = 'pem' | 'bundle' | 'der' | 'pkcs12' | 'jwk' | 'jwk-set';

/** What the file says about a key; texts are '' where it says nothing, and are not checked. */
export interface KeyFileEntry {
  readonly role: string;
  readonly gun: string;
  /** The last part of the header `path`: by rule the key ID. */
  readonly path: string;
  /** The friendly name of PKCS#12, the `kid` of a JWK. */
  readonly label: string;
  readonly sealed: boolean;
}

export interface ImportedKey extends KeyFileEntry {
  /** The caller disposes of it; `toPkcs8()` is what `KeyImporter` takes. */
  readonly key: PrivateKey;
  /** Certificates of this key in the file, its own first, then its issuers. Not verified. */
  readonly certificates: readonly Certificate[];
}

export interface KeyFile {
  readonly kind: KeyFileKind;
  /** At least one. */
  readonly keys: readonly ImportedKey[];
}

/** What a passphrase is wanted for: the whole file for PKCS#12, else one of its keys. */
export interface PassphraseQuestion extends Pick<KeyFileEntry, 'role' | 'gun' | 'path'> {
  readonly kind: KeyFileKind;
  /** 1, and more after a wrong answer. */
  readonly attempt: number;
}

/** @returns Undefined to give up. The asker keeps owning the secret. */
export type PassphraseSource = (question: PassphraseQuestion) => Promise<Secret | undefined>;

/** As often as `notary` asks. */
const MAX_ATTEMPTS = 4;

const PEM_TYPE_OF = {
  pkcs8: 'PRIVATE KEY',
  'sealed-pkcs8': 'ENCRYPTED PRIVATE KEY',
  sec1: 'EC PRIVATE KEY',
  pkcs1: 'RSA PRIVATE KEY',
} as const satisfies Partial<Record<DerKind, string>>;

/**
 * Reads all private keys of a file; its kind is recognised by the content. If one cannot be read, none is returned.
 *
 * @param bytes Neither kept nor changed; the caller zeroes them.
 * @param passphrase Asked only for what is sealed; a wrong answer is asked for again.
 * @throws {SignetError} PASSPHRASE_REQUIRED, PASSPHRASE_INCORRECT; INVALID_ARGUMENT for a malformed file or one without
 *   private keys; UNSUPPORTED for keys or formats that are not read, with what to do in the hint
 */
export async function readPrivateKeys(bytes: Uint8Array, passphrase?: PassphraseSource): Promise<KeyFile> {
  const file = detectFile(bytes);
  const asker = new Asker(passphrase ?? (async () => undefined));
  switch (file.kind) {
    case 'pem':
      return readPem(file.text, asker);
    case 'der': {
      const type = pemTypeOf(file.structure);
      return readBlocks('der', [{ type, headers: new Map(), bytes: Buffer.from(file.der) }], [], asker);
    }
    case 'json':
      return readJwks(file.text);
    case 'pkcs12':
      return readPkcs12(file.file, asker);
  }
}

function pemTypeOf(structure: DerKind): string {
  if (Object.hasOwn(PEM_TYPE_OF, structure)) return PEM_TYPE_OF[structure as keyof typeof PEM_TYPE_OF];
  throw noPrivateKey(structure === 'certificate' ? 'a certificate' : 'a public key');
}

function noPrivateKey(what: string): SignetError {
  return new SignetError('INVALID_ARGUMENT', `the file holds ${what}, and no private key`, {
    hint: 'give the file with the private key; one that was made on a token cannot leave it',
  });
}

async function readPem(text: Uint8Array, asker: Asker): Promise<KeyFile> {
  const blocks = readKeyBlocks(text);
  const privateKeys = blocks.filter(({ type }) => isPrivateKeyType(type));
  const certificates = blocks.filter(({ type }) => type === 'CERTIFICATE');
  if (privateKeys.length === 0) {
    if (certificates.length > 0) throw noPrivateKey('a certificate');
    throw noPrivateKey(blocks.length > 0 ? 'a public key' : 'curve parameters');
  }
  const isBundle = privateKeys.length > 1 || privateKeys.some(({ headers }) => headers.has('path'));
  return readBlocks(isBundle ? 'bundle' : 'pem', privateKeys, certificates, asker);
}

/** Zeroes the blocks of private keys. */
async function readBlocks(
  kind: KeyFileKind,
  blocks: readonly PemBlock[],
  certificateBlocks: readonly PemBlock[],
  asker: Asker,
): Promise<KeyFile> {
  const keys: ImportedKey[] = [];
  try {
    const certificates = certificateBlocks.map(({ bytes }) => parseCertificate(bytes));
    for (const [index, block] of blocks.entries()) {
      const where = blocks.length > 1 ? ` (key ${index + 1} of ${blocks.length})` : '';
      const pem = keyPemOf(block);
      const entry = { ...ownerOf(block), label: '', sealed: pem.sealed };
      const open = (secret: Secret | undefined) => inFile(openKeyPem(pem, secret), where);
      const key = pem.sealed ? await asker.open({ ...entry, kind }, open) : await open(undefined);
      keys.push({ ...entry, key, certificates: certificatesOf(key, certificates) });
      if (isKeyId(entry.path) && entry.path !== key.keyId) {
        throw new SignetError('INVALID_ARGUMENT', `the key named ${entry.path} has the ID ${key.keyId}${where}`);
      }
    }
    return { kind, keys };
  } catch (error) {
    for (const { key } of keys) key.dispose();
    throw error;
  } finally {
    for (const block of blocks) block.bytes.fill(0);
  }
}

/** Stored keys that are damaged are INTEGRITY; the same in a file to be imported is bad input. */
async function inFile<T>(opened: Promise<T>, where: string): Promise<T> {
  try {
    return await opened;
  } catch (error) {
    if (!(error instanceof SignetError)) throw error;
    const code = error.code === 'INTEGRITY' ? 'INVALID_ARGUMENT' : error.code;
    throw new SignetError(code, `${error.message}${where}`, {
      cause: error,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    });
  }
}

const LEGACY_GUN = /^tuf_keys\/(.+)\/[^/]*$/;
const LEGACY_ROLE = /^[0-9a-f]{64}_(.+)$/;

/** Headers as `notary key import` reads them, with the paths of Notary before 0.4, which held GUN and role. */
function ownerOf({ headers }: PemBlock): Pick<KeyFileEntry, 'role' | 'gun' | 'path'> {
  const path = headers.get('path') ?? '';
  const name = path.slice(path.lastIndexOf('/') + 1);
  const legacyRole = LEGACY_ROLE.exec(name)?.[1];
  return {
    role: headers.get('role') ?? legacyRole ?? '',
    gun: headers.get('gun') ?? LEGACY_GUN.exec(path)?.[1] ?? '',
    path: legacyRole === undefined ? name : name.slice(0, 64),
  };
}

function readJwks(text: Uint8Array): KeyFile {
  const { kind, keys: members } = readJwkFile(text);
  const privateKeys = members.filter((jwk) => isPrivateJwk(jwk) || jwk['kty'] === 'oct');
  if (privateKeys.length === 0) throw noPrivateKey('a public key');
  const keys: ImportedKey[] = [];
  try {
    for (const jwk of privateKeys) {
      const label = typeof jwk['kid'] === 'string' ? jwk['kid'] : '';
      keys.push({ ...UNNAMED, label, sealed: false, key: fromPrivateJwk(jwk), certificates: [] });
    }
    return { kind, keys };
  } catch (error) {
    for (const { key } of keys) key.dispose();
    throw error;
  }
}

const UNNAMED = { role: '', gun: '', path: '' } as const;

async function readPkcs12(file: Uint8Array, asker: Asker): Promise<KeyFile> {
  const open = (secret: Secret | undefined) => openPkcs12(file, secret?.bytes());
  let sealed = false;
  const contents = await open(undefined).catch((error: unknown) => {
    if (!(error instanceof SignetError) || error.code !== 'PASSPHRASE_REQUIRED') throw error;
    sealed = true;
    return asker.open({ ...UNNAMED, kind: 'pkcs12' }, open);
  });
  const keys: ImportedKey[] = [];
  try {
    if (contents.keys.length === 0) throw noPrivateKey('certificates at most');
    for (const { pkcs8, label } of contents.keys) {
      const key = PrivateKey.fromPkcs8(pkcs8);
      keys.push({ ...UNNAMED, label, sealed, key, certificates: certificatesOf(key, contents.certificates) });
    }
    return { kind: 'pkcs12', keys };
  } catch (error) {
    for (const { key } of keys) key.dispose();
    throw error;
  } finally {
    for (const { pkcs8 } of contents.keys) pkcs8.fill(0);
  }
}

/** Each certificate once at most. */
function certificatesOf(key: PrivateKey, all: readonly Certificate[]): readonly Certificate[] {
  const spki = toSpki(key.publicKey);
  const chain: Certificate[] = [];
  let next = all.find(({ subjectPublicKeyInfo }) => spki.equals(subjectPublicKeyInfo));
  while (next !== undefined) {
    const last = next;
    chain.push(last);
    next = all.find((issuer) => !chain.includes(issuer) && isIssuedBy(last, issuer));
  }
  return chain;
}

/** Asks until the answer fits, the source gives up or it was wrong too often. */
class Asker {
  readonly #source: PassphraseSource;

  constructor(source: PassphraseSource) {
    this.#source = source;
  }

  async open<T>(
    question: Omit<PassphraseQuestion, 'attempt'>,
    open: (secret: Secret | undefined) => Promise<T>,
  ): Promise<T> {
    const { kind, role, gun, path } = question;
    let problem: unknown;
    for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
      const secret = await this.#source({ kind, role, gun, path, attempt });
      if (secret === undefined && problem !== undefined) break;
      try {
        return await open(secret);
      } catch (error) {
        if (!(error instanceof SignetError) || error.code !== 'PASSPHRASE_INCORRECT') throw error;
        problem = error;
      }
    }
    throw problem;
  }
}
