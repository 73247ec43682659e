/**
 * What is on the token, by key ID. Rebuilt from the token alone; a key that another program made or removed is noticed
 * within `MAX_AGE_MS`.
 */
import type { KeyObject } from 'node:crypto';
import { type KeyId, keyIdOf } from '../../crypto/key-id.ts';
import { type PublicKey, toKeyObject } from '../../crypto/public-key.ts';
import { SignetError } from '../../errors.ts';
import type { KeyInfo } from '../backend.ts';
import { SingleFlight } from '../single-flight.ts';
import { CKF_TOKEN } from './constants.ts';
import { ANSWERS, type KeyFacts, type TokenFacts } from './host-protocol.ts';
import { parseLabel } from './label.ts';
import { decodeAttributes, publicKeyFromAttributes } from './public-object.ts';
import type { AttachedToken, TokenConnection } from './token-connection.ts';
import { formatPkcs11Uri } from './uri.ts';

export interface KeyRecord {
  readonly info: KeyInfo;
  readonly publicKey: PublicKey;
  /** The same, ready to verify with. */
  readonly verifier: KeyObject;
  /** Hex. */
  readonly ckaId: string;
}

/** How old an answer "no such key" may be, milliseconds. The daemon's health checks keep the index younger than that. */
const MAX_AGE_MS = 5000;
/**
 * A token with thousands of objects takes long to look through, and signs nothing meanwhile: health checks leave it alone for
 * so many times as long.
 */
const REST = 20;
/** What a look-up waits for the token: the key may be in another home, whose callers must not wait for this one. */
const LOOK_UP_TIMEOUT_MS = 1000;

export class KeyIndex {
  readonly #connection: TokenConnection;
  readonly #onUnreadable: (what: string, error: SignetError) => void;
  readonly #flights = new SingleFlight<'all' | 'changes', void>();
  readonly #reported = new Set<string>();
  #records = new Map<KeyId, KeyRecord>();
  /** Which attachment the records are from. */
  #source: AttachedToken | undefined;
  #readAt = Number.NEGATIVE_INFINITY;
  /** How long the token took at the last reading, milliseconds. */
  #tookMs = 0;

  constructor(connection: TokenConnection, onUnreadable: (what: string, error: SignetError) => void) {
    this.#connection = connection;
    this.#onUnreadable = onUnreadable;
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
    const isCurrent = this.#source !== undefined && this.#source === this.#connection.attached;
    const known = isCurrent ? this.#records.get(keyId) : undefined;
    if (known !== undefined || (isCurrent && performance.now() - this.#readAt < MAX_AGE_MS)) return known;
    await this.#within(this.refreshIfChanged());
    return this.#records.get(keyId);
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
    const { attached } = this.#connection;
    const isResting = performance.now() - this.#readAt < REST * this.#tookMs;
    if (attached === undefined || attached !== this.#source || !isResting) await this.refreshIfChanged();
    else ({ value: attached.state } = await attached.host.request({ op: 'state' }, { parse: ANSWERS.state }));
  }

  /** The next look-up reads anew. */
  expire(): void {
    this.#source = undefined;
  }

  /** @throws {SignetError} INTEGRITY, UNSUPPORTED for a key that we cannot use */
  add(facts: KeyFacts): KeyRecord {
    const { attached } = this.#connection;
    if (attached === undefined) throw new SignetError('UNAVAILABLE', `${this.#connection.name} went away`);
    const record = recordOf(facts, attached);
    this.#records.set(record.info.keyId, record);
    return record;
  }

  delete(keyId: KeyId): void {
    this.#records.delete(keyId);
  }

  async #read(onlyChanges: boolean): Promise<void> {
    const attached = await this.#connection.attach();
    const ifChanged = onlyChanges && attached === this.#source;
    const startedAt = performance.now();
    const { value: keys } = await attached.host.request({ op: 'keys', ifChanged }, { parse: ANSWERS.keys });
    this.#tookMs = performance.now() - startedAt;
    if (keys !== undefined) this.#records = this.#recordsOf(keys, attached);
    this.#source = attached;
    this.#readAt = performance.now();
  }

  #recordsOf(keys: readonly KeyFacts[], attached: AttachedToken): Map<KeyId, KeyRecord> {
    const records = new Map<KeyId, KeyRecord>();
    for (const facts of keys) {
      if (facts.hasPrivate === false) continue; // somebody's trust anchor
      try {
        const record = recordOf(facts, attached);
        if (!records.has(record.info.keyId)) records.set(record.info.keyId, record);
      } catch (error) {
        this.#report(facts, attached.facts, error);
      }
    }
    return records;
  }

  /** Once for each object, not at each reading. */
  #report(facts: KeyFacts, token: TokenFacts, error: unknown): void {
    const what = locationOf(facts, token);
    if (this.#reported.has(what) || !(error instanceof SignetError)) return;
    this.#reported.add(what);
    this.#onUnreadable(what, error);
  }

  async #within(work: Promise<void>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new SignetError('UNAVAILABLE', `${this.#connection.name} does not answer`);
      timer = setTimeout(() => reject(error), LOOK_UP_TIMEOUT_MS);
    });
    try {
      await Promise.race([work, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

function recordOf(facts: KeyFacts, { facts: token, state }: AttachedToken): KeyRecord {
  const publicKey = publicKeyFromAttributes(decodeAttributes(facts));
  const keyId = keyIdOf(publicKey);
  const pin = (state.flags & CKF_TOKEN.LOGIN_REQUIRED) !== 0;
  const info: KeyInfo = {
    keyId,
    ...parseLabel(Buffer.from(facts.label, 'base64')),
    location: locationOf(facts, token),
    needs: { pin, touch: false, passphrase: false },
    publicKey,
  };
  return {
    info,
    publicKey,
    verifier: toKeyObject(publicKey),
    ckaId: Buffer.from(facts.ckaId, 'base64').toString('hex'),
  };
}

function locationOf({ ckaId }: KeyFacts, { label: token, serial }: TokenFacts): string {
  const id = Buffer.from(ckaId, 'base64');
  return formatPkcs11Uri({ token, serial, type: 'private', ...(id.length === 0 ? {} : { id }) });
}
