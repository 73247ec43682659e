import type { AttestationAuthorities } from '../../crypto/attestation-authorities.ts';
import type { KeyId } from '../../crypto/key-id.ts';
import type { PublicKey } from '../../crypto/public-key.ts';
import type { SignInput } from '../../crypto/sign-input.ts';
import type {
  BackendHealth,
  KeyAttester,
  KeyBackend,
  KeyCertifier,
  KeyGenerator,
  KeyImporter,
  KeyInfo,
  KeyRelabeller,
  KeyRemover,
  KeyRequest,
  KeyUnlocker,
  SignContext,
  TokenManager,
} from '../backend.ts';
import type { KeyPlace, TokenHooks } from '../pkcs11/hooks.ts';
import { Pkcs11Backend, type Pkcs11Options } from '../pkcs11/pkcs11-backend.ts';
import type { AttachedToken } from '../pkcs11/token-connection.ts';
import { CachedTouch } from './cached-touch.ts';
import { KeyDescriptions } from './key-description.ts';
import { KeyRecords } from './key-records.ts';
import { mechanismsOfDevice } from './library.ts';
import { type ManagementKeyOptions, obtainManagementKey } from './management-key.ts';
import { ckaIdOfSlot, type PivSlot } from './piv-slots.ts';
import { Presence } from './presence.ts';
import { RetryCounterReader } from './retry-counters.ts';
import { chooseSlot, policiesBeside, policyAttributes } from './slot-choice.ts';
import { SlotWriter } from './slot-writer.ts';
import { nameOfYubikey } from './uri.ts';
import { listenToUsb } from './usb-events.ts';
import { parseYubicoVersion } from './versions.ts';
import { YubikeyAttester } from './yubikey-attester.ts';
import { YubikeyTokenManager } from './yubikey-token-manager.ts';

export interface YubikeyOptions extends Omit<Pkcs11Options, 'uri' | 'backendName' | 'hooks' | 'name'> {
  /** Decimal, as printed on the device; undefined: the only one that is plugged in. */
  readonly serial: string | undefined;
  /** Yubico's library, absolute. */
  readonly modulePath: string;
  /** File with the management key in hex, absolute; undefined: the factory's, or a person's. */
  readonly managementKeyFile?: string | undefined;
  /** Whose attestations are believed; undefined: nothing is said about whether they are true. */
  readonly authorities?: AttestationAuthorities | undefined;
  /** Roles whose new keys must be attested as made on the device. */
  readonly requireAttestation?: readonly string[];
  /** usb-watcher.js; for tests, which run from the sources. */
  readonly usbWatcher?: string | undefined;
  /** How often the YubiKey is looked for, milliseconds; each second by default. */
  readonly lookEveryMs?: number | undefined;
  /** The clock, for certificates. */
  readonly now?: () => Date;
}

export class YubikeyBackend implements KeyBackend {
  readonly name = 'yubikey';
  readonly token: TokenManager;
  readonly unlocker: KeyUnlocker;
  readonly generator: KeyGenerator;
  readonly importer: KeyImporter;
  readonly remover: KeyRemover;
  readonly relabeller: KeyRelabeller;
  readonly certifier: KeyCertifier;
  readonly attester: KeyAttester;
  readonly #base: Pkcs11Backend;
  readonly #touches = new CachedTouch();
  readonly #presence: Presence;
  readonly #usb: Disposable;

  private constructor(
    base: Pkcs11Backend,
    descriptions: KeyDescriptions,
    records: KeyRecords,
    options: YubikeyOptions,
  ) {
    this.#base = base;
    const { now = currentTime, requireAttestation = [] } = options;
    this.attester = new YubikeyAttester({
      home: base,
      records,
      authorities: options.authorities,
      now,
    });
    const { onEvent, env = {}, usbWatcher: entry, lookEveryMs } = options;
    this.#presence = new Presence({
      look: () => base.look(),
      isThere: base.connection.attached !== undefined,
      lookEveryMs,
      onChange: (isThere) => {
        if (!isThere) this.#touches.forget();
        onEvent(`${base.location} ${isThere ? 'is there' : 'was taken out'}`);
      },
    });
    const listener = { onEvent: () => this.#presence.hint(), onState: (what: string) => onEvent(what) };
    this.#usb = listenToUsb(listener, env, entry);
    this.token = new YubikeyTokenManager(base.token, { connection: base.connection, login: base.login });
    this.unlocker = base.unlocker;
    const slots = new SlotWriter({
      base,
      descriptions,
      managementKey: managementKeyOptions(options),
      requireAttestation,
      now,
      env,
      sign: (...args) => this.sign(...args),
    });
    this.generator = slots.generator;
    this.importer = slots.importer;
    this.remover = slots.remover;
    this.relabeller = slots.relabeller;
    this.certifier = slots.certifier;
  }

  /**
   * A YubiKey that is not there is no failure: it may be plugged in later, and `health()` tells.
   *
   * @throws {SignetError} CONFIGURATION if the library cannot be loaded, several YubiKeys match, or a file cannot be read
   */
  static async open(options: YubikeyOptions): Promise<YubikeyBackend> {
    const { serial, modulePath, authorities, now = currentTime, env } = options;
    const named = serial === undefined ? {} : { serial };
    const records = new KeyRecords(options.stateDirectory, options.onEvent);
    if (serial !== undefined) await records.load(serial);
    const descriptions = new KeyDescriptions({ authorities, now, records, env });
    const counters = new RetryCounterReader();
    const hooks: TokenHooks = {
      prepare: (token, keys) => descriptions.prepare(token, keys),
      describe: (info, facts) => descriptions.describe(info, facts),
      mechanismsOf: mechanismsOfDevice,
      writerPin: (context, access) => obtainManagementKey(context, access, managementKeyOptions(options)),
      place: (request, token) => placeOf(request, token, (slot) => descriptions.isFree(token, slot)),
      retryCounters: (token) => counters.read({ token: token.facts, env, isLoggedIn: () => token.state.loggedIn }),
      importPlace: (request, token) => placeOf(request, token, (slot) => descriptions.isFree(token, slot)),
    };
    const uri = { ...named, modulePath };
    const name = nameOfYubikey(named);
    const base = await Pkcs11Backend.open({ ...options, uri, name, backendName: 'yubikey', hooks });
    return new YubikeyBackend(base, descriptions, records, options);
  }

  get location(): string {
    return this.#base.location;
  }

  /** The token host's process, for operators and tests; undefined while there is none. */
  get hostPid(): number | undefined {
    return this.#base.hostPid;
  }

  health(): Promise<BackendHealth> {
    return this.#base.health();
  }

  list(): AsyncIterable<KeyInfo> {
    return this.#base.list();
  }

  count(): Promise<number> {
    return this.#base.count();
  }

  find(keyId: KeyId): Promise<KeyInfo | undefined> {
    return this.#base.find(keyId);
  }

  publicKey(keyId: KeyId): Promise<PublicKey> {
    return this.#base.publicKey(keyId);
  }

  async sign(keyId: KeyId, input: SignInput, context: SignContext): Promise<Uint8Array> {
    const key = await this.#base.find(keyId);
    const signature = await this.#base.sign(keyId, input, this.#touches.contextFor(key, context));
    if (key?.device?.touchPolicy === 'cached') this.#touches.noteSigned(keyId);
    return signature;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#presence[Symbol.dispose]();
    this.#usb[Symbol.dispose]();
    await this.#base[Symbol.asyncDispose]();
  }
}

function managementKeyOptions({ managementKeyFile: file, env = {} }: YubikeyOptions): ManagementKeyOptions {
  return { file, env };
}

async function placeOf(
  { device = {} }: Pick<KeyRequest, 'device'>,
  token: AttachedToken,
  isFree: (slot: PivSlot) => Promise<boolean>,
): Promise<KeyPlace> {
  const library = parseYubicoVersion(token.module.version);
  const slot = await chooseSlot(device, isFree);
  const extra = policyAttributes(policiesBeside(slot, device), library);
  return { ckaId: ckaIdOfSlot(slot), extra };
}

function currentTime(): Date {
  return new Date();
}
