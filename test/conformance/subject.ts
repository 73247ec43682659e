/** What the conformance suite is told about a home for keys, and the home that a test runs on. */
import { expect } from 'vitest';
import type { KeyBackend, KeyInfo, SignContext } from '../../src/backends/backend.ts';
import type { KeyAlgorithm } from '../../src/crypto/algorithms.ts';
import { type KeyId, parseKeyId } from '../../src/crypto/key-id.ts';
import type { PublicKey } from '../../src/crypto/public-key.ts';
import { type ErrorCode, SignetError } from '../../src/errors.ts';

export interface BackendUnderTest {
  readonly name: string;
  /** What it declares to make; everything else must be refused. */
  readonly generates: readonly KeyAlgorithm[];
  /**
   * Of a home that makes no keys: what `OpenBackend.provision` puts into it, with the bytes of a signature. The contract is
   * then held to with these keys, which are nobody's: whoever makes keys outside of Signet knows no role and no GUN.
   */
  readonly provisions?: Readonly<Partial<Record<KeyAlgorithm, number>>>;
  /** Algorithms it takes; none if it has no importer. */
  readonly imports: readonly KeyAlgorithm[];
  /** Curves that it does not take, though it takes ecdsa. */
  readonly lacksCurves?: readonly string[];
  readonly has: {
    readonly exporter: boolean;
    readonly remover: boolean;
    readonly attester: boolean;
    /** `pin`: one secret opens all keys of the home. */
    readonly unlocker: boolean | 'pin';
  };
  /** Whether keys outlive the process that made them. */
  readonly persistent: boolean;
  /** A new, empty home. */
  open(): Promise<OpenBackend>;
}

export interface OpenBackend extends AsyncDisposable {
  readonly backend: KeyBackend;
  /** The passphrase that keys of this home are sealed under, where they are. */
  readonly passphrase: string | undefined;
  /** Closes the backend and opens the same home again. */
  reopen(): Promise<KeyBackend>;
  /** Puts one more key into the home as other programs do, at most three; seen after `reopen`. */
  provision?(algorithm: KeyAlgorithm): Promise<void>;
}

export type MadeKey = KeyInfo & { readonly publicKey: PublicKey };
type Owner = Pick<KeyInfo, 'role' | 'gun'>;

export const CONTEXT: SignContext = { caller: 'conformance suite' };
export const UNKNOWN: KeyId = parseKeyId('0'.repeat(64));
export const OWNER: Owner = { role: 'timestamp', gun: 'registry.example.com/team/app' };
const NOBODY: Owner = { role: '', gun: '' };

/** Of keys with the default curve or length. */
const SIGNATURE_BYTES: Readonly<Record<KeyAlgorithm, number>> = { ecdsa: 64, ed25519: 64, rsa: 384 };
export const ALGORITHMS = Object.keys(SIGNATURE_BYTES) as readonly KeyAlgorithm[];

/** The home of the test that runs. */
export class HomeInTest {
  readonly subject: BackendUnderTest;
  #home: OpenBackend | undefined;
  #backend: KeyBackend | undefined;

  constructor(subject: BackendUnderTest) {
    this.subject = subject;
  }

  async begin(): Promise<void> {
    this.#home = await this.subject.open();
    this.#backend = this.#home.backend;
  }

  async end(): Promise<void> {
    await this.#home?.[Symbol.asyncDispose]();
    this.#home = undefined;
    this.#backend = undefined;
  }

  get backend(): KeyBackend {
    return declared(this.#backend);
  }

  /** @throws {Error} for a home that has none */
  get passphrase(): string {
    return declared(this.#open.passphrase);
  }

  get hasPassphrase(): boolean {
    return this.#open.passphrase !== undefined;
  }

  async reopen(): Promise<void> {
    this.#backend = await this.#open.reopen();
  }

  async keys(): Promise<KeyInfo[]> {
    const keys: KeyInfo[] = [];
    for await (const key of this.backend.list()) keys.push(key);
    return keys;
  }

  /** Whether the home makes keys itself. */
  get makesKeys(): boolean {
    return this.subject.provisions === undefined;
  }

  /** The algorithms that the suite can have keys of. */
  get algorithms(): readonly KeyAlgorithm[] {
    const { generates, provisions } = this.subject;
    return provisions === undefined ? generates : (Object.keys(provisions) as KeyAlgorithm[]);
  }

  /** Whose the keys are that `makeKey` makes for `OWNER`. */
  get owner(): Owner {
    return this.makesKeys ? OWNER : NOBODY;
  }

  signatureBytes(algorithm: KeyAlgorithm): number {
    const { provisions } = this.subject;
    return provisions === undefined ? SIGNATURE_BYTES[algorithm] : declared(provisions[algorithm]);
  }

  /** A key in the home, by whoever makes keys for it. */
  async makeKey(algorithm: KeyAlgorithm = 'ecdsa', owner: Owner = OWNER): Promise<MadeKey> {
    if (this.makesKeys) return await declared(this.backend.generator).generate({ algorithm, ...owner }, CONTEXT);
    return await this.#provision(algorithm);
  }

  /** Several, all at once where the home makes them. */
  async makeKeys(algorithms: readonly KeyAlgorithm[]): Promise<MadeKey[]> {
    if (this.makesKeys) return await Promise.all(algorithms.map((algorithm) => this.makeKey(algorithm)));
    const keys: MadeKey[] = [];
    for (const algorithm of algorithms) keys.push(await this.#provision(algorithm));
    return keys;
  }

  async #provision(algorithm: KeyAlgorithm): Promise<MadeKey> {
    const before = new Set((await this.keys()).map(({ keyId }) => keyId));
    await declared(this.#open.provision)(algorithm);
    await this.reopen();
    const [key, ...more] = (await this.keys()).filter(({ keyId }) => !before.has(keyId));
    if (key?.publicKey?.algorithm !== algorithm || more.length > 0)
      throw new Error(`no new ${algorithm} key is listed`);
    return { ...key, publicKey: key.publicKey };
  }

  get #open(): OpenBackend {
    return declared(this.#home);
  }
}

/** @throws {Error} for what a subject declares to have and has not */
export function declared<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('declared, but absent');
  return value;
}

/** The failure of a call, which must have this code. */
export async function expectCode(code: ErrorCode, promise: Promise<unknown>): Promise<SignetError> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if (!('error' in outcome)) throw new Error(`expected ${code}, but the call succeeded`);
  expect(outcome.error).toBeInstanceOf(SignetError);
  const error = outcome.error as SignetError;
  expect({ code: error.code, message: error.message }).toMatchObject({ code });
  return error;
}
