/** The ordered backends as one: finds a key wherever it lives, places a new one where the rules say. */
import type {
  BackendHealth,
  ImportRequest,
  KeyBackend,
  KeyInfo,
  KeyKindRequest,
  KeyRequest,
  SignContext,
} from '../backends/backend.ts';
import { LATE, orLate } from '../backends/deadline.ts';
import { derivedContext } from '../backends/derived-context.ts';
import type { WhichToken } from '../backends/token-facts.ts';
import type { KeyId } from '../crypto/key-id.ts';
import { PrivateKey } from '../crypto/private-key.ts';
import type { PublicKey } from '../crypto/public-key.ts';
import type { Secret } from '../crypto/secret.ts';
import { SignetError } from '../errors.ts';
import { type Placement, placesFor } from './placement.ts';
import { checkFits, isToken, locations, type Narrowed, narrow, type Target } from './target.ts';

/** What an RSA key may be asked for in. */
const MODULUS_BITS = [2048, 3072, 4096] as const;
/** How long a look-up waits for one backend before it asks the next one as well, milliseconds. */
const PATIENCE_MS = 1000;

/** A key and the backend that holds it. */
export interface LocatedKey {
  readonly info: KeyInfo;
  readonly backend: KeyBackend;
}

export interface CreatedKey extends LocatedKey {
  readonly publicKey: PublicKey;
  /** Homes that come before in the rule, and make no such keys: whoever asked is to be told. */
  readonly passedOver: readonly KeyBackend[];
}

export interface Removal {
  /** Whether a backend had the key. */
  readonly removed: boolean;
  /** Backends that could not be asked, and may hold another copy. */
  readonly unasked: readonly { readonly backend: KeyBackend; readonly error: SignetError }[];
}

export interface KeyringOptions {
  /** In order of preference: where two hold the same key, the first is used. */
  readonly backends: readonly KeyBackend[];
  /** The backend that `storage` stands for in `placement`. */
  readonly storage: KeyBackend;
  readonly placement: Placement;
}

export class Keyring implements AsyncDisposable {
  readonly backends: readonly KeyBackend[];
  /** What `storage` stands for in `placement`. */
  readonly storage: KeyBackend;
  readonly #placement: Placement;

  /** @throws {SignetError} CONFIGURATION if a placement rule names a backend that is not there */
  constructor({ backends, storage, placement }: KeyringOptions) {
    this.backends = backends;
    this.storage = storage;
    this.#placement = placement;
    for (const [role, names] of placement) {
      for (const name of names) {
        if (this.#named(name).length === 0) {
          throw new SignetError('CONFIGURATION', `placement of "${role}" names "${name}", which is not configured`, {
            hint: `use one of: ${this.#names().join(', ')}`,
          });
        }
      }
    }
  }

  /**
   * Asks one backend after the other. One that takes long (a token that is being attached, or hangs) keeps nobody from the
   * keys of the others; it is waited for if none of them has the key.
   *
   * @returns Undefined only if every backend answered that it has no such key.
   * @throws {SignetError} the failure of a backend that could not be asked, if no other one has the key
   */
  async find(keyId: KeyId): Promise<LocatedKey | undefined> {
    const failures: unknown[] = [];
    const slow: Promise<LocatedKey | undefined>[] = [];
    const last = this.backends.at(-1);
    for (const backend of this.backends) {
      const looking = lookIn(backend, keyId);
      try {
        // After the last one there is nobody else to ask: no timer for keys in the storage.
        const located = await (backend === last ? looking : orLate(looking, PATIENCE_MS));
        if (located === LATE) slow.push(looking);
        else if (located !== undefined) return located;
      } catch (error) {
        failures.push(error);
      }
    }
    for (const looking of slow) {
      try {
        const located = await looking;
        if (located !== undefined) return located;
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
    return undefined;
  }

  /** @throws {SignetError} KEY_NOT_FOUND, or the failure of a backend that could not be asked */
  async locate(keyId: KeyId): Promise<LocatedKey> {
    const located = await this.find(keyId);
    if (located === undefined) throw new SignetError('KEY_NOT_FOUND', `no key ${keyId}`);
    return located;
  }

  /** The public half, unlocking the key if it must be. */
  async publicKey(located: LocatedKey, context: SignContext): Promise<PublicKey> {
    return located.info.publicKey ?? (await located.backend.publicKey(located.info.keyId, context));
  }

  /**
   * Every key; a key that two backends hold is given twice. Those on a token that is not plugged in are left out: it is
   * told beside the tokens (`TokenManager.status`).
   *
   * @throws {SignetError} if another backend cannot be listed
   */
  async *list(): AsyncIterable<LocatedKey> {
    for (const backend of this.backends) {
      try {
        for await (const info of backend.list()) yield { info, backend };
      } catch (error) {
        if (!isToken(backend) || !(error instanceof SignetError) || error.code !== 'TOKEN_NOT_PRESENT') throw error;
      }
    }
  }

  /**
   * Makes a key in the first home of the role's rule that makes such keys, or where `target` says. A home that fails is not
   * passed over: that would be a silent fall-back from hardware to file.
   *
   * @throws {SignetError} UNSUPPORTED, TOKEN_NOT_PRESENT, INVALID_ARGUMENT for a home that is not configured, or as the home
   */
  async generate(request: KeyRequest, context: SignContext, target: Target = {}): Promise<CreatedKey> {
    const { homes, which } = await this.#homesFor(request.role, target);
    const chosen = homes.findIndex((home) => makes(home, request));
    const backend = homes[chosen];
    if (backend?.generator === undefined)
      throw incapable(`makes ${kindText(request)}`, request.role, homes, sizesOf(request, homes));
    checkFits(backend, request);
    const { generator } = backend;
    const info = await insteadOf(homes.slice(chosen + 1), () => generator.generate(request, about(which, context)));
    return { info, backend, publicKey: info.publicKey, passedOver: homes.slice(0, chosen) };
  }

  /**
   * Stores a key made elsewhere. A token takes one only if the caller named it: keys on tokens are made there.
   *
   * @param pkcs8 DER PrivateKeyInfo; neither kept nor changed.
   * @throws {SignetError} KEY_EXISTS also if another home has the key, else as `generate`
   */
  async import(
    pkcs8: Uint8Array,
    request: ImportRequest,
    context: SignContext,
    target: Target = {},
  ): Promise<CreatedKey> {
    const isNamed = target.backend !== undefined || target.serial !== undefined || target.token !== undefined;
    const { homes: rule, which } = await this.#homesFor(request.role, target);
    const homes = isNamed ? rule : rule.filter((home) => !isToken(home));
    const [backend] = homes.filter(({ importer }) => importer !== undefined);
    if (backend?.importer === undefined) throw incapable('takes imported keys', request.role, homes);
    checkFits(backend, request);
    await this.#refuseSecondCopy(pkcs8);
    const info = await backend.importer.import(pkcs8, request, about(which, context));
    return { info, backend, publicKey: info.publicKey, passedOver: [] };
  }

  /**
   * Removes a key from every backend that holds it. One that is away stops nobody from deleting the keys of the others.
   *
   * @throws {SignetError} the failure of a backend that could not be asked, if no other one had the key; any other failure
   */
  async remove(keyId: KeyId, context: SignContext): Promise<Removal> {
    let removed = false;
    const unasked: Removal['unasked'][number][] = [];
    for (const backend of this.backends) {
      try {
        removed = (await removeFrom(backend, keyId, context)) || removed;
      } catch (error) {
        if (!isAway(error)) throw error;
        unasked.push({ backend, error });
      }
    }
    if (!removed && unasked[0] !== undefined) throw unasked[0].error;
    return { removed, unasked };
  }

  /** @throws {SignetError} KEY_NOT_FOUND, PASSPHRASE_INCORRECT, UNSUPPORTED if the key is not sealed by a passphrase */
  async unlock(keyId: KeyId, passphrase: Secret, ttlMs: number | undefined): Promise<void> {
    const { backend } = await this.locate(keyId);
    if (backend.unlocker === undefined) {
      throw new SignetError('UNSUPPORTED', `keys in ${backend.location} are not sealed by a passphrase`);
    }
    await backend.unlocker.unlock(keyId, passphrase, ttlMs);
  }

  /**
   * Every backend is locked, also if another one fails.
   *
   * @returns How many keys were open.
   * @throws {SignetError} the first failure
   */
  async lock(keyId?: KeyId): Promise<number> {
    const outcomes = await Promise.allSettled(this.backends.map(async ({ unlocker }) => unlocker?.lock(keyId)));
    let locked = 0;
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') throw outcome.reason;
      locked += outcome.value ?? 0;
    }
    return locked;
  }

  /** How many keys are open in memory. */
  async unlockedCount(): Promise<number> {
    let open = 0;
    for (const { unlocker } of this.backends) open += (await unlocker?.unlockedCount()) ?? 0;
    return open;
  }

  /** Lets go of every token, so that other programs can have them. @returns Each, with what went wrong if something did */
  async release(): Promise<readonly { readonly backend: KeyBackend; readonly error?: unknown }[]> {
    return Promise.all(
      this.backends.filter(isToken).map(async (backend) => {
        try {
          await backend.token?.release();
          return { backend };
        } catch (error) {
          return { backend, error };
        }
      }),
    );
  }

  async health(): Promise<readonly { readonly backend: KeyBackend; readonly health: BackendHealth }[]> {
    return Promise.all(this.backends.map(async (backend) => ({ backend, health: await backend.health() })));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const backend of this.backends) await backend[Symbol.asyncDispose]();
  }

  async #refuseSecondCopy(pkcs8: Uint8Array): Promise<void> {
    using key = PrivateKey.fromPkcs8(pkcs8);
    for (const backend of this.backends) {
      // A token that is not plugged in does not stop the import; the home that takes the key looks for itself.
      const present = await backend.find(key.keyId).catch(() => undefined);
      if (present === undefined) continue;
      throw new SignetError('KEY_EXISTS', `key ${key.keyId} is in ${present.location} already`, {
        hint: 'remove it first, if this one is to take its place',
      });
    }
  }

  async #homesFor(role: string, target: Target): Promise<Narrowed> {
    const { backend, serial, token } = target;
    if (backend !== undefined && this.#named(backend).length === 0) {
      const isToken = backend === 'yubikey' || backend === 'pkcs11';
      throw new SignetError('INVALID_ARGUMENT', `no backend ${JSON.stringify(backend)} is configured`, {
        hint: `${isToken ? 'add the token to "tokens", or ' : ''}use one of: ${this.#names().join(', ')}`,
      });
    }
    // A token says enough: then the rule has no say.
    const namesToken = serial !== undefined || token !== undefined;
    const names = backend !== undefined ? [backend] : namesToken ? undefined : placesFor(this.#placement, role);
    const homes = names?.flatMap((name) => this.#named(name)) ?? this.backends;
    return narrow(homes, target, role);
  }

  #names(): readonly string[] {
    return [...new Set(['storage', ...this.backends.map(({ name }) => name)])];
  }

  #named(name: string): readonly KeyBackend[] {
    return name === 'storage' ? [this.storage] : this.backends.filter((backend) => backend.name === name);
  }
}

async function lookIn(backend: KeyBackend, keyId: KeyId): Promise<LocatedKey | undefined> {
  const info = await backend.find(keyId);
  return info === undefined ? undefined : { info, backend };
}

/** The same call, of that token alone. */
function about(token: WhichToken | undefined, context: SignContext): SignContext {
  return token === undefined ? context : derivedContext(context, { token });
}

function makes({ generator }: KeyBackend, kind: KeyKindRequest): boolean {
  return generator?.makes?.(kind) ?? generator?.algorithms.includes(kind.algorithm) ?? false;
}

function kindText({ algorithm, curve, modulusBits }: KeyKindRequest): string {
  if (modulusBits !== undefined) return `${algorithm} keys of ${modulusBits} bits`;
  return curve === undefined ? `${algorithm} keys` : `${algorithm} keys on ${curve}`;
}

/** In which other sizes the homes make RSA keys, as the end of a hint. */
function sizesOf({ algorithm }: KeyKindRequest, homes: readonly KeyBackend[]): string {
  if (algorithm !== 'rsa') return '';
  const sizes = MODULUS_BITS.filter((modulusBits) => homes.some((home) => makes(home, { algorithm, modulusBits })));
  return sizes.length === 0 ? '' : `; of rsa they make ${sizes.join(' and ')} bits`;
}

function incapable(what: string, role: string, homes: readonly KeyBackend[], more = ''): SignetError {
  const places = [...new Set(homes.map(({ name }) => name))].join(', ') || 'none';
  return new SignetError('UNSUPPORTED', `no configured backend ${what} for role "${role}"`, {
    hint: `the role's backends are: ${places}${more}`,
  });
}

/** A home that cannot be used now fails the call; the error says where else the key may go, and leaves that to the caller. */
async function insteadOf<Result>(others: readonly KeyBackend[], make: () => Promise<Result>): Promise<Result> {
  try {
    return await make();
  } catch (error) {
    if (!isAway(error) || others.length === 0) throw error;
    const { code, message, hint, cause } = error;
    const [tokens, stores] = [others.filter(isToken), others.filter((home) => !isToken(home))];
    const names = [
      ...(tokens.length === 0 ? [] : [`the token: ${locations(tokens)}`]),
      ...(stores.length === 0 ? [] : [`the backend: ${stores.map(({ name }) => name).join(' or ')}`]),
    ];
    const elsewhere = `to make the key elsewhere, name ${names.join(', or ')}`;
    throw new SignetError(code, message, { hint: hint === undefined ? elsewhere : `${hint}; ${elsewhere}`, cause });
  }
}

async function removeFrom(backend: KeyBackend, keyId: KeyId, context: SignContext): Promise<boolean> {
  if (backend.remover !== undefined) return await backend.remover.remove(keyId, context);
  if ((await backend.find(keyId)) === undefined) return false;
  throw new SignetError('UNSUPPORTED', `keys in ${backend.location} cannot be removed`);
}

/** Whether a backend has not looked for the key at all, for all we know. */
function isAway(error: unknown): error is SignetError {
  return error instanceof SignetError && (error.code === 'TOKEN_NOT_PRESENT' || error.code === 'UNAVAILABLE');
}
