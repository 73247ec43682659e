/**
 * What is remembered of a YubiKey's keys beside what it tells itself: owners whose certificate was replaced by another one,
 * attestations that can be shown while it is away, the policies that imported keys were given. A small file for each YubiKey, written again from the device when it is
 * lost; nothing in it is secret.
 */
import { join } from 'node:path';
import { isKeyId, type KeyId } from '../../crypto/key-id.ts';
import { SignetError } from '../../errors.ts';
import { createDirectory, readBoundedFile, replaceFileDurably } from '../durable-file.ts';
import type { Owner } from '../pkcs11/label.ts';
import { PIN_POLICIES, TOUCH_POLICIES } from '../token-facts.ts';
import { KEY_SLOTS, type PivSlot } from './piv-slots.ts';
import type { KeyPolicies } from './slot-choice.ts';

export interface KeyRecord {
  readonly slot: PivSlot;
  /** As a certificate of ours had it; undefined if there was none. */
  readonly owner: Owner | undefined;
  /** The attestation and the certificate of the attestation key, DER; empty without an attestation. */
  readonly chain: readonly Uint8Array[];
  /** Of a key that was imported here: no attestation tells them. */
  readonly policies?: KeyPolicies | undefined;
}

export type KeyRecordMap = ReadonlyMap<KeyId, KeyRecord>;

const VERSION = 1;
const MAX_BYTES = 1024 * 1024;

export class KeyRecords {
  readonly #directory: string | undefined;
  readonly #onEvent: (what: string, error?: unknown) => void;
  #serial: string | undefined;
  #records: KeyRecordMap = new Map();

  /** @param directory Undefined: nothing outlives this process. */
  constructor(directory: string | undefined, onEvent: (what: string, error?: unknown) => void) {
    this.#directory = directory;
    this.#onEvent = onEvent;
  }

  /** Of the YubiKey that was read last. */
  get(keyId: KeyId): KeyRecord | undefined {
    return this.#records.get(keyId);
  }

  /** A file that is missing or damaged is as good as an empty one: the device has everything that counts. */
  async load(serial: string): Promise<KeyRecordMap> {
    if (this.#serial === serial) return this.#records;
    this.#records = (await this.#read(serial)) ?? new Map();
    this.#serial = serial;
    return this.#records;
  }

  /** A file that cannot be written is told to the log alone. */
  async save(serial: string, records: KeyRecordMap): Promise<void> {
    const isSame = this.#serial === serial && format(serial, records) === format(serial, this.#records);
    this.#serial = serial;
    this.#records = records;
    if (isSame || this.#directory === undefined) return;
    try {
      await createDirectory(this.#directory, 0o700);
      await replaceFileDurably(this.#file(this.#directory, serial), format(serial, records), async () => true);
    } catch (error) {
      this.#onEvent(`what is known about the keys of YubiKey ${serial} cannot be written down`, error);
    }
  }

  async #read(serial: string): Promise<KeyRecordMap | undefined> {
    if (this.#directory === undefined) return undefined;
    const path = this.#file(this.#directory, serial);
    try {
      const content = await readBoundedFile(path, MAX_BYTES);
      return content && parse(content);
    } catch (error) {
      this.#onEvent(`${path} cannot be read and is made anew from the YubiKey`, error);
      return undefined;
    }
  }

  #file(directory: string, serial: string): string {
    // Serial numbers come from devices.
    return join(directory, `yubikey-${/^\d{1,10}$/.test(serial) ? serial : 'unknown'}.json`);
  }
}

function format(serial: string, records: KeyRecordMap): string {
  const keys = [...records].map(([keyId, { slot, owner, chain, policies }]) => ({
    keyId,
    slot,
    ...(owner === undefined ? {} : { role: owner.role, gun: owner.gun }),
    chain: chain.map((der) => Buffer.from(der).toString('base64')),
    ...policies,
  }));
  return `${JSON.stringify({ version: VERSION, serial, keys }, undefined, 2)}\n`;
}

/** @throws {SignetError} INTEGRITY for anything that we did not write */
function parse(content: Buffer): KeyRecordMap {
  const { version, keys } = JSON.parse(content.toString('utf8')) as { version?: unknown; keys?: unknown };
  if (version !== VERSION || !Array.isArray(keys)) throw damaged();
  return new Map(keys.map((key: unknown) => parseKey((key ?? {}) as Readonly<Record<string, unknown>>)));
}

function parseKey(record: Readonly<Record<string, unknown>>): [KeyId, KeyRecord] {
  const { keyId, slot, role, gun, chain, pinPolicy, touchPolicy } = record;
  const isChain = Array.isArray(chain) && chain.every((der) => typeof der === 'string');
  if (typeof keyId !== 'string' || !isKeyId(keyId) || typeof slot !== 'string' || !isChain) throw damaged();
  if (!KEY_SLOTS.includes(slot)) throw damaged();
  const owner = typeof role === 'string' && typeof gun === 'string' ? { role, gun } : undefined;
  const certificates = chain.map((der: string) => Buffer.from(der, 'base64'));
  return [keyId, { slot, owner, chain: certificates, policies: policiesIn(pinPolicy, touchPolicy) }];
}

function policiesIn(pin: unknown, touch: unknown): KeyPolicies | undefined {
  const pinPolicy = PIN_POLICIES.find((policy) => policy === pin);
  const touchPolicy = TOUCH_POLICIES.find((policy) => policy === touch);
  return pinPolicy === undefined || touchPolicy === undefined ? undefined : { pinPolicy, touchPolicy };
}

function damaged(): SignetError {
  return new SignetError('INTEGRITY', 'it is damaged');
}
