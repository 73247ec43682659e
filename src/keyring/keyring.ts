/** The ordered backends as one: finds a key wherever it lives, places a new one where the rules say. */
import type { BackendHealth, KeyBackend, KeyInfo, KeyRequest, SignContext } from '../backends/backend.ts';
import type { KeyId } from '../crypto/key-id.ts';
import type { PublicKey } from '../crypto/public-key.ts';
import type { Secret } from '../crypto/secret.ts';
import { SignetError } from '../errors.ts';
import { type Placement, placesFor } from './placement.ts';

/** A key and the backend that holds it. */
export interface LocatedKey {
  readonly info: KeyInfo;
  readonly backend: KeyBackend;
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
            hint: `use one of: ${['storage', ...backends.map((backend) => backend.name)].join(', ')}`,
          });
        }
      }
    }
  }

  /**
   * @returns Undefined only if every backend answered that it has no such key.
   * @throws {SignetError} the failure of a backend that could not be asked, if no other one has the key
   */
  async find(keyId: KeyId): Promise<LocatedKey | undefined> {
    let failure: unknown;
    for (const backend of this.backends) {
      try {
        const info = await backend.find(keyId);
        if (info !== undefined) return { info, backend };
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
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

  /** Every key; a key that two backends hold is given twice. @throws {SignetError} if a backend cannot be listed */
  async *list(): AsyncIterable<LocatedKey> {
    for (const backend of this.backends) for await (const info of backend.list()) yield { info, backend };
  }

  /**
   * Makes a key in the first backend of the role's rule. A backend that fails is not passed over: that would be a
   * silent fall-back from hardware to file.
   */
  async generate(request: KeyRequest, context: SignContext): Promise<LocatedKey & { readonly publicKey: PublicKey }> {
    for (const name of placesFor(this.#placement, request.role)) {
      for (const backend of this.#named(name)) {
        if (!backend.generator?.algorithms.includes(request.algorithm)) continue;
        const info = await backend.generator.generate(request, context);
        return { info, backend, publicKey: info.publicKey };
      }
    }
    throw new SignetError(
      'UNSUPPORTED',
      `no configured backend makes ${request.algorithm} keys for role "${request.role}"`,
    );
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

  /** @returns How many keys were open. */
  async lock(keyId?: KeyId): Promise<number> {
    let locked = 0;
    for (const { unlocker } of this.backends) locked += (await unlocker?.lock(keyId)) ?? 0;
    return locked;
  }

  /** How many keys are open in memory. */
  async unlockedCount(): Promise<number> {
    let open = 0;
    for (const { unlocker } of this.backends) open += (await unlocker?.unlockedCount()) ?? 0;
    return open;
  }

  async health(): Promise<readonly { readonly backend: KeyBackend; readonly health: BackendHealth }[]> {
    return Promise.all(this.backends.map(async (backend) => ({ backend, health: await backend.health() })));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const backend of this.backends) await backend[Symbol.asyncDispose]();
  }

  #named(name: string): readonly KeyBackend[] {
    return name === 'storage' ? [this.storage] : this.backends.filter((backend) => backend.name === name);
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
