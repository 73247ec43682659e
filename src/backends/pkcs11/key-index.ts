/**
 * What is on the token, by key ID. Rebuilt from the token alone; a key that another program made or removed is noticed
 * within `MAX_AGE_MS`.
 */
import type { KeyObject } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { type KeyId, keyIdOf } from '../../crypto/key-id.ts';
import { type PublicKey, toKeyObject } from '../../crypto/public-key.ts';
import { SignetError } from '../../errors.ts';
import type { KeyInfo } from '../backend.ts';
import { SingleFlight } from '../single-flight.ts';
import type { PinPolicy, WhichToken } from '../token-facts.ts';
import { CKF_TOKEN } from './constants.ts';
import type { TokenHooks } from './hooks.ts';
import { ANSWERS, type KeyFacts, type TokenFacts } from './host-protocol.ts';
import { parseLabel } from './label.ts';
import { decodeAttributes, publicKeyFromAttributes } from './public-object.ts';
import type { AttachedToken, TokenConnection } from './token-connection.ts';
import { formatPkcs11Uri } from './uri.ts';

export interface KeyRecord {
  readonly info: KeyInfo;
  /** Where the key was read. */
  readonly token: WhichToken;
  readonly publicKey: PublicKey;
  /** The same, ready to verify with; made at first use. */
  readonly verifier: () => KeyObject;
  /** Hex. */
  readonly ckaId: string;
  /** Whether the key wants the PIN for each signature; undefined where that was not seen without a login. */
  readonly alwaysAuthenticate: boolean | undefined;
}

export interface KeyIndexOptions {
  readonly onUnreadable: (what: string, error: SignetError) => void;
  readonly prepare?: TokenHooks['prepare'];
  readonly describe?: TokenHooks['describe'];
}

/** How old an answer "no such key" may be, milliseconds. The daemon's health checks keep the index younger than that. */
const MAX_AGE_MS = 5000;
/** How much longer than a reading took its result serves, so that a token of many objects has time for other work. */
const AGE_PER_READING = 20;
/** Keys that are looked at between two turns of the event loop. */
const KEYS_AT_ONCE = 100;

export class KeyIndex {
  readonly #connection: TokenConnection;
  readonly #options: KeyIndexOptions;
  readonly #flights = new SingleFlight<'all' | 'changes', void>();
  readonly #reported = new Set<string>();
  #records = new Map<KeyId, KeyRecord>();
  /** Which attachment the records are from. */
  #source: AttachedToken | undefined;
  #readAt = Number.NEGATIVE_INFINITY;
  #readingMs = 0;

  constructor(connection: TokenConnection, options: KeyIndexOptions) {
    this.#connection = connection;
    this.#options = options;
  }

  get size(): number {
    return this.#records.size;
  }

  values(): Iterable<KeyRecord> {
    return this.#records.values();
  }

  get(keyId: KeyId): KeyRecord | undefined {
    return this.#records.get(keyId);
  }

  /**
   * One look-up in memory; asks the token if the index is old and lacks the key, or if the token is a new one.
   *
   * @throws {SignetError} TOKEN_NOT_PRESENT, UNAVAILABLE
   */
  async find(keyId: KeyId): Promise<KeyRecord | undefined> {
    // Other programs were given the device: a mere look does not take it back.
    if (this.#connection.isReleased) return this.#records.get(keyId);
    const isCurrent = this.#source !== undefined && this.#source === this.#connection.attached;
    const known = isCurrent ? this.#records.get(keyId) : undefined;
    if (known !== undefined || (isCurrent && this.#isYoung)) return known;
    await this.refreshIfChanged();
    return this.#records.get(keyId);
  }

  /** @throws {SignetError} KEY_NOT_FOUND, and as `find` */
  async require(keyId: KeyId): Promise<KeyRecord> {
    const record = await this.find(keyId);
    if (record === undefined) throw new SignetError('KEY_NOT_FOUND', `no key ${keyId} in ${this.#connection.name}`);
    return record;
  }

  /** Reads all keys of the token. @throws {SignetError} TOKEN_NOT_PRESENT, UNAVAILABLE */
  refresh(): Promise<void> {
    return this.#flights.run('all', () => this.#read(false));
  }

  /** Reads them if the token's objects are not those of the last time. @throws {SignetError} as `refresh` */
  refreshIfChanged(): Promise<void> {
    return this.#flights.run('changes', () => this.#read(true));
  }

  /** As `refreshIfChanged`, or a mere look whether the token is there if that takes too much of its time. */
  async refreshIfDue(): Promise<void> {
    const attached = await this.#connection.attach();
    const isResting = performance.now() - this.#readAt < AGE_PER_READING * this.#readingMs;
    if (attached !== this.#source || !isResting) await this.refreshIfChanged();
    else ({ value: attached.state } = await attached.host.request({ op: 'state' }, { parse: ANSWERS.state }));
  }

  get #isYoung(): boolean {
    return performance.now() - this.#readAt < Math.max(MAX_AGE_MS, this.#readingMs * AGE_PER_READING);
  }

  /** The next look-up reads anew. */
  expire(): void {
    this.#source = undefined;
  }

  /** @throws {SignetError} INTEGRITY, UNSUPPORTED for a key that we cannot use */
  add(facts: KeyFacts): KeyRecord {
    const { attached } = this.#connection;
    if (attached === undefined) throw new SignetError('UNAVAILABLE', `${this.#connection.name} went away`);
    const record = this.#recordOf(facts, attached);
    if (record === undefined) throw new SignetError('INTERNAL', `a new key on ${this.#connection.name} is left out`);
    this.#records.set(record.info.keyId, record);
    return record;
  }

  delete(keyId: KeyId): void {
    this.#records.delete(keyId);
  }

  async #read(onlyChanges: boolean): Promise<void> {
    const attached = await this.#connection.attach();
    const startedAt = performance.now();
    const ifChanged = onlyChanges && attached === this.#source;
    const { value: keys } = await attached.host.request({ op: 'keys', ifChanged }, { parse: ANSWERS.keys });
    if (keys !== undefined) {
      await this.#options.prepare?.(attached, keys);
      this.#records = await this.#recordsOf(keys, attached);
    }
    this.#source = attached;
    this.#readAt = performance.now();
    this.#readingMs = this.#readAt - startedAt;
  }

  async #recordsOf(keys: readonly KeyFacts[], attached: AttachedToken): Promise<Map<KeyId, KeyRecord>> {
    const records = new Map<KeyId, KeyRecord>();
    for (const [index, facts] of keys.entries()) {
      if (index % KEYS_AT_ONCE === KEYS_AT_ONCE - 1) await setImmediate(); // others have calls to make
      if (facts.hasPrivate === false) continue; // somebody's trust anchor
      try {
        const record = this.#recordOf(facts, attached);
        if (record !== undefined && !records.has(record.info.keyId)) records.set(record.info.keyId, record);
      } catch (error) {
        this.#report(facts, attached.facts, error);
      }
    }
    return records;
  }

  #recordOf(facts: KeyFacts, { facts: token, state }: AttachedToken): KeyRecord | undefined {
    const publicKey = publicKeyFromAttributes(decodeAttributes(facts));
    const { alwaysAuthenticate } = facts;
    const pin = (state.flags & CKF_TOKEN.LOGIN_REQUIRED) !== 0;
    const told: KeyInfo = {
      keyId: keyIdOf(publicKey),
      ...parseLabel(Buffer.from(facts.label, 'base64')),
      location: locationOf(facts, token),
      needs: { pin, touch: false, passphrase: false },
      publicKey,
      device: {
        serial: token.serial,
        label: token.label,
        ...(alwaysAuthenticate === undefined ? {} : { pinPolicy: pinPolicyOf(alwaysAuthenticate, pin) }),
      },
    };
    const { describe } = this.#options;
    const info = describe === undefined ? told : describe(told, facts);
    if (info === undefined) return undefined;
    const ckaId = Buffer.from(facts.ckaId, 'base64').toString('hex');
    // Modules may go by the slot, not by the policy that the key was made with.
    const pinPolicy = info.device?.pinPolicy;
    const wantsPin = pinPolicy === undefined ? alwaysAuthenticate : pinPolicy === 'always';
    let made: KeyObject | undefined;
    const verifier = () => {
      made ??= toKeyObject(publicKey);
      return made;
    };
    return { info, token, publicKey, verifier, ckaId, alwaysAuthenticate: wantsPin };
  }

  /** Once for each object, not at each reading. */
  #report(facts: KeyFacts, token: TokenFacts, error: unknown): void {
    const what = locationOf(facts, token);
    if (this.#reported.has(what) || !(error instanceof SignetError)) return;
    this.#reported.add(what);
    this.#options.onUnreadable(what, error);
  }
}

function locationOf({ ckaId }: KeyFacts, { label: token, serial }: TokenFacts): string {
  const id = Buffer.from(ckaId, 'base64');
  return formatPkcs11Uri({ token, serial, type: 'private', ...(id.length === 0 ? {} : { id }) });
}

function pinPolicyOf(alwaysAuthenticate: boolean, needsLogin: boolean): PinPolicy {
  if (alwaysAuthenticate) return 'always';
  return needsLogin ? 'once' : 'never';
}
