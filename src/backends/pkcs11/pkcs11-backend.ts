/**
 * Keys on one PKCS#11 token. The module runs in a process of its own (token-host.ts); what comes out of it is checked here:
 * every signature is verified with the public key before it leaves.
 */
import { hash } from 'node:crypto';
import { algorithmRow, type KeyAlgorithm } from '../../crypto/algorithms.ts';
import { type KeyId, keyIdOf } from '../../crypto/key-id.ts';
import { decodePkcs8 } from '../../crypto/private-key-info.ts';
import { privateKeyParts } from '../../crypto/private-key-parts.ts';
import { type PublicKey, publicKeyOf } from '../../crypto/public-key.ts';
import { checkDigest } from '../../crypto/sign-digest.ts';
import type { SignInput } from '../../crypto/sign-input.ts';
import { verifyDigest } from '../../crypto/verify-digest.ts';
import { SignetError } from '../../errors.ts';
import type {
  BackendHealth,
  KeyBackend,
  KeyGenerator,
  KeyImporter,
  KeyInfo,
  KeyRemover,
  KeyUnlocker,
  SignContext,
} from '../backend.ts';
import { throwIfCancelled } from '../cancellation.ts';
import { readPrivateSecret } from '../secret-file.ts';
import { ANSWERS, type HostRequest, type SignScheme } from './host-protocol.ts';
import { KeyIndex, type KeyRecord } from './key-index.ts';
import { formatLabel } from './label.ts';
import { PinFile } from './pin-file.ts';
import { attributesOfPublicKey } from './public-object.ts';
import { SignatureVerifier } from './signature-verifier.ts';
import { TokenConnection, type TokenConnectionOptions } from './token-connection.ts';

export interface Pkcs11Options extends Omit<TokenConnectionOptions, 'pinFile'> {
  /** File with the PIN, absolute; undefined: a person unlocks the token. */
  readonly pinFile: string | undefined;
  /** Key objects that are left out of a listing, and why. */
  readonly onUnreadable: (what: string, error: SignetError) => void;
}

/** One for all tokens: its thread has a processor to itself, and a second one would only share it. */
const verifier = new SignatureVerifier();
/** Making a key may take a small device minutes; milliseconds. */
const GENERATION_TIMEOUT_MS = 180_000;
/** An answer later than this makes the token "down" for now, milliseconds. */
const HEALTH_TIMEOUT_MS = 1000;

export class Pkcs11Backend implements KeyBackend {
  readonly name = 'pkcs11';
  readonly #connection: TokenConnection;
  readonly #index: KeyIndex;
  #relock: NodeJS.Timeout | undefined;

  readonly generator: KeyGenerator = {
    algorithms: ['ecdsa', 'ed25519', 'rsa'],
    generate: async ({ algorithm, role, gun }, context) => {
      const label = formatLabel({ role, gun }).toString('base64');
      await this.#connection.login();
      const request = { op: 'generate', algorithm, label } as const;
      const options = { parse: ANSWERS.key, timeoutMs: GENERATION_TIMEOUT_MS, isChange: true };
      const { value } = await this.#connection.request(context, request, options);
      return withPublicKey(this.#index.add(value));
    },
  };

  readonly importer: KeyImporter = {
    import: async (pkcs8, owner, context) => {
      const label = formatLabel(owner).toString('base64');
      const object = decodePkcs8(pkcs8);
      const publicKey = publicKeyOf(object);
      const keyId = keyIdOf(publicKey);
      await this.#connection.login();
      await this.#index.refresh();
      if (this.#index.get(keyId) !== undefined) throw new SignetError('KEY_EXISTS', `key ${keyId} exists on the token`);
      const key = { ckaId: Buffer.from(keyId, 'hex').toString('base64'), label, ...encodeAttributes(publicKey) };
      const { parts } = privateKeyParts(object);
      const blob = joinParts(parts);
      try {
        const options = { parse: ANSWERS.key, blob, isChange: true };
        const { value } = await this.#connection.request(context, { op: 'import', key }, options);
        return withPublicKey(this.#index.add(value));
      } finally {
        for (const secret of [...parts, blob]) secret.fill(0);
      }
    },
  };

  readonly remover: KeyRemover = {
    remove: async (keyId, context) => {
      const record = await this.#index.find(keyId);
      if (record === undefined) return false;
      await this.#connection.login();
      const request = { op: 'remove', keyId, ckaId: record.ckaId } as const;
      const { value } = await this.#connection.request(context, request, { parse: ANSWERS.removed, isChange: true });
      this.#index.delete(keyId);
      return value;
    },
  };

  /** A PIN opens and closes all keys of the token. */
  readonly unlocker: KeyUnlocker = {
    unlock: async (keyId, pin, ttlMs) => {
      if ((await this.#index.find(keyId)) === undefined) throw this.#notFound(keyId);
      await this.#connection.loginWith(pin.bytes());
      clearTimeout(this.#relock);
      if (ttlMs !== undefined) {
        this.#relock = setTimeout(() => void this.#connection.logout().catch(() => undefined), ttlMs).unref();
      }
    },
    lock: async (keyId) => {
      if (keyId !== undefined && this.#index.get(keyId) === undefined) return 0;
      clearTimeout(this.#relock);
      return (await this.#connection.logout()) ? this.#index.size : 0;
    },
    unlockedCount: async () => (this.#connection.attached?.state.loggedIn ? this.#index.size : 0),
  };

  private constructor(options: Pkcs11Options) {
    const pinFile = options.pinFile === undefined ? undefined : new PinFile(options.pinFile);
    this.#connection = new TokenConnection({ ...options, pinFile });
    this.#index = new KeyIndex(this.#connection, options.onUnreadable);
  }

  /**
   * A token that is not there is no failure: it may be plugged in later, and `health()` tells.
   *
   * @throws {SignetError} CONFIGURATION if the module cannot be loaded, several tokens match, or the PIN file cannot be read
   */
  static async open(options: Pkcs11Options): Promise<Pkcs11Backend> {
    // A PIN file that nobody can use is a mistake to tell now, whether the token is there or not.
    if (options.pinFile !== undefined) (await readPrivateSecret(options.pinFile, 'pin-source')).dispose();
    const backend = new Pkcs11Backend(options);
    try {
      await backend.#index.refresh();
    } catch (error) {
      if (error instanceof SignetError && error.code !== 'CONFIGURATION') {
        options.onEvent(`token ${backend.location} cannot be used yet`, error);
        return backend;
      }
      await backend[Symbol.asyncDispose]();
      throw error;
    }
    return backend;
  }

  get location(): string {
    return this.#connection.name;
  }

  /** The token host's process, for operators and tests; undefined while there is none. */
  get hostPid(): number | undefined {
    return this.#connection.attached?.host.pid;
  }

  async health(): Promise<BackendHealth> {
    // A token at work is not asked again: its deadline finds out if it hangs.
    if (this.#connection.attached !== undefined && this.#connection.isBusy) return this.#pinHealth();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new SignetError('UNAVAILABLE', `${this.location} does not answer`);
      timer = setTimeout(() => reject(error), HEALTH_TIMEOUT_MS);
    });
    try {
      await Promise.race([this.#check(), late]);
      return this.#pinHealth();
    } catch (error) {
      return { ready: false, reason: error instanceof Error ? error.message : 'unknown' };
    } finally {
      clearTimeout(timer);
    }
  }

  async #check(): Promise<void> {
    await this.#index.refreshIfDue();
    // The file may have been corrected; a PIN that was refused is not tried (pin-file.ts).
    if (this.#connection.pinProblem !== undefined) await this.#connection.login().catch(() => undefined);
  }

  #pinHealth(): BackendHealth {
    const problem = this.#connection.pinProblem;
    return problem === undefined ? { ready: true } : { ready: false, reason: problem.message };
  }

  async *list(): AsyncIterable<KeyInfo> {
    await this.#index.refresh();
    for (const { info } of this.#index.values()) yield info;
  }

  async count(): Promise<number> {
    await this.#index.refreshIfChanged();
    return this.#index.size;
  }

  async find(keyId: KeyId): Promise<KeyInfo | undefined> {
    return (await this.#index.find(keyId))?.info;
  }

  async publicKey(keyId: KeyId): Promise<PublicKey> {
    return (await this.#record(keyId)).publicKey;
  }

  async sign(keyId: KeyId, input: SignInput, context: SignContext): Promise<Uint8Array> {
    throwIfCancelled(context);
    const record = await this.#record(keyId);
    const { ckaId, publicKey } = record;
    const { scheme, data } = prepare(publicKey, input);
    await this.#connection.login();
    throwIfCancelled(context);
    const request: HostRequest = { op: 'sign', keyId, ckaId, scheme };
    let signature: Buffer;
    try {
      ({ blob: signature } = await this.#connection.request(context, request, { parse: ANSWERS.none, blob: data }));
    } catch (error) {
      if (error instanceof SignetError && error.code === 'KEY_NOT_FOUND') this.#index.delete(keyId);
      throw error;
    }
    if (await isValid(record, input, signature)) return signature;
    this.#index.expire();
    throw new SignetError('INTEGRITY', `${this.location} answered a signature that is not by key ${keyId}`, {
      hint: 'the CKA_ID of its private key belongs to another key, or the token is faulty',
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#relock);
    await this.#connection[Symbol.asyncDispose]();
  }

  async #record(keyId: KeyId): Promise<KeyRecord> {
    const record = await this.#index.find(keyId);
    if (record === undefined) throw this.#notFound(keyId);
    return record;
  }

  #notFound(keyId: KeyId): SignetError {
    return new SignetError('KEY_NOT_FOUND', `no key ${keyId} in ${this.location}`);
  }
}

function withPublicKey({ info, publicKey }: KeyRecord): KeyInfo & { readonly publicKey: PublicKey } {
  return { ...info, publicKey };
}

/** Bytes that the token signs, and how. @throws {SignetError} INVALID_ARGUMENT for a digest that the key cannot sign */
function prepare({ algorithm, bytes }: PublicKey, input: SignInput): { scheme: SignScheme; data: Uint8Array } {
  if (algorithm === 'ed25519') {
    if ('message' in input) return { scheme: 'eddsa', data: input.message };
    throw new SignetError('INVALID_ARGUMENT', 'ed25519 signs messages, not digests');
  }
  const { digest, name } = digestOf(algorithm, input);
  if (algorithm === 'rsa') return { scheme: { pss: name }, data: digest };
  // FIPS 186-5 §6.4.1: the leftmost bits, as many as the order has. Devices differ in what they do with more.
  return { scheme: 'ecdsa', data: digest.subarray(0, orderBytes(bytes)) };
}

function digestOf(algorithm: KeyAlgorithm, input: SignInput) {
  if (!('message' in input)) {
    checkDigest(input.digest, input.hash);
    return { digest: input.digest, name: input.hash };
  }
  const name = algorithmRow(algorithm).messageHash ?? 'sha256';
  return { digest: hash(name, input.message, 'buffer'), name };
}

/** By the length of the SubjectPublicKeyInfo, which the curve fixes. */
function orderBytes(spki: Uint8Array): number {
  const row = { 80: 28, 91: 32, 120: 48, 158: 66 }[spki.byteLength];
  if (row === undefined) throw new SignetError('INTERNAL', 'an EC key of a curve that is not in the table');
  return row;
}

async function isValid(record: KeyRecord, input: SignInput, signature: Uint8Array): Promise<boolean> {
  if ('message' in input) return verifier.verify(record, input.message, signature);
  return verifyDigest(record.publicKey, input.digest, input.hash, signature);
}

function encodeAttributes(key: PublicKey) {
  const { keyType, ecParams, ecPoint, modulus, publicExponent } = attributesOfPublicKey(key);
  const base64 = (bytes: Uint8Array | undefined) =>
    bytes === undefined ? undefined : Buffer.from(bytes).toString('base64');
  return {
    keyType,
    ecParams: base64(ecParams),
    ecPoint: base64(ecPoint),
    modulus: base64(modulus),
    publicExponent: base64(publicExponent),
  };
}

/** Each part behind its length in two bytes. */
function joinParts(parts: readonly Buffer[]): Buffer {
  const joined = Buffer.alloc(parts.reduce((sum, part) => sum + 2 + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.writeUInt16BE(part.length, offset);
    part.copy(joined, offset + 2);
    offset += 2 + part.length;
  }
  return joined;
}
