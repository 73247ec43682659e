/**
 * The port: what a home for keys must offer. Every backend implements it and passes `test/conformance/`.
 *
 * What a device may lack is an optional object (`generator`, `importer`, …): absent means not supported.
 */
import type { KeyAlgorithm } from '../crypto/algorithms.ts';
import type { KeyId } from '../crypto/key-id.ts';
import type { PublicKey } from '../crypto/public-key.ts';
import type { Secret } from '../crypto/secret.ts';
import type { SignInput } from '../crypto/sign-input.ts';

/** Public facts about a key. */
export interface KeyInfo {
  /** Notary's canonical key ID: 64 lower-case hex characters. */
  readonly keyId: KeyId;
  /** `root`, `targets`, `targets/releases`, a signer's name, … or ''. */
  readonly role: string;
  /** Globally unique name of the trusted collection, or '' where the home does not record one. */
  readonly gun: string;
  /** Where the private half lives: a file path, an RFC 7512 URI, a table; never a secret. */
  readonly location: string;
  readonly needs: { readonly pin: boolean; readonly touch: boolean; readonly passphrase: boolean };
  /** Absent when the home does not tell it before the key is unlocked (ADR 0007); then ask `publicKey()`. */
  readonly publicKey?: PublicKey;
}

/** Asks a person. Passed down with each call, so that a backend never owns a terminal. */
export interface Interaction {
  /**
   * @param attempt 0 for the first question about this key in this call.
   * @returns The passphrase, or undefined when nobody can be asked or the person declined.
   */
  passphrase(
    key: Pick<KeyInfo, 'keyId' | 'role' | 'gun'>,
    attempt: number,
    signal?: AbortSignal,
  ): Promise<Secret | undefined>;
}

/** Who asks, for how long, and whom to ask back. */
export interface SignContext {
  /** Aborts when the caller has gone. May be made on first use: for a mere look there is `cancellation.ts`. */
  readonly signal?: AbortSignal | undefined;
  /** The same as `signal.aborted`, where the maker of the context knows it without a signal. */
  readonly cancelled?: boolean | undefined;
  /** Milliseconds since the epoch. */
  readonly deadline?: number | undefined;
  /** For logs and policy: a certificate's subject, a Unix peer. */
  readonly caller: string;
  readonly interaction?: Interaction | undefined;
  /** Called once when the backend starts the operation proper, after waiting in its queue; splits queue from signing time. */
  readonly onStart?: (() => void) | undefined;
}

export interface KeyRequest {
  readonly algorithm: KeyAlgorithm;
  readonly role: string;
  readonly gun: string;
  /** For homes that seal keys: the passphrase for this one. Otherwise the home's `PassphraseSource` decides. */
  readonly passphrase?: Secret;
  /**
   * CreateKey's contract with notary-server: a key for the same role, GUN and algorithm that has never signed may be
   * given again. Homes that do not know which keys have signed always make a new one.
   */
  readonly reuseUnused?: boolean;
}

/** Where a home that seals its keys gets passphrases from. Implemented in `keyring/unlock.ts`. */
export interface PassphraseSource {
  /**
   * Passphrases worth trying on an existing key, best first, without duplicates. The caller disposes of each.
   *
   * @throws {SignetError} CONFIGURATION if a configured source cannot be read
   */
  candidates(key: { readonly role: string; readonly gun: string }): Promise<readonly Secret[]>;
  /**
   * What a new key is sealed under. The caller disposes of it.
   *
   * @throws {SignetError} PASSPHRASE_REQUIRED, CONFIGURATION
   */
  forNewKey(owner: { readonly role: string; readonly gun: string }): Promise<NewKeyPassphrase>;
}

export interface NewKeyPassphrase {
  readonly passphrase: Secret;
  /** PBKDF2 iterations fit for the passphrase's origin: fewer for a random one of 256 bits. */
  readonly iterations: number;
}

export interface KeyGenerator {
  /** Algorithms this home can make keys for. */
  readonly algorithms: readonly KeyAlgorithm[];
  /**
   * Makes a key and stores it durably before answering.
   *
   * @throws {SignetError} UNSUPPORTED, PASSPHRASE_REQUIRED, UNAVAILABLE, CANCELLED
   */
  generate(request: KeyRequest, context: SignContext): Promise<KeyInfo & { readonly publicKey: PublicKey }>;
}

export interface KeyImporter {
  /**
   * Stores a key made elsewhere. Never overwrites.
   *
   * @param pkcs8 DER PrivateKeyInfo (RFC 5208). Neither kept nor changed; the caller zeroes it.
   * @throws {SignetError} KEY_EXISTS, INVALID_ARGUMENT, UNSUPPORTED, PASSPHRASE_REQUIRED, UNAVAILABLE
   */
  import(
    pkcs8: Uint8Array,
    owner: { readonly role: string; readonly gun: string },
    context: SignContext,
  ): Promise<KeyInfo & { readonly publicKey: PublicKey }>;
}

export interface KeyExporter {
  /**
   * The key as an encrypted PEM block that `notary key import` and Signet read.
   *
   * @throws {SignetError} KEY_NOT_FOUND, UNAVAILABLE
   */
  export(keyId: KeyId, context: SignContext): Promise<string>;
}

export interface KeyRemover {
  /** @returns False when there was no such key. @throws {SignetError} UNAVAILABLE */
  remove(keyId: KeyId, context: SignContext): Promise<boolean>;
}

export interface KeyAttester {
  /** @returns The certificate chain, leaf first, each DER. @throws {SignetError} KEY_NOT_FOUND, UNSUPPORTED */
  attest(keyId: KeyId, context: SignContext): Promise<readonly Uint8Array[]>;
}

/** Homes whose keys are sealed under a passphrase. */
export interface KeyUnlocker {
  /**
   * Opens a key and keeps it open.
   *
   * @param ttlMs How long at most; undefined takes the configured time.
   * @throws {SignetError} KEY_NOT_FOUND, PASSPHRASE_INCORRECT, INTEGRITY, UNAVAILABLE
   */
  unlock(keyId: KeyId, passphrase: Secret, ttlMs: number | undefined): Promise<void>;
  /** Forgets one unlocked key, or all. @returns How many were open. */
  lock(keyId?: KeyId): Promise<number>;
  /** How many keys are open now. */
  unlockedCount(): Promise<number>;
}

/** `ready`: can sign. Otherwise the reason, which may be shown to the operator. */
export type BackendHealth = { readonly ready: true } | { readonly ready: false; readonly reason: string };

export interface KeyBackend extends AsyncDisposable {
  /** `file`, `memory`, `sql`, `pkcs11`, `yubikey` or `remote`; also the name in `placement`. */
  readonly name: string;
  /** For people: the directory, the database without credentials, the token. */
  readonly location: string;
  /** Asked regularly; must answer quickly and must not spend PIN tries. */
  health(): Promise<BackendHealth>;
  /** Every key, in no particular order. Entries that cannot be read are left out and logged. @throws {SignetError} UNAVAILABLE */
  list(): AsyncIterable<KeyInfo>;
  /** How many keys there are, without reading them. @throws {SignetError} UNAVAILABLE */
  count(): Promise<number>;
  /** One look-up, never a scan of all keys. @returns Undefined only if the key is certainly absent. @throws {SignetError} UNAVAILABLE */
  find(keyId: KeyId): Promise<KeyInfo | undefined>;
  /**
   * The public half; unlocks a sealed key when it must.
   *
   * @throws {SignetError} KEY_NOT_FOUND, PASSPHRASE_REQUIRED, PASSPHRASE_INCORRECT, INTEGRITY, UNAVAILABLE
   */
  publicKey(keyId: KeyId, context: SignContext): Promise<PublicKey>;
  /**
   * Signs.
   *
   * @returns ecdsa: r‖s, each half padded to the curve's size (ADR 0001); ed25519: 64 bytes (RFC 8032 §5.1.6);
   *   rsa: RSASSA-PSS, MGF1 with the same hash, salt as long as the hash (RFC 8017 §8.1).
   * @throws {SignetError} KEY_NOT_FOUND, INVALID_ARGUMENT, UNSUPPORTED, PASSPHRASE_REQUIRED, PASSPHRASE_INCORRECT,
   *   PIN_REQUIRED, PIN_INCORRECT, PIN_LOCKED, TOUCH_TIMEOUT, TOKEN_NOT_PRESENT, INTEGRITY, UNAVAILABLE, CANCELLED
   */
  sign(keyId: KeyId, input: SignInput, context: SignContext): Promise<Uint8Array>;
  readonly generator?: KeyGenerator;
  readonly importer?: KeyImporter;
  readonly exporter?: KeyExporter;
  readonly remover?: KeyRemover;
  readonly attester?: KeyAttester;
  readonly unlocker?: KeyUnlocker;
}
