/**
 * Keys that are open: bounded in number (roughly the least recently used goes first) and in time; dropped keys are disposed
 * of.
 *
 * Shared by the homes that seal keys in software. Time is a parameter, so that tests need not wait.
 */
import type { KeyId } from '../crypto/key-id.ts';
import type { PrivateKey } from '../crypto/private-key.ts';

export interface UnlockedKey<Facts> {
  readonly key: PrivateKey;
  /** What the home wants to remember beside the key: where it came from, when it was checked. */
  readonly facts: Facts;
}

interface Slot<Facts> extends UnlockedKey<Facts> {
  expiresAt: number;
  /** Set: use prolongs the time (passphrase at hand anyway). Unset: a person's time limit, which use does not move. */
  readonly slidingMs: number | undefined;
}

export interface UnlockedKeysOptions {
  readonly max: number;
  readonly ttlMs: number;
  /** Milliseconds of a clock that nobody sets: setting the wall clock back must not keep keys open. */
  readonly now?: () => number;
}

/** How often expired keys are looked for, in milliseconds. A key is never *used* after its time. */
const SWEEP_MS = 1000;

export class UnlockedKeys<Facts> implements Disposable {
  readonly #slots = new Map<KeyId, Slot<Facts>>();
  readonly #max: number;
  readonly #ttlMs: number;
  readonly #now: () => number;
  readonly #sweeper: NodeJS.Timeout;

  constructor(options: UnlockedKeysOptions) {
    this.#max = options.max;
    this.#ttlMs = options.ttlMs;
    this.#now = options.now ?? (() => performance.now());
    this.#sweeper = setInterval(() => this.sweep(), SWEEP_MS);
    this.#sweeper.unref();
  }

  get size(): number {
    return this.#slots.size;
  }

  get(keyId: KeyId): UnlockedKey<Facts> | undefined {
    const slot = this.#slots.get(keyId);
    if (slot === undefined) return undefined;
    const now = this.#now();
    if (slot.expiresAt <= now) {
      this.drop(keyId);
      return undefined;
    }
    if (slot.slidingMs !== undefined) slot.expiresAt = now + slot.slidingMs;
    // Re-inserting keeps the map in order of use; with few keys the order does not matter and the cost is spared.
    if (this.#slots.size > this.#max / 2) {
      this.#slots.delete(keyId);
      this.#slots.set(keyId, slot);
    }
    return slot;
  }

  /** As `get`, but neither prolongs the key's time nor counts as use. */
  peek(keyId: KeyId): UnlockedKey<Facts> | undefined {
    const slot = this.#slots.get(keyId);
    return slot === undefined || slot.expiresAt <= this.#now() ? undefined : slot;
  }

  /**
   * Takes over `key`.
   *
   * @param limitMs A person's time limit, counted from now; undefined: the configured time, prolonged by each use.
   */
  put(keyId: KeyId, key: PrivateKey, facts: Facts, limitMs?: number): UnlockedKey<Facts> {
    this.drop(keyId);
    while (this.#slots.size >= this.#max) {
      const [oldest] = this.#slots.keys();
      if (oldest === undefined) break;
      this.drop(oldest);
    }
    const slot: Slot<Facts> = {
      key,
      facts,
      expiresAt: this.#now() + (limitMs ?? this.#ttlMs),
      slidingMs: limitMs === undefined ? this.#ttlMs : undefined,
    };
    this.#slots.set(keyId, slot);
    return slot;
  }

  /** @returns Whether the key was open. */
  drop(keyId: KeyId): boolean {
    const slot = this.#slots.get(keyId);
    if (slot === undefined) return false;
    this.#slots.delete(keyId);
    slot.key.dispose();
    return true;
  }

  /** @returns How many keys were open. */
  clear(): number {
    const count = this.#slots.size;
    for (const keyId of [...this.#slots.keys()]) this.drop(keyId);
    return count;
  }

  /** Drops what has expired. */
  sweep(): void {
    const now = this.#now();
    for (const [keyId, slot] of this.#slots) if (slot.expiresAt <= now) this.drop(keyId);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#sweeper);
    this.clear();
  }
}
