/**
 * Keys in encrypted PEM files, shared live with the `notary` and `docker trust` programs.
 *
 * Nothing of a key's state is kept only in memory: a key that appears, changes or vanishes on disk is seen by the next
 * call, or within `REVALIDATE_MS` for a key that is open.
 */
import pLimit from 'p-limit';
import { isKeyId, type KeyId } from '../../crypto/key-id.ts';
import { KDF_ITERATIONS, openKeyPem, readKeyPem, sealKeyPem } from '../../crypto/key-pem.ts';
import { PrivateKey } from '../../crypto/private-key.ts';
import type { PublicKey } from '../../crypto/public-key.ts';
import type { Secret } from '../../crypto/secret.ts';
import type { SignInput } from '../../crypto/sign-input.ts';
import { SignetError } from '../../errors.ts';
import type {
  BackendHealth,
  ImportRequest,
  KeyArchiver,
  KeyBackend,
  KeyExporter,
  KeyGenerator,
  KeyImporter,
  KeyInfo,
  KeyRelabeller,
  KeyRemover,
  KeyUnlocker,
  PassphraseChanger,
  PassphraseSource,
  SignContext,
} from '../backend.ts';
import { throwIfCancelled } from '../cancellation.ts';
import { createFileDurably, removeAbandonedFiles, removeFileDurably, replaceFileDurably } from '../durable-file.ts';
import { SingleFlight } from '../single-flight.ts';
import { type UnlockedKey, UnlockedKeys } from '../unlocked-keys.ts';
import { backUp } from './backup.ts';
import { KeyDirectory, type KeyFile } from './key-directory.ts';
import { exported, relabelled } from './key-header.ts';
import { Refusals } from './refusals.ts';
import { restoreInto } from './restore.ts';

/** An open key's file is looked at again at most this often, in milliseconds: the bound within which a change is seen. */
const REVALIDATE_MS = 200;
/** Key derivations at once. They share Node's thread pool with file access, which must not starve. */
const DERIVATIONS_AT_ONCE = 2;
/** How often a person is asked for one key, as the notary program does. */
const MAX_QUESTIONS = 4;

export interface FileBackendOptions {
  /** The `private` directory. */
  readonly path: string;
  /** True: a missing directory is one without keys, and is made for the first; otherwise it is made at once. */
  readonly mayBeMissing?: boolean;
  readonly passphrases: PassphraseSource;
  readonly unlocked: { readonly max: number; readonly ttlMs: number };
  /** Tells of files that are left out of a listing. The error holds no content of the file. */
  readonly onUnreadable?: (path: string, error: SignetError) => void;
}

interface Facts {
  readonly file: KeyFile;
  readonly info: KeyInfo & { readonly publicKey: PublicKey };
  /** performance.now() of the last look at the file. */
  checkedAt: number;
}

type Open = UnlockedKey<Facts>;

export class FileBackend implements KeyBackend {
  readonly name = 'file';
  readonly location: string;
  readonly generator: KeyGenerator;
  readonly importer: KeyImporter;
  readonly exporter: KeyExporter;
  readonly remover: KeyRemover;
  readonly unlocker: KeyUnlocker;
  readonly relabeller: KeyRelabeller;
  readonly passphrases: PassphraseChanger;
  readonly archiver: KeyArchiver;

  readonly #directory: KeyDirectory;
  readonly #passphrases: PassphraseSource;
  readonly #unlocked: UnlockedKeys<Facts>;
  readonly #opening = new SingleFlight<KeyId, Open>();
  readonly #refusals = new Refusals();
  readonly #derivations = pLimit(DERIVATIONS_AT_ONCE);
  /** Between the last look at a file and its replacement, nobody else of this process replaces it. */
  readonly #rewrites = pLimit(1);
  readonly #onUnreadable: (path: string, error: SignetError) => void;

  private constructor(directory: KeyDirectory, options: FileBackendOptions) {
    this.#directory = directory;
    this.location = directory.path;
    this.#passphrases = options.passphrases;
    this.#unlocked = new UnlockedKeys(options.unlocked);
    this.#onUnreadable = options.onUnreadable ?? (() => undefined);
    this.generator = {
      algorithms: ['ecdsa', 'ed25519', 'rsa'],
      generate: async (request, context) =>
        this.#store(await PrivateKey.generate(request.algorithm, request), request, context),
    };
    this.importer = {
      import: async (pkcs8, request, context) => this.#store(PrivateKey.fromPkcs8(pkcs8), request, context),
    };
    this.exporter = { export: (keyId, context) => this.#export(keyId, context) };
    this.remover = { remove: (keyId) => this.#remove(keyId) };
    this.unlocker = {
      unlock: (keyId, passphrase, ttlMs) => this.#unlockFor(keyId, passphrase, ttlMs),
      lock: async (keyId) => (keyId === undefined ? this.#unlocked.clear() : Number(this.#unlocked.drop(keyId))),
      unlockedCount: async () => this.#unlocked.size,
    };
    // A look of its own: what is known of the legacy layouts may be half a second old.
    const look = () => new KeyDirectory(directory.path, { mayBeMissing: options.mayBeMissing ?? false });
    this.archiver = {
      backup: (passphrase, context) => backUp(look(), passphrase, this.#onUnreadable, context),
      restore: async (archive, passphrase, restoring, context) => {
        const restore = () => restoreInto(look(), archive, passphrase, restoring, context);
        const report = await (restoring.dryRun ? restore() : this.#rewrites(restore));
        if (!restoring.dryRun) for (const keyId of report.replaced.filter(isKeyId)) this.#unlocked.drop(keyId);
        return report;
      },
    };
    this.relabeller = { relabel: (keyId, owner) => this.#relabel(keyId, owner) };
    this.passphrases = {
      changePassphrase: (keyId, passphrase, context) => this.#changePassphrase(keyId, passphrase, context),
    };
  }

  /** @throws {SignetError} CONFIGURATION if the directory is unsafe, UNAVAILABLE if it cannot be used */
  static async open(options: FileBackendOptions): Promise<FileBackend> {
    const { mayBeMissing = false } = options;
    const directory = new KeyDirectory(options.path, { mayBeMissing });
    if (!mayBeMissing) await directory.create();
    const backend = new FileBackend(directory, options);
    // Not awaited: a directory of 100 000 keys must not delay the start.
    void removeAbandonedFiles(options.path).catch(() => undefined);
    return backend;
  }

  async health(): Promise<BackendHealth> {
    try {
      await this.#directory.check();
      return { ready: true };
    } catch (error) {
      return { ready: false, reason: (error as Error).message };
    }
  }

  async *list(): AsyncIterable<KeyInfo> {
    for await (const file of this.#directory.list(this.#onUnreadable)) yield this.#describe(file);
  }

  count(): Promise<number> {
    return this.#directory.count();
  }

  async find(keyId: KeyId): Promise<KeyInfo | undefined> {
    const open = await this.#current(keyId);
    if (open !== undefined) return open.facts.info;
    const file = await this.#directory.find(keyId);
    return file === undefined ? undefined : this.#describe(file);
  }

  async publicKey(keyId: KeyId, context: SignContext): Promise<PublicKey> {
    return (await this.#open(keyId, context)).facts.info.publicKey;
  }

  async sign(keyId: KeyId, input: SignInput, context: SignContext): Promise<Uint8Array> {
    const open = await this.#open(keyId, context);
    throwIfCancelled(context);
    context.onStart?.();
    return open.key.sign(input);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unlocked[Symbol.dispose]();
  }

  /** Public facts of a file; the public half only while the key is open. */
  #describe(file: KeyFile): KeyInfo {
    const { keyId, role, gun, path: location } = file;
    const open = this.#unlocked.peek(keyId);
    const needs = { pin: false, touch: false, passphrase: file.pem.sealed };
    return { keyId, role, gun, location, needs, ...(open && { publicKey: open.facts.info.publicKey }) };
  }

  /** The key if it is open and its file is unchanged. A changed file closes it. */
  async #current(keyId: KeyId): Promise<Open | undefined> {
    const open = this.#unlocked.get(keyId);
    if (open === undefined) return undefined;
    const now = performance.now();
    if (now - open.facts.checkedAt < REVALIDATE_MS) return open;
    // Set before the answer: of many callers at once, one looks.
    open.facts.checkedAt = now;
    const isCurrent = await this.#directory.isCurrent(open.facts.file).catch((error: unknown) => {
      open.facts.checkedAt = Number.NEGATIVE_INFINITY; // not looked at: the next caller is told as well
      throw error;
    });
    // Locked, evicted or replaced meanwhile: then this key is disposed of.
    if (this.#unlocked.peek(keyId) !== open) return undefined;
    if (isCurrent) return open;
    this.#unlocked.drop(keyId);
    return undefined;
  }

  async #open(keyId: KeyId, context: SignContext): Promise<Open> {
    const open = await this.#current(keyId);
    if (open !== undefined) return open;
    if (context.interaction !== undefined) return this.#openFromDisk(keyId, context);
    // Without a person to ask, every caller gets the same answer: derive once for all of them.
    return this.#opening.run(keyId, () => this.#openFromDisk(keyId, context));
  }

  async #openFromDisk(keyId: KeyId, context: SignContext): Promise<Open> {
    const file = await this.#mustFind(keyId);
    const key = file.pem.sealed ? await this.#unseal(file, context) : await openKeyPem(file.pem, undefined);
    return this.#keep(file, key);
  }

  async #unseal(file: KeyFile, context: SignContext): Promise<PrivateKey> {
    if (context.interaction === undefined) this.#refusals.check(file);
    const candidates = await this.#passphrases.candidates(file);
    try {
      for (const passphrase of candidates) {
        const key = await this.#try(file, passphrase);
        if (key !== undefined) return key;
      }
    } finally {
      for (const passphrase of candidates) passphrase.dispose();
    }
    let tried = candidates.length;
    using remembered = await this.#passphrases.remembered?.(file.keyId);
    if (remembered !== undefined) {
      tried++;
      const key = await this.#try(file, remembered);
      if (key !== undefined) return key;
      await this.#passphrases.forget?.(file.keyId);
    }
    for (let attempt = 0; attempt < MAX_QUESTIONS; attempt++) {
      using passphrase = await context.interaction?.passphrase(file, attempt, context.signal);
      throwIfCancelled(context);
      if (passphrase === undefined) {
        if (attempt === 0 && context.interaction !== undefined) tried = 0; // what the person did not give is what is missing
        break;
      }
      tried++;
      const key = await this.#try(file, passphrase);
      if (key !== undefined) return key;
    }
    if (tried === 0) {
      const hint = 'unlock the key first';
      throw new SignetError('PASSPHRASE_REQUIRED', `${file.path} needs a passphrase`, { hint });
    }
    const hint = 'unlock the key, or configure the passphrase it was sealed with';
    const refusal = new SignetError('PASSPHRASE_INCORRECT', `no passphrase at hand opens ${file.path}`, { hint });
    this.#refusals.remember(file, refusal);
    throw refusal;
  }

  /** @returns Undefined if the passphrase is not the right one. */
  async #try(file: KeyFile, passphrase: Secret): Promise<PrivateKey | undefined> {
    try {
      return await this.#derivations(() => openKeyPem(file.pem, passphrase));
    } catch (error) {
      if (error instanceof SignetError && error.code === 'PASSPHRASE_INCORRECT') return undefined;
      throw error;
    }
  }

  #keep(file: KeyFile, key: PrivateKey, limitMs?: number): Open {
    const { keyId, role, gun, path: location } = file;
    checkIdentity(file, key);
    const needs = { pin: false, touch: false, passphrase: file.pem.sealed };
    const info = { keyId, role, gun, location, needs, publicKey: key.publicKey };
    return this.#unlocked.put(keyId, key, { file, info, checkedAt: file.readAt }, limitMs);
  }

  async #unlockFor(keyId: KeyId, passphrase: Secret, ttlMs: number | undefined): Promise<void> {
    const file = await this.#mustFind(keyId);
    const key = await this.#derivations(() => openKeyPem(file.pem, file.pem.sealed ? passphrase : undefined));
    this.#keep(file, key, ttlMs);
  }

  async #store(
    key: PrivateKey,
    request: ImportRequest,
    context: SignContext,
  ): Promise<KeyInfo & { readonly publicKey: PublicKey }> {
    try {
      await this.#directory.prepare();
      if ((await this.#directory.find(key.keyId)) !== undefined) {
        throw new SignetError('KEY_EXISTS', `key ${key.keyId} exists in ${this.location}`);
      }
      const text = await this.#seal(key, request, request.passphrase, context);
      throwIfCancelled(context);
      await createFileDurably(this.#directory.pathOf(key.keyId), text);
      const file = await this.#mustFind(key.keyId);
      return this.#keep(file, key).facts.info;
    } catch (error) {
      key.dispose();
      throw error;
    }
  }

  async #export(keyId: KeyId, context: SignContext): Promise<string> {
    const file = await this.#mustFind(keyId);
    if (file.pem.sealed) return exported(file.pem.block, file);
    const { key } = await this.#open(keyId, context);
    const text = await this.#seal(key, file, undefined, context);
    return exported(readKeyPem(Buffer.from(text)).block, file);
  }

  async #changePassphrase(keyId: KeyId, given: Secret | undefined, context: SignContext): Promise<void> {
    const file = await this.#mustFind(keyId);
    // Not `#open`: that an unlocked key can be used does not mean that whoever uses it knows its passphrase.
    using key = file.pem.sealed ? await this.#unseal(file, context) : await openKeyPem(file.pem, undefined);
    checkIdentity(file, key);
    using asked = given === undefined ? await context.interaction?.newPassphrase(file, context.signal) : undefined;
    const passphrase = given ?? asked;
    if (passphrase === undefined) {
      throw new SignetError('PASSPHRASE_REQUIRED', `no new passphrase for ${file.path} was given`);
    }
    const text = await this.#derivations(() => sealKeyPem(key, file, passphrase, this.#iterations));
    throwIfCancelled(context);
    await this.#replace(file, text);
    await this.#passphrases.forget?.(keyId); // it was the old one
  }

  async #relabel(keyId: KeyId, owner: Pick<KeyInfo, 'role' | 'gun'>): Promise<KeyInfo> {
    const file = await this.#mustFind(keyId);
    await this.#replace(file, relabelled(file, owner, { isLegacy: file.path !== this.#directory.pathOf(keyId) }));
    return this.#describe(await this.#mustFind(keyId));
  }

  async #replace(file: KeyFile, text: string): Promise<void> {
    await this.#directory.verify();
    const isCurrent = () => this.#directory.isCurrent(file);
    const replaced = await this.#rewrites(() => replaceFileDurably(file.path, text, isCurrent));
    this.#unlocked.drop(file.keyId);
    if (replaced) return;
    throw new SignetError('UNAVAILABLE', `another program changed ${file.path} meanwhile`, { hint: 'try again' });
  }

  get #iterations(): number {
    return this.#passphrases.kdfIterations ?? KDF_ITERATIONS;
  }

  /** @param given A person's passphrase for this key; the caller disposes of it. */
  async #seal(
    key: PrivateKey,
    owner: Pick<KeyInfo, 'role' | 'gun'>,
    given: Secret | undefined,
    context: SignContext,
  ): Promise<string> {
    if (given !== undefined) return this.#derivations(() => sealKeyPem(key, owner, given, this.#iterations));
    const { role, gun } = owner;
    const source = await this.#passphrases.forNewKey({ keyId: key.keyId, role, gun }, context);
    using passphrase = source.passphrase;
    return await this.#derivations(() => sealKeyPem(key, owner, passphrase, source.iterations));
  }

  async #remove(keyId: KeyId): Promise<boolean> {
    this.#unlocked.drop(keyId);
    let removed = false;
    // The current and the legacy layout may both hold a copy; the key is gone when neither does.
    for (const path of await this.#directory.locate(keyId)) removed = (await removeFileDurably(path)) || removed;
    this.#unlocked.drop(keyId); // a signature under way may have opened it again
    return removed;
  }

  async #mustFind(keyId: KeyId): Promise<KeyFile> {
    const file = await this.#directory.find(keyId);
    if (file === undefined) throw new SignetError('KEY_NOT_FOUND', `no key ${keyId} in ${this.location}`);
    return file;
  }
}

/** Disposes of a key that is not the one its file is named after. @throws {SignetError} INTEGRITY */
function checkIdentity(file: KeyFile, key: PrivateKey): void {
  if (key.keyId === file.keyId) return;
  key.dispose();
  throw new SignetError('INTEGRITY', `${file.path} holds another key than its name says`);
}
