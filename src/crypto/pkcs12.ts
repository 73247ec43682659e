/** PKCS#12 files (.p12, .pfx; RFC 7292): private keys and certificates under one passphrase. Read, never written. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { SignetError } from '../errors.ts';
import { berToDer } from './ber.ts';
import { type Certificate, parseCertificate } from './certificate.ts';
import { contextTag, DER_TAG, DerReader, type DerSubject } from './der.ts';
import { readSalt } from './pbes2.ts';
import { decryptPkcs12, Pkcs12Password, readPkcs12Encryption, WorkBudget } from './pkcs12-encryption.ts';
import { derivePkcs12Key, PKCS12_KEY_USE, type Pkcs12Hash } from './pkcs12-kdf.ts';

export interface Pkcs12Key {
  /** DER PrivateKeyInfo, not looked into; the caller zeroes it. */
  readonly pkcs8: Buffer;
  /** The friendly name, any text; '' without one. */
  readonly label: string;
}

export interface Pkcs12Contents {
  readonly keys: readonly Pkcs12Key[];
  readonly certificates: readonly Certificate[];
}

const SUBJECT: DerSubject = {
  what: 'PKCS#12 file',
  code: 'INVALID_ARGUMENT',
  conversion: 'convert it with "openssl pkcs12 -in FILE -out keys.pem"',
};

/** RFC 2315, RFC 2985, RFC 7292 appendix D. */
const OID = {
  data: '1.2.840.113549.1.7.1',
  encryptedData: '1.2.840.113549.1.7.6',
  keyBag: '1.2.840.113549.1.12.10.1.1',
  shroudedKeyBag: '1.2.840.113549.1.12.10.1.2',
  certBag: '1.2.840.113549.1.12.10.1.3',
  safeContentsBag: '1.2.840.113549.1.12.10.1.6',
  x509Certificate: '1.2.840.113549.1.9.22.1',
  friendlyName: '1.2.840.113549.1.9.20',
} as const;

const MAC_HASHES: ReadonlyMap<string, Pkcs12Hash> = new Map([
  ['1.3.14.3.2.26', 'sha1'],
  ['2.16.840.1.101.3.4.2.1', 'sha256'],
  ['2.16.840.1.101.3.4.2.2', 'sha384'],
  ['2.16.840.1.101.3.4.2.3', 'sha512'],
]);
const MAC_BYTES: Readonly<Record<Pkcs12Hash, number>> = { sha1: 20, sha256: 32, sha384: 48, sha512: 64 };

const MAX_BAGS = 256;
const MAX_NESTING = 4;
/** Per file and passphrase, all derivations together: ten seconds of a core at most. */
const MAX_WORK = 10_000_000;

/** True if the bytes begin as a PFX does: a sequence with version 3, in BER. */
export function looksLikePkcs12(bytes: Uint8Array): boolean {
  const lengthOctet = bytes[1] ?? 0;
  const version = 2 + (lengthOctet > 0x80 ? lengthOctet & 0x7f : 0);
  return bytes[0] === DER_TAG.SEQUENCE && Buffer.from([2, 1, 3]).equals(bytes.subarray(version, version + 3));
}

/**
 * Opens a file: checks its MAC, decrypts and reads everything in it.
 *
 * @param file Not changed.
 * @param passphrase UTF-8; copied before this returns. Undefined tries what programs write for "none".
 * @throws {SignetError} PASSPHRASE_REQUIRED, PASSPHRASE_INCORRECT; INVALID_ARGUMENT for a malformed file; UNSUPPORTED for
 *   a scheme that is not read, or a file that is sealed with a certificate
 */
export async function openPkcs12(file: Uint8Array, passphrase: Uint8Array | undefined): Promise<Pkcs12Contents> {
  const der = berToDer(file, SUBJECT);
  const passwords =
    passphrase === undefined || passphrase.byteLength === 0
      ? [new Pkcs12Password(Buffer.alloc(0), true), new Pkcs12Password(Buffer.alloc(0), false)]
      : [new Pkcs12Password(passphrase, true)];
  try {
    const { authSafe, mac } = readPfx(der);
    const budget = new WorkBudget(MAX_WORK);
    for (const password of passwords) {
      if (mac !== undefined && !(await isMacRight(mac, authSafe, password, budget))) continue;
      const contents = await new SafeReader(password, budget).open(authSafe);
      if (contents !== undefined) return contents;
    }
  } finally {
    for (const password of passwords) password[Symbol.dispose]();
    der.fill(0);
  }
  throw passphrase === undefined
    ? new SignetError('PASSPHRASE_REQUIRED', 'the PKCS#12 file is sealed under a passphrase')
    : new SignetError('PASSPHRASE_INCORRECT', 'the passphrase does not open the PKCS#12 file');
}

interface Mac {
  readonly hash: Pkcs12Hash;
  readonly digest: Uint8Array;
  readonly salt: Uint8Array;
  readonly iterations: number;
}

/** §4. */
function readPfx(der: Uint8Array): { readonly authSafe: Uint8Array; readonly mac: Mac | undefined } {
  const pfx: DerReader = new DerReader(der, SUBJECT).readSequence('PFX');
  if (pfx.readSmallUnsigned('version') !== 3) pfx.fail('unknown version');
  const contentInfo: DerReader = pfx.readSequence('authSafe');
  const type = contentInfo.readOid('content type');
  if (type !== OID.data) throw pfx.unsupported(`integrity by ${type}`);
  const authSafe = readData(contentInfo);
  const mac = pfx.peekTag() === undefined ? undefined : readMac(pfx.readSequence('macData'));
  pfx.end();
  return { authSafe, mac };
}

/** ContentInfo of type data, behind its type. */
function readData(contentInfo: DerReader): Uint8Array {
  const content = contentInfo.inside(contentInfo.read(contextTag(0, 'constructed'), 'content'));
  contentInfo.end();
  const data = content.read(DER_TAG.OCTET_STRING, 'data');
  content.end();
  return data;
}

function readMac(macData: DerReader): Mac {
  const digestInfo: DerReader = macData.readSequence('mac');
  const algorithm: DerReader = digestInfo.readSequence('digestAlgorithm');
  const oid = algorithm.readOid('digestAlgorithm');
  const hash = MAC_HASHES.get(oid);
  if (hash === undefined) throw macData.unsupported(`MAC ${oid}`);
  const digest = digestInfo.read(DER_TAG.OCTET_STRING, 'digest');
  const salt = readSalt(macData);
  const iterations = macData.peekTag() === undefined ? 1 : macData.readSmallUnsigned('iterations');
  macData.end();
  if (iterations < 1) macData.fail('iterations is zero');
  return { hash, digest, salt, iterations };
}

async function isMacRight(mac: Mac, data: Uint8Array, password: Pkcs12Password, budget: WorkBudget): Promise<boolean> {
  const { hash, digest, salt, iterations } = mac;
  budget.spend(iterations);
  const lengthBytes = MAC_BYTES[hash];
  const key = await derivePkcs12Key(password.bmp, { hash, salt, iterations, use: PKCS12_KEY_USE.mac, lengthBytes });
  try {
    const computed = createHmac(hash, key).update(data).digest();
    return computed.byteLength === digest.byteLength && timingSafeEqual(computed, digest);
  } finally {
    key.fill(0);
  }
}

/** Reads AuthenticatedSafe and the bags inside (§4.1, §4.2). */
class SafeReader {
  readonly #password: Pkcs12Password;
  readonly #budget: WorkBudget;
  readonly #keys: Pkcs12Key[] = [];
  readonly #certificates: Certificate[] = [];
  #bags = 0;
  #isWrongPassphrase = false;

  constructor(password: Pkcs12Password, budget: WorkBudget) {
    this.#password = password;
    this.#budget = budget;
  }

  /** @returns Undefined if the passphrase does not open all of it. */
  async open(authSafe: Uint8Array): Promise<Pkcs12Contents | undefined> {
    let isComplete = false;
    try {
      await this.#readAll(authSafe);
      isComplete = !this.#isWrongPassphrase;
    } finally {
      if (!isComplete) for (const { pkcs8 } of this.#keys) pkcs8.fill(0);
    }
    return isComplete ? { keys: this.#keys, certificates: this.#certificates } : undefined;
  }

  async #readAll(authSafe: Uint8Array): Promise<void> {
    await useDer(authSafe, async (safe) => {
      while (safe.peekTag() !== undefined && !this.#isWrongPassphrase) {
        const contentInfo: DerReader = safe.readSequence('ContentInfo');
        const type = contentInfo.readOid('content type');
        if (type === OID.data) await useDer(readData(contentInfo), (contents) => this.#readBags(contents, 0));
        else if (type === OID.encryptedData) await this.#readEncrypted(contentInfo);
        else throw contentInfo.unsupported(`content of type ${type}`);
      }
    });
  }

  /** EncryptedData (RFC 2315 §13). */
  async #readEncrypted(contentInfo: DerReader): Promise<void> {
    const content = contentInfo.inside(contentInfo.read(contextTag(0, 'constructed'), 'content'));
    const encryptedData: DerReader = content.readSequence('EncryptedData');
    encryptedData.readSmallUnsigned('version');
    const info: DerReader = encryptedData.readSequence('encryptedContentInfo');
    info.readOid('content type');
    const encryption = readPkcs12Encryption(info.readSequence('contentEncryptionAlgorithm'));
    const data = readImplicitOctets(info);
    const plaintext = await decryptPkcs12(encryption, data, this.#password, this.#budget);
    await this.#use(plaintext, (bytes) => useDer(bytes, (contents) => this.#readBags(contents, 0)));
  }

  /** SafeContents. */
  async #readBags(contents: DerReader, depth: number): Promise<void> {
    if (depth > MAX_NESTING) contents.fail('too many nested bags');
    while (contents.peekTag() !== undefined && !this.#isWrongPassphrase) {
      if (++this.#bags > MAX_BAGS) contents.fail(`more than ${MAX_BAGS} bags`);
      const bag: DerReader = contents.readSequence('SafeBag');
      const type = bag.readOid('bag type');
      const value = bag.inside(bag.read(contextTag(0, 'constructed'), 'bag value'));
      const label = readLabel(bag);
      bag.end();
      switch (type) {
        case OID.keyBag:
          this.#addKey(value.readElement('PrivateKeyInfo').encoded, label);
          break;
        case OID.shroudedKeyBag:
          await this.#readShrouded(value.readSequence('EncryptedPrivateKeyInfo'), label);
          break;
        case OID.certBag:
          this.#readCertificate(value.readSequence('CertBag'));
          break;
        case OID.safeContentsBag:
          await this.#readBags(value.readSequence('SafeContents'), depth + 1);
          break;
        // Revocation lists and other secrets are nothing that Signet could use.
      }
    }
  }

  async #readShrouded(info: DerReader, label: string): Promise<void> {
    const encryption = readPkcs12Encryption(info.readSequence('encryptionAlgorithm'));
    const data = info.read(DER_TAG.OCTET_STRING, 'encryptedData');
    info.end();
    const plaintext = await decryptPkcs12(encryption, data, this.#password, this.#budget);
    await this.#use(plaintext, async (bytes) => this.#addKey(bytes, label));
  }

  #readCertificate(bag: DerReader): void {
    if (bag.readOid('certificate type') !== OID.x509Certificate) return;
    const value = bag.inside(bag.read(contextTag(0, 'constructed'), 'certificate'));
    this.#certificates.push(parseCertificate(Buffer.from(value.read(DER_TAG.OCTET_STRING, 'certificate'))));
  }

  #addKey(pkcs8: Uint8Array, label: string): void {
    this.#keys.push({ pkcs8: Buffer.alloc(pkcs8.byteLength, pkcs8), label });
  }

  /** Zeroes `plaintext` afterwards. What is no sequence was decrypted with the wrong key. */
  async #use(plaintext: Buffer | undefined, read: (bytes: Buffer) => Promise<void>): Promise<void> {
    try {
      if (plaintext?.[0] === DER_TAG.SEQUENCE) await read(plaintext);
      else this.#isWrongPassphrase = true;
    } finally {
      plaintext?.fill(0);
    }
  }
}

/** Lends a reader over the elements of the sequence that `ber` is, and zeroes its copy afterwards. */
async function useDer(ber: Uint8Array, read: (contents: DerReader) => Promise<void>): Promise<void> {
  const der = berToDer(ber, SUBJECT);
  try {
    await read(new DerReader(der, SUBJECT).readSequence('safe contents'));
  } finally {
    der.fill(0);
  }
}

/** `[0] IMPLICIT OCTET STRING`, in one piece or several. */
function readImplicitOctets(info: DerReader): Uint8Array {
  const whole = info.readOptional(contextTag(0, 'primitive'), 'encryptedContent');
  if (whole !== undefined) return whole;
  const pieces = info.inside(info.read(contextTag(0, 'constructed'), 'encryptedContent'));
  const found: Uint8Array[] = [];
  while (pieces.peekTag() !== undefined) found.push(pieces.read(DER_TAG.OCTET_STRING, 'encryptedContent'));
  return Buffer.concat(found);
}

/** The friendly name among the attributes of a bag. */
function readLabel(bag: DerReader): string {
  const attributes = bag.readOptional(DER_TAG.SET, 'bagAttributes');
  if (attributes === undefined) return '';
  const reader = bag.inside(attributes);
  let label = '';
  while (reader.peekTag() !== undefined) {
    const attribute: DerReader = reader.readSequence('attribute');
    const isName = attribute.readOid('attribute type') === OID.friendlyName;
    const values = attribute.inside(attribute.read(DER_TAG.SET, 'attribute values'));
    const name = isName ? values.readOptional(DER_TAG.BMP_STRING, 'friendlyName') : undefined;
    if (name !== undefined && name.byteLength % 2 === 0) label = Buffer.from(name).swap16().toString('utf16le');
  }
  return label;
}
