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
import type { SignetError } from '../errors.ts';
import type { BackupPiece, RestoreOptions, RestoreReport } from './archive.ts';
import type {
  DeviceRequest,
  KeyDevice,
  TokenDescription,
  TokenIdentity,
  TokenSecret,
  TokenStatus,
  WhichToken,
} from './token-facts.ts';

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
  /** Milliseconds since the epoch; absent where the home does not record it, or the key has never signed. */
  readonly lastUsedAt?: number;
  /** Of keys on tokens. */
  readonly device?: KeyDevice;
}

export interface PinQuestion {
  readonly token: TokenIdentity;
  readonly secret: TokenSecret;
  /** True: choose a new one. */
  readonly isNew: boolean;
  /** Undefined where the token does not tell without spending a try. */
  readonly triesLeft: number | undefined;
  /** The key it is for; undefined for the token as a whole. */
  readonly key: Pick<KeyInfo, 'keyId' | 'role' | 'gun'> | undefined;
  /** Why a person is asked although a PIN is configured. */
  readonly reason?: SignetError | undefined;
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
  /**
   * Asks for the passphrase that a key is to be sealed under: a person twice, and checked for length.
   *
   * @returns Undefined when nobody can be asked or the person declined.
   */
  newPassphrase(
    key: { readonly keyId?: KeyId | undefined; readonly role: string; readonly gun: string },
    signal?: AbortSignal,
  ): Promise<Secret | undefined>;
  /** @returns Undefined when nobody can be asked or the person declined: then no try is spent. */
  pin(question: PinQuestion, signal?: AbortSignal): Promise<Secret | undefined>;
  /** Tells the person that the token waits for a touch; the notice goes when the result is disposed of. */
  touch(token: TokenIdentity, key: Pick<KeyInfo, 'keyId' | 'role' | 'gun'>): Disposable;
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
  /** Whose turn a call takes where a home is shared out between clients; `caller` if absent. */
  readonly client?: string | undefined;
  readonly interaction?: Interaction | undefined;
  /** Set by homes of tokens: the one that the operation began with. It does nothing to another one. */
  readonly token?: WhichToken | undefined;
  /** Called once when the backend starts the operation proper, after waiting in its queue; splits queue from signing time. */
  readonly onStart?: (() => void) | undefined;
}

/** What kind of key is to be made. */
export interface KeyKindRequest {
  readonly algorithm: KeyAlgorithm;
  /** Undefined: P-256 for ecdsa, 3072 bits for rsa. */
  readonly curve?: 'P-256' | 'P-384';
  readonly modulusBits?: 2048 | 3072 | 4096;
}

export interface KeyRequest extends KeyKindRequest {
  readonly role: string;
  readonly gun: string;
  /** For homes that seal keys: the passphrase for this one. Otherwise the home's `PassphraseSource` decides. */
  readonly passphrase?: Secret;
  /**
   * CreateKey's contract with notary-server: a key for the same role, GUN and algorithm that has never signed may be
   * given again. Homes that do not know which keys have signed always make a new one.
   */
  readonly reuseUnused?: boolean;
  /** For tokens. */
  readonly device?: DeviceRequest;
}

/** Where a home that seals its keys gets passphrases from. Implemented in `keyring/unlock.ts`. */
export interface PassphraseSource {
  /** PBKDF2 iterations for passphrases that people choose; undefined: the home's own figure. */
  readonly kdfIterations?: number | undefined;
  /**
   * Passphrases worth trying on an existing key, best first, without duplicates. The caller disposes of each.
   *
   * @throws {SignetError} CONFIGURATION if a configured source cannot be read
   */
  candidates(key: { readonly role: string; readonly gun: string }): Promise<readonly Secret[]>;
  /**
   * What a new key is sealed under. The caller disposes of it.
   *
   * @param context With somebody to ask, a person chooses what nobody configured.
   * @throws {SignetError} PASSPHRASE_REQUIRED, CONFIGURATION
   */
  forNewKey(
    owner: { readonly keyId?: KeyId; readonly role: string; readonly gun: string },
    context?: Pick<SignContext, 'interaction' | 'signal'>,
  ): Promise<NewKeyPassphrase>;
  /** What the person had kept for this key in the operating system's keyring. The caller disposes of it. */
  remembered?(keyId: KeyId): Promise<Secret | undefined>;
  /** What was remembered did not open the key: it is not to be tried again. */
  forget?(keyId: KeyId): Promise<void>;
}

export interface NewKeyPassphrase {
  readonly passphrase: Secret;
  /** PBKDF2 iterations fit for the passphrase's origin: fewer for a random one of 256 bits. */
  readonly iterations: number;
}

export interface KeyGenerator {
  /** Algorithms this home can make keys for, on the curve or in the size that a request without one has. */
  readonly algorithms: readonly KeyAlgorithm[];
  /** Whether it makes such keys. Absent: all sizes of `algorithms`. @throws {SignetError} INVALID_ARGUMENT */
  makes?(kind: KeyKindRequest): boolean;
  /**
   * Makes a key and stores it durably before answering.
   *
   * @throws {SignetError} UNSUPPORTED, PASSPHRASE_REQUIRED, UNAVAILABLE, CANCELLED
   */
  generate(request: KeyRequest, context: SignContext): Promise<KeyInfo & { readonly publicKey: PublicKey }>;
}

/** Whose a key is, and how it is guarded where it goes; the latter as in `KeyRequest`. */
export type ImportRequest = Pick<KeyRequest, 'role' | 'gun' | 'passphrase' | 'device'>;

export interface KeyImporter {
  /**
   * Stores a key made elsewhere. Never overwrites.
   *
   * @param pkcs8 DER PrivateKeyInfo (RFC 5208). Neither kept nor changed; the caller zeroes it.
   * @throws {SignetError} KEY_EXISTS, INVALID_ARGUMENT, UNSUPPORTED, PASSPHRASE_REQUIRED, UNAVAILABLE
   */
  import(
    pkcs8: Uint8Array,
    request: ImportRequest,
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
  /** @throws {SignetError} KEY_NOT_FOUND, UNSUPPORTED for a key that was not made on the device, INTEGRITY */
  attest(keyId: KeyId, context: SignContext): Promise<Attestation>;
}

/** What a device says about a key that was made on it. */
export interface Attestation {
  /** Leaf first, each DER; without the root. */
  readonly chain: readonly Uint8Array[];
  /** Subject of the root that the chain was verified up to. */
  readonly root: string;
  readonly device: KeyDevice;
}

/** Homes whose keys can be given another role and GUN. */
export interface KeyRelabeller {
  /** @throws {SignetError} KEY_NOT_FOUND, UNSUPPORTED, PASSPHRASE_REQUIRED, PIN_REQUIRED, UNAVAILABLE */
  relabel(keyId: KeyId, owner: { readonly role: string; readonly gun: string }, context: SignContext): Promise<KeyInfo>;
}

/** Homes that keep an X.509 certificate beside a key. */
export interface KeyCertifier {
  /** @returns DER; undefined if the key has none. @throws {SignetError} KEY_NOT_FOUND, UNAVAILABLE */
  certificate(keyId: KeyId, context: SignContext): Promise<Uint8Array | undefined>;
  /**
   * Stores a certificate in the place of the one that the key may have.
   *
   * @throws {SignetError} KEY_NOT_FOUND, INVALID_ARGUMENT for one of another key, PIN_REQUIRED, TOKEN_FULL, UNAVAILABLE
   */
  putCertificate(keyId: KeyId, der: Uint8Array, context: SignContext): Promise<void>;
  /** @returns Whether there was one. @throws {SignetError} KEY_NOT_FOUND, PIN_REQUIRED, UNAVAILABLE */
  removeCertificate(keyId: KeyId, context: SignContext): Promise<boolean>;
}

/** Homes whose keys have a passphrase each. */
export interface PassphraseChanger {
  /**
   * Seals a key anew; the old file stays until the new one is durable. The old passphrase must be at hand, also for a key
   * that is unlocked: who may use a key may not take it away.
   *
   * @param newPassphrase Undefined: asked for, after the old one.
   * @throws {SignetError} KEY_NOT_FOUND, PASSPHRASE_REQUIRED, PASSPHRASE_INCORRECT, INTEGRITY, UNAVAILABLE
   */
  changePassphrase(keyId: KeyId, newPassphrase: Secret | undefined, context: SignContext): Promise<void>;
}

/** Homes that can be backed up as a whole. */
export interface KeyArchiver {
  /**
   * One sealed, authenticated archive (docs/backup-format.md), in pieces: all keys and, of a trust directory, what is in `tuf`.
   *
   * @throws {SignetError} UNAVAILABLE, CANCELLED
   */
  backup(passphrase: Secret, context: SignContext): AsyncIterable<BackupPiece>;
  /**
   * Takes an archive back: all of it or nothing. Where it ended in the middle, by a crash, the same call again completes it.
   *
   * @throws {SignetError} PASSPHRASE_INCORRECT, INTEGRITY, INVALID_ARGUMENT, KEY_EXISTS, UNAVAILABLE, CANCELLED
   */
  restore(
    archive: AsyncIterable<Uint8Array>,
    passphrase: Secret,
    options: RestoreOptions,
    context: SignContext,
  ): Promise<RestoreReport>;
}

/** The home as a device: what can be done to the token itself. All questions go through the context's `Interaction`. */
export interface TokenManager {
  /**
   * Which token it is now, or was last if it is away or cannot be reached. A mere look: runs no program, asks the device for no
   * counters.
   *
   * @throws {SignetError} TOKEN_NOT_PRESENT, UNAVAILABLE if nothing was known yet
   */
  describe(): Promise<TokenDescription>;
  /**
   * As `describe`, with all that the device tells; of a token that is away, with `present` false. Spends no try.
   *
   * @throws {SignetError} as `describe`
   */
  status(): Promise<TokenStatus>;
  /** Asks for the old PIN (or PUK, SO PIN) and the new one. @throws {SignetError} PIN_INCORRECT, PIN_LOCKED, PIN_REQUIRED, UNSUPPORTED */
  changePin(secret: Exclude<TokenSecret, 'management-key'>, context: SignContext): Promise<void>;
  /** Sets a new PIN with the PUK or the SO PIN. @throws {SignetError} as `changePin` */
  unblockPin(context: SignContext): Promise<void>;
  /**
   * Erases the token and gives it a label and new PINs.
   *
   * @throws {SignetError} UNSUPPORTED, PIN_INCORRECT
   */
  initialise?(label: string, context: SignContext): Promise<void>;
  /** Ends the login and lets go of the device, so that other programs can have it; the next use takes it back. */
  release(): Promise<void>;
}

/** Homes whose keys are sealed under a passphrase. */
export interface KeyUnlocker {
  /**
   * Opens a key and keeps it open. The secret is checked also if the key is open already.
   *
   * @param ttlMs How long at most; undefined takes the configured time.
   * @param token The only one that a PIN is for; undefined: whichever has the key.
   * @throws {SignetError} KEY_NOT_FOUND, PASSPHRASE_INCORRECT, INTEGRITY, UNAVAILABLE; of a token PIN_INCORRECT,
   *   PIN_LOCKED, after which it is closed, and TOKEN_NOT_PRESENT
   */
  unlock(keyId: KeyId, passphrase: Secret, ttlMs: number | undefined, token?: WhichToken): Promise<void>;
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
   *   PIN_REQUIRED, PIN_INCORRECT, PIN_LOCKED, TOUCH_TIMEOUT, TOKEN_NOT_PRESENT, INTEGRITY, UNAVAILABLE, CANCELLED;
   *   tokens also DEADLINE_EXCEEDED
   */
  sign(keyId: KeyId, input: SignInput, context: SignContext): Promise<Uint8Array>;
  readonly generator?: KeyGenerator;
  /** Undefined also while the device that is there cannot; a getter may change its mind. */
  readonly importer?: KeyImporter | undefined;
  readonly exporter?: KeyExporter;
  readonly remover?: KeyRemover | undefined;
  readonly attester?: KeyAttester;
  readonly unlocker?: KeyUnlocker;
  readonly relabeller?: KeyRelabeller | undefined;
  readonly certifier?: KeyCertifier | undefined;
  readonly passphrases?: PassphraseChanger;
  readonly archiver?: KeyArchiver;
  readonly token?: TokenManager;
}
