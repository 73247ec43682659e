/** The keys of the token that a host serves; private ones are found by CKA_ID, their handles kept. */
import { randomBytes } from 'node:crypto';
import { keyIdOf } from '../../crypto/key-id.ts';
import { SignetError } from '../../errors.ts';
import { ckrOf } from './ckr.ts';
import { CKA, CKF_TOKEN, CKK, CKO, CKR } from './constants.ts';
import type { Cryptoki, Handle } from './cryptoki.ts';
import type { HostRequest, KeyFacts, KeyName, TokenFacts } from './host-protocol.ts';
import { generationOf } from './key-kinds.ts';
import { keyClass, privateTemplate, privateValues, publicTemplate, publicValues } from './key-templates.ts';
import type { ModuleProfile } from './profile.ts';
import { decodeAttributes, publicKeyFromAttributes } from './public-object.ts';
import { TokenLost, TokenSession } from './token-session.ts';

/** Long enough for any digest, shorter than what makes modules fail in ways of their own. */
const MAX_DIGEST_BYTES = 66;

type Signing = Extract<HostRequest, { op: 'sign' }>;
type Generation = Extract<HostRequest, { op: 'generate' }>;
type Importing = Extract<HostRequest, { op: 'import' }>;

interface PrivateKey {
  readonly handle: Handle;
  /** CKA_ALWAYS_AUTHENTICATE. */
  readonly wantsPin: boolean;
}

export class HostToken {
  readonly session: TokenSession;
  readonly #privateKeys = new Map<string, PrivateKey>();
  /** The handles of the last listing, to tell whether anything changed. */
  #listed: string | undefined;
  /** Of the session, when handles were last worth something. */
  #epoch = 0;

  private constructor(session: TokenSession) {
    this.session = session;
  }

  /** @throws {SignetError} TOKEN_NOT_PRESENT if the slot does not hold that very token */
  static attach(
    cryptoki: Cryptoki,
    wanted: Pick<TokenFacts, 'slotId' | 'serial' | 'label'>,
    profile: ModuleProfile,
  ): { readonly token: HostToken; readonly slot: Handle } {
    for (const slot of cryptoki.slots()) {
      const facts = cryptoki.tokenFacts(slot);
      if (facts.slotId !== wanted.slotId) continue;
      if (facts.serial !== wanted.serial || facts.label !== wanted.label) continue;
      return { token: new HostToken(new TokenSession(cryptoki, slot, facts, profile)), slot };
    }
    throw new TokenLost('TOKEN_NOT_PRESENT', `the token "${wanted.label}" has left its slot`);
  }

  /** @returns Null if `ifChanged` and the token has the same objects as at the last time. */
  keys(ifChanged: boolean): KeyFacts[] | null {
    // A vanished token answers with an empty list and no error: that must not look like deleted keys.
    this.session.look();
    const publicKeys = this.session.find(CKO.PUBLIC_KEY);
    const { isLoggedIn } = this.session;
    const privateKeys = isLoggedIn ? this.session.find(CKO.PRIVATE_KEY) : [];
    const listed = [isLoggedIn, ...publicKeys.map(hex), '', ...privateKeys.map(hex)].join(' ');
    if (ifChanged && listed === this.#listed) return null;
    this.#privateKeys.clear();
    const privateById = new Map(
      privateKeys.map((key) => {
        const { id, wantsPin } = this.#privateFacts(key);
        return [id, wantsPin] as const;
      }),
    );
    const keys = publicKeys.map((key) => {
      const facts = this.#keyFacts(key);
      if (!isLoggedIn) return { ...facts, hasPrivate: null };
      const alwaysAuthenticate =
        privateById.get(Buffer.from(facts.ckaId, 'base64').toString('hex')) ??
        privateById.get(keyIdOfFacts(facts) ?? 'none');
      return { ...facts, hasPrivate: alwaysAuthenticate !== undefined, alwaysAuthenticate };
    });
    this.session.look();
    this.#listed = listed;
    return keys;
  }

  /** The token makes the key; its CKA_ID becomes Notary's key ID, unless it is a place on the token. */
  generate({ kind, label, place, extra = [] }: Omit<Generation, 'op'>, soPin: Uint8Array | undefined): KeyFacts {
    // The key ID follows from the key, so that the pair begins with an ID that nothing else has.
    const id = place === undefined ? randomBytes(32) : Buffer.from(place, 'base64');
    const name = { id, label: Buffer.from(label, 'base64') };
    const { cryptoki, handle, profile } = this.session;
    const [mechanism, numbers] = generationOf(kind, profile);
    return this.session.asWriter(soPin, () => {
      const pair = cryptoki.generateKeyPair(
        handle,
        mechanism,
        [...numbers, ...publicTemplate(name, profile.refusedAtGeneration)],
        [...privateTemplate(name, profile.refusedAtGeneration), ...extra],
      );
      try {
        this.#requireSealed(pair.privateKey);
        return this.#nameByKeyId(pair.publicKey, pair.privateKey);
      } catch (error) {
        this.session.destroyQuietly(pair.privateKey);
        this.session.destroyQuietly(pair.publicKey);
        throw error;
      }
    });
  }

  /** @param parts As `privateKeyParts` gives them. */
  import(
    { key, extra = [] }: Omit<Importing, 'op'>,
    parts: readonly Uint8Array[],
    soPin: Uint8Array | undefined,
  ): KeyFacts {
    const name = { id: Buffer.from(key.ckaId, 'base64'), label: Buffer.from(key.label, 'base64') };
    const { cryptoki, handle, profile } = this.session;
    const numbers = publicValues(key, profile);
    const refused = new Set<number>(profile.refusedAtImport.map((attribute) => CKA[attribute]));
    return this.session.asWriter(soPin, () => {
      const publicKey = profile.importsPublicHalf
        ? cryptoki.create(handle, [
            ...keyClass(CKO.PUBLIC_KEY, key.keyType),
            ...numbers,
            ...publicTemplate(name, profile.refusedAtImport),
          ])
        : undefined;
      try {
        const privateKey = cryptoki.create(handle, [
          ...keyClass(CKO.PRIVATE_KEY, key.keyType),
          ...[...numbers, ...privateValues(key.keyType, parts)].filter(
            ([type]) => type !== CKA.EC_POINT && !refused.has(type),
          ),
          ...privateTemplate(name, profile.refusedAtImport),
          ...extra,
        ]);
        return publicKey === undefined ? { ...key, hasPrivate: true } : this.#pairFacts(publicKey, privateKey);
      } catch (error) {
        if (publicKey !== undefined) this.session.destroyQuietly(publicKey);
        throw error;
      }
    });
  }

  /** Both halves. @returns False if there was no private one. */
  remove(name: KeyName, soPin: Uint8Array | undefined): boolean {
    return this.session.asWriter(soPin, () => {
      const { cryptoki, handle } = this.session;
      const privateKey = this.#findPrivate(name);
      const publicKeys = this.#publicHalves(name);
      this.#privateKeys.delete(name.ckaId);
      this.#listed = undefined;
      if (privateKey !== undefined) cryptoki.destroy(handle, privateKey);
      for (const key of publicKeys) cryptoki.destroy(handle, key);
      return privateKey !== undefined;
    });
  }

  /** Gives both halves another label. @throws {SignetError} KEY_NOT_FOUND, PIN_REQUIRED, UNSUPPORTED */
  relabel(name: KeyName, label: Buffer): KeyFacts {
    const privateKey = this.#findPrivate(name);
    const [publicKey, ...more] = this.#publicHalves(name);
    if (privateKey === undefined || publicKey === undefined) throw this.#noKey(name);
    try {
      // Public first: that is the one whose label is read.
      for (const half of [publicKey, ...more, privateKey]) {
        this.session.cryptoki.setAttribute(this.session.handle, half, CKA.LABEL, label);
      }
    } catch (error) {
      if (!isReadOnly(error)) throw error;
      throw new SignetError('UNSUPPORTED', `the keys on ${this.session.name} cannot be given another label`, {
        cause: error,
      });
    }
    this.#listed = undefined;
    return this.#pairFacts(publicKey, privateKey);
  }

  /** @param pin Of keys that want it for each signature. @returns A view that the next signature overwrites. */
  sign(
    name: KeyName,
    { scheme, isTouchless, isPinless }: Pick<Signing, 'scheme' | 'isTouchless' | 'isPinless'>,
    data: Buffer,
    pin: Uint8Array | undefined,
  ): Buffer {
    if (scheme === 'ecdsa' && (data.length === 0 || data.length > MAX_DIGEST_BYTES)) {
      throw new SignetError('INVALID_ARGUMENT', `no digest has ${data.length} bytes`);
    }
    if (pin !== undefined) this.session.checkPinLength(pin);
    // Its copy may be an old one by now, and the try the last: a login that has ended is begun anew by who knows the PIN.
    if (this.session.profile.presentsPinAgain) this.#requireLogin();
    for (let attempt = 0; ; attempt++) {
      const key = this.#privateKey(name);
      if (key.wantsPin && !isPinless && pin === undefined) {
        throw new SignetError(
          'PIN_REQUIRED',
          `key ${name.keyId} on ${this.session.name} wants the PIN for each signature`,
        );
      }
      try {
        return this.session.cryptoki.sign(this.session.handle, key.handle, scheme, data, pin);
      } catch (error) {
        this.#privateKeys.delete(name.ckaId);
        const ckr = ckrOf(error);
        const isStale = ckr === CKR.OBJECT_HANDLE_INVALID || ckr === CKR.KEY_HANDLE_INVALID;
        if (ckr === CKR.USER_NOT_LOGGED_IN) throw this.#notAllowed(error, isTouchless);
        if (pin !== undefined && !isStale) {
          this.session.renew(); // the operation is still open
          throw isAboutPin(ckr) ? this.session.pinFailure(error, 'signing') : error;
        }
        if (!isStale || attempt > 0) throw error;
        this.session.renew();
      }
    }
  }

  #privateKey(name: KeyName): PrivateKey {
    if (this.#epoch !== this.session.epoch) {
      this.#privateKeys.clear();
      this.#listed = undefined;
      this.#epoch = this.session.epoch;
    }
    const known = this.#privateKeys.get(name.ckaId);
    if (known !== undefined) return known;
    const handle = this.#findPrivate(name);
    if (handle === undefined) throw this.#noKey(name);
    const key = { handle, wantsPin: this.#privateFacts(handle).wantsPin };
    this.#privateKeys.set(name.ckaId, key);
    return key;
  }

  /** CKA_ID in hex, and whether the key wants the PIN for each signature. */
  #privateFacts(privateKey: Handle): { readonly id: string; readonly wantsPin: boolean } {
    const [id, wantsPin] = this.session.readAll(privateKey, [CKA.ID, CKA.ALWAYS_AUTHENTICATE]);
    return { id: id?.toString('hex') ?? '', wantsPin: (wantsPin?.[0] ?? 0) !== 0 };
  }

  /** "Not logged in" from a token that is: it waited for a touch (YubiKey), or somebody else ended the login. */
  #notAllowed(error: unknown, isTouchless: boolean): unknown {
    const { session } = this;
    session.renew(); // the operation may still be open
    if (!session.profile.hasTouch || !session.isLoggedIn) return error;
    if (isTouchless) {
      session.logout(); // another program selected the card's application, which the module does not know
      return error;
    }
    return new SignetError('TOUCH_TIMEOUT', `${session.name} was not touched in time (CKR_USER_NOT_LOGGED_IN)`, {
      hint: 'touch it when it blinks',
      cause: error,
    });
  }

  #requireSealed(privateKey: Handle): void {
    const { session } = this;
    if (session.read(privateKey, CKA.EXTRACTABLE)[0] !== 0 || session.read(privateKey, CKA.SENSITIVE)[0] === 0) {
      throw new SignetError('UNSUPPORTED', `${session.name} makes keys that can be extracted`);
    }
  }

  /** @throws {SignetError} PIN_REQUIRED unless the token can be used now */
  #requireLogin(): void {
    const { flags, loggedIn } = this.session.state();
    if ((flags & CKF_TOKEN.LOGIN_REQUIRED) === 0 || loggedIn) return;
    throw new SignetError('PIN_REQUIRED', `${this.session.name} needs its PIN`);
  }

  #noKey({ keyId }: KeyName): SignetError {
    this.#requireLogin();
    return new SignetError('KEY_NOT_FOUND', `no key ${keyId} on ${this.session.name}`);
  }

  /** By CKA_ID, or by the ID that the key was about to get when an earlier host ended. */
  #findPrivate({ ckaId, keyId }: KeyName): Handle | undefined {
    for (const id of new Set([ckaId, keyId])) {
      const found = this.session.find(CKO.PRIVATE_KEY, [[CKA.ID, Buffer.from(id, 'hex')]]);
      if (found.length > 1) {
        const problem = `${found.length} private keys on ${this.session.name} have the CKA_ID ${id}`;
        throw new SignetError('CONFIGURATION', problem, { hint: 'give each key an ID of its own, with pkcs11-tool' });
      }
      if (found[0] !== undefined) return found[0];
    }
    return undefined;
  }

  #publicHalves({ ckaId, keyId }: KeyName): Handle[] {
    const found = this.session.find(CKO.PUBLIC_KEY, [[CKA.ID, Buffer.from(ckaId, 'hex')]]);
    return found.filter((key) => keyIdOfFacts(this.#keyFacts(key)) === keyId);
  }

  #nameByKeyId(publicKey: Handle, privateKey: Handle): KeyFacts {
    const keyId = keyIdOfFacts(this.#keyFacts(publicKey));
    if (keyId === undefined) throw new SignetError('INTEGRITY', 'the token made a key that it cannot describe');
    const { cryptoki, handle, profile } = this.session;
    if (profile.ckaId === 'place') return this.#pairFacts(publicKey, privateKey);
    try {
      // Private first: if the second step does not happen, the private half is still found by the key ID.
      for (const half of [privateKey, publicKey]) {
        cryptoki.setAttribute(handle, half, CKA.ID, Buffer.from(keyId, 'hex'));
      }
    } catch (error) {
      if (!isReadOnly(error)) throw error;
    }
    return this.#pairFacts(publicKey, privateKey);
  }

  #pairFacts(publicKey: Handle, privateKey: Handle): KeyFacts {
    return {
      ...this.#keyFacts(publicKey),
      hasPrivate: true,
      alwaysAuthenticate: this.#privateFacts(privateKey).wantsPin,
    };
  }

  /** Other programs make keys that a module does not know: libykcs11 2.2.0 fails at an Ed25519 key, here only. */
  #keyType(key: Handle): number {
    try {
      const type = this.session.read(key, CKA.KEY_TYPE);
      return type.length < 4 ? UNKNOWN_TYPE : type.readUInt32LE(0);
    } catch (error) {
      if (ckrOf(error) === CKR.FUNCTION_FAILED) return UNKNOWN_TYPE;
      throw error;
    }
  }

  #keyFacts(key: Handle): Omit<KeyFacts, 'hasPrivate'> {
    const [id, label] = this.session.readAll(key, [CKA.ID, CKA.LABEL]);
    const keyType = this.#keyType(key);
    const common = { ckaId: id?.toString('base64') ?? '', label: label?.toString('base64') ?? '', keyType };
    if (keyType === CKK.RSA) {
      const [modulus, publicExponent] = this.session.readAll(key, [CKA.MODULUS, CKA.PUBLIC_EXPONENT]);
      return { ...common, modulus: modulus?.toString('base64'), publicExponent: publicExponent?.toString('base64') };
    }
    if (keyType !== CKK.EC && keyType !== CKK.EC_EDWARDS) return common;
    const [ecParams, ecPoint] = this.session.readAll(key, [CKA.EC_PARAMS, CKA.EC_POINT]);
    return { ...common, ecParams: ecParams?.toString('base64'), ecPoint: ecPoint?.toString('base64') };
  }
}

/** For a key whose type nobody knows: CK_UNAVAILABLE_INFORMATION, as far as we need it. */
const UNKNOWN_TYPE = 0xffffffff;

function isReadOnly(error: unknown): boolean {
  const ckr = ckrOf(error);
  return ckr === CKR.ATTRIBUTE_READ_ONLY || ckr === CKR.FUNCTION_NOT_SUPPORTED || ckr === CKR.ACTION_PROHIBITED;
}

function isAboutPin(ckr: number | undefined): boolean {
  return ckr === CKR.PIN_INCORRECT || ckr === CKR.PIN_LOCKED || ckr === CKR.PIN_LEN_RANGE || ckr === CKR.PIN_INVALID;
}

function hex(bytes: Buffer): string {
  return bytes.toString('hex');
}

function keyIdOfFacts(facts: Omit<KeyFacts, 'hasPrivate'>): string | undefined {
  try {
    return keyIdOf(publicKeyFromAttributes(decodeAttributes(facts)));
  } catch {
    return undefined; // not a key that we can use
  }
}
