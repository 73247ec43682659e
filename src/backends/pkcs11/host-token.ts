/**
 * The token that a host serves: one session that holds the login, one that works and is replaced when an operation in it
 * got stuck, and the handles of private keys, found by CKA_ID.
 */
import { randomBytes } from 'node:crypto';
import { keyIdOf } from '../../crypto/key-id.ts';
import { curveByOpensslName } from '../../crypto/named-curves.ts';
import { SignetError } from '../../errors.ts';
import { ckrName, ckrOf, fromPkcs11Error } from './ckr.ts';
import { CKA, CKF_TOKEN, CKK, CKM, CKO, CKR } from './constants.ts';
import type { AttributeValue, Cryptoki, Handle, Template } from './cryptoki.ts';
import type { HostRequest, KeyFacts, KeyName, SignScheme, TokenFacts, TokenState } from './host-protocol.ts';
import { curveParams, decodeAttributes, ED25519_PARAMS, publicKeyFromAttributes } from './public-object.ts';

/** SP 800-57 part 1, table 2: as strong as P-256. */
const RSA_BITS = 3072;
const RSA_EXPONENT = Buffer.from('010001', 'hex');
/** Long enough for any digest, shorter than what makes modules fail in ways of their own. */
const MAX_DIGEST_BYTES = 66;

/** The token went away: the process that finds out is of no more use. */
export class TokenLost extends SignetError {}

export class HostToken {
  readonly #cryptoki: Cryptoki;
  readonly #slot: Handle;
  readonly #facts: TokenFacts;
  /** Holds the login: modules log out when the last session closes. */
  readonly #anchor: Handle;
  #session: Handle;
  readonly #privateKeys = new Map<string, Handle>();
  /** The handles of the last listing, to tell whether anything changed. */
  #listed: string | undefined;

  private constructor(cryptoki: Cryptoki, slot: Handle, facts: TokenFacts) {
    this.#cryptoki = cryptoki;
    this.#slot = slot;
    this.#facts = facts;
    this.#anchor = cryptoki.openSession(slot);
    this.#session = cryptoki.openSession(slot);
  }

  /** @throws {SignetError} TOKEN_NOT_PRESENT if the slot does not hold that very token */
  static attach(cryptoki: Cryptoki, wanted: Pick<TokenFacts, 'slotId' | 'serial' | 'label'>): HostToken {
    for (const slot of cryptoki.slots()) {
      const facts = cryptoki.tokenFacts(slot);
      if (facts.slotId !== wanted.slotId) continue;
      if (facts.serial === wanted.serial && facts.label === wanted.label) return new HostToken(cryptoki, slot, facts);
    }
    throw new TokenLost('TOKEN_NOT_PRESENT', `the token "${wanted.label}" has left its slot`);
  }

  /** Runs one operation: normalises its errors, and looks whether the token is still there after an unexpected one. */
  run<T>(what: string, operation: () => T): T {
    try {
      return operation();
    } catch (error) {
      const normal = fromPkcs11Error(error, `${what} on token "${this.#facts.label}" failed`);
      if (isExpected(normal)) throw normal;
      if (!this.#isThere()) throw this.#lost(error);
      this.#renewSession();
      throw normal;
    }
  }

  state(): TokenState {
    const facts = this.#look();
    return { flags: facts.flags, loggedIn: this.#cryptoki.isLoggedIn(this.#anchor) };
  }

  /** One try. @param pin Zeroed afterwards by the caller. */
  login(pin: Uint8Array): TokenState {
    try {
      this.#cryptoki.login(this.#anchor, pin);
    } catch (error) {
      const { flags } = this.#look();
      const what = `login to token "${this.#facts.label}" failed`;
      if ((flags & CKF_TOKEN.USER_PIN_LOCKED) !== 0) {
        throw new SignetError('PIN_LOCKED', `${what} (${nameOf(error)})`, { retriesLeft: 0, cause: error });
      }
      const isLast = (flags & CKF_TOKEN.USER_PIN_FINAL_TRY) !== 0;
      throw fromPkcs11Error(error, what, isLast ? { retriesLeft: 1 } : {});
    }
    this.#forgetHandles();
    return this.state();
  }

  logout(): TokenState {
    this.#cryptoki.logout(this.#anchor);
    this.#forgetHandles();
    return this.state();
  }

  /** @returns Null if `ifChanged` and the token has the same objects as at the last time. */
  keys(ifChanged: boolean): KeyFacts[] | null {
    // A vanished token answers with an empty list and no error: that must not look like deleted keys.
    this.#look();
    const publicKeys = this.#find(CKO.PUBLIC_KEY);
    const isLoggedIn = this.#cryptoki.isLoggedIn(this.#anchor);
    const privateKeys = isLoggedIn ? this.#find(CKO.PRIVATE_KEY) : [];
    const listed = [isLoggedIn, ...publicKeys.map(hex), '', ...privateKeys.map(hex)].join(' ');
    if (ifChanged && listed === this.#listed) return null;
    this.#privateKeys.clear();
    const privateIds = new Set(privateKeys.map((key) => hex(this.#read(key, CKA.ID))));
    const keys = publicKeys.map((key) => {
      const facts = this.#keyFacts(key);
      const ids = [Buffer.from(facts.ckaId, 'base64').toString('hex'), keyIdOfFacts(facts)];
      return { ...facts, hasPrivate: isLoggedIn ? ids.some((id) => id !== undefined && privateIds.has(id)) : null };
    });
    this.#look();
    this.#listed = listed;
    return keys;
  }

  /** The token makes the key; its CKA_ID becomes Notary's key ID. */
  generate(algorithm: Extract<HostRequest, { op: 'generate' }>['algorithm'], label: Buffer): KeyFacts {
    // The key ID follows from the key, so that the pair begins with an ID that nothing else has.
    const id = randomBytes(32);
    const [mechanism, publicTemplate] = generation(algorithm);
    const pair = this.#cryptoki.generateKeyPair(
      this.#session,
      mechanism,
      [...publicTemplate, ...commonPublic(id, label)],
      commonPrivate(id, label),
    );
    try {
      if (
        this.#read(pair.privateKey, CKA.EXTRACTABLE)[0] !== 0 ||
        this.#read(pair.privateKey, CKA.SENSITIVE)[0] === 0
      ) {
        throw new SignetError('UNSUPPORTED', `token "${this.#facts.label}" makes keys that can be extracted`);
      }
      return this.#nameByKeyId(pair.publicKey, pair.privateKey);
    } catch (error) {
      this.#destroyQuietly(pair.privateKey);
      this.#destroyQuietly(pair.publicKey);
      throw error;
    }
  }

  /** @param parts As `privateKeyParts` gives them. */
  import(key: Omit<KeyFacts, 'hasPrivate'>, parts: readonly Buffer[]): KeyFacts {
    const id = Buffer.from(key.ckaId, 'base64');
    const label = Buffer.from(key.label, 'base64');
    const attributes = publicTemplateOf(key);
    const publicKey = this.#cryptoki.create(this.#session, [
      [CKA.CLASS, CKO.PUBLIC_KEY],
      [CKA.KEY_TYPE, key.keyType],
      ...attributes,
      ...commonPublic(id, label),
    ]);
    try {
      this.#cryptoki.create(this.#session, [
        [CKA.CLASS, CKO.PRIVATE_KEY],
        [CKA.KEY_TYPE, key.keyType],
        ...attributes.filter(([type]) => type !== CKA.EC_POINT),
        ...privateValues(key.keyType, parts),
        ...commonPrivate(id, label),
      ]);
    } catch (error) {
      this.#destroyQuietly(publicKey);
      throw error;
    }
    return { ...this.#keyFacts(publicKey), hasPrivate: true };
  }

  /** Both halves. @returns False if there was no private one. */
  remove(name: KeyName): boolean {
    const privateKey = this.#findPrivate(name);
    const publicKeys = this.#find(CKO.PUBLIC_KEY, [[CKA.ID, Buffer.from(name.ckaId, 'hex')]]);
    this.#privateKeys.delete(name.ckaId);
    this.#listed = undefined;
    if (privateKey !== undefined) this.#cryptoki.destroy(this.#session, privateKey);
    for (const key of publicKeys) {
      if (keyIdOfFacts(this.#keyFacts(key)) === name.keyId) this.#cryptoki.destroy(this.#session, key);
    }
    return privateKey !== undefined;
  }

  /** @returns A view that the next signature overwrites. */
  sign(name: KeyName, scheme: SignScheme, data: Buffer): Buffer {
    if (scheme === 'ecdsa' && (data.length === 0 || data.length > MAX_DIGEST_BYTES)) {
      throw new SignetError('INVALID_ARGUMENT', `no digest has ${data.length} bytes`);
    }
    for (let attempt = 0; ; attempt++) {
      const key = this.#privateKeys.get(name.ckaId) ?? this.#findPrivate(name);
      if (key === undefined) throw this.#noKey(name);
      this.#privateKeys.set(name.ckaId, key);
      try {
        return this.#cryptoki.sign(this.#session, key, scheme, data);
      } catch (error) {
        this.#privateKeys.delete(name.ckaId);
        const ckr = ckrOf(error);
        const isStale = ckr === CKR.OBJECT_HANDLE_INVALID || ckr === CKR.KEY_HANDLE_INVALID;
        if (!isStale || attempt > 0) throw error;
        this.#renewSession();
      }
    }
  }

  #noKey({ keyId }: KeyName): SignetError {
    this.#look();
    const { flags, loggedIn } = this.state();
    if ((flags & CKF_TOKEN.LOGIN_REQUIRED) !== 0 && !loggedIn) {
      return new SignetError('PIN_REQUIRED', `token "${this.#facts.label}" needs its PIN`);
    }
    return new SignetError('KEY_NOT_FOUND', `no key ${keyId} on token "${this.#facts.label}"`);
  }

  /** By CKA_ID, or by the ID that the key was about to get when an earlier host ended. */
  #findPrivate({ ckaId, keyId }: KeyName): Handle | undefined {
    for (const id of new Set([ckaId, keyId])) {
      const found = this.#find(CKO.PRIVATE_KEY, [[CKA.ID, Buffer.from(id, 'hex')]]);
      if (found.length > 1) {
        const problem = `${found.length} private keys on token "${this.#facts.label}" have the CKA_ID ${id}`;
        throw new SignetError('CONFIGURATION', problem, { hint: 'give each key an ID of its own, with pkcs11-tool' });
      }
      if (found[0] !== undefined) return found[0];
    }
    return undefined;
  }

  #nameByKeyId(publicKey: Handle, privateKey: Handle): KeyFacts {
    const facts = this.#keyFacts(publicKey);
    const keyId = keyIdOfFacts(facts);
    if (keyId === undefined) throw new SignetError('INTEGRITY', 'the token made a key that it cannot describe');
    try {
      // Private first: if the second step does not happen, the private half is still found by the key ID.
      for (const half of [privateKey, publicKey]) {
        this.#cryptoki.setAttribute(this.#session, half, CKA.ID, Buffer.from(keyId, 'hex'));
      }
    } catch (error) {
      if (ckrOf(error) !== CKR.ATTRIBUTE_READ_ONLY && ckrOf(error) !== CKR.FUNCTION_NOT_SUPPORTED) throw error;
    }
    return { ...this.#keyFacts(publicKey), hasPrivate: true };
  }

  #keyFacts(key: Handle): Omit<KeyFacts, 'hasPrivate'> {
    const base64 = (type: number) => this.#cryptoki.attribute(this.#session, key, type)?.toString('base64');
    const keyType = this.#cryptoki.numberAttribute(this.#session, key, CKA.KEY_TYPE) ?? 0xffffffff;
    const common = { ckaId: base64(CKA.ID) ?? '', label: base64(CKA.LABEL) ?? '', keyType };
    if (keyType === CKK.RSA) {
      return { ...common, modulus: base64(CKA.MODULUS), publicExponent: base64(CKA.PUBLIC_EXPONENT) };
    }
    if (keyType !== CKK.EC && keyType !== CKK.EC_EDWARDS) return common;
    return { ...common, ecParams: base64(CKA.EC_PARAMS), ecPoint: base64(CKA.EC_POINT) };
  }

  #find(objectClass: Parameters<Cryptoki['find']>[1], more: Template = []): Handle[] {
    return this.#cryptoki.find(this.#session, objectClass, more);
  }

  #read(object: Handle, type: number): Buffer {
    return this.#cryptoki.attribute(this.#session, object, type) ?? Buffer.alloc(0);
  }

  #destroyQuietly(object: Handle): void {
    try {
      this.#cryptoki.destroy(this.#session, object);
    } catch {
      // the error that led here is the one to tell
    }
  }

  #forgetHandles(): void {
    this.#privateKeys.clear();
    this.#listed = undefined;
  }

  /** @throws {SignetError} TOKEN_NOT_PRESENT if the slot does not hold the token any more */
  #look(): TokenFacts {
    let facts: TokenFacts | undefined;
    try {
      facts = this.#cryptoki.tokenFacts(this.#slot);
    } catch (error) {
      throw this.#lost(error);
    }
    if (facts.serial !== this.#facts.serial || facts.label !== this.#facts.label) throw this.#lost(undefined);
    return facts;
  }

  #isThere(): boolean {
    try {
      this.#look();
      return this.#cryptoki.slots().some((slot) => slot.equals(this.#slot));
    } catch {
      return false;
    }
  }

  #lost(cause: unknown): TokenLost {
    const what = `token "${this.#facts.label}" is not there any more`;
    return new TokenLost('TOKEN_NOT_PRESENT', cause === undefined ? what : `${what} (${nameOf(cause)})`, { cause });
  }

  /** The only cure for an operation that a module keeps open. */
  #renewSession(): void {
    this.#forgetHandles();
    const old = this.#session;
    try {
      this.#session = this.#cryptoki.openSession(this.#slot);
      this.#cryptoki.closeSession(old);
    } catch {
      // sessions are scarce or the token is failing: the next operation tells
    }
  }
}

/** Answers after which sessions and handles are as good as before. */
function isExpected(error: SignetError): boolean {
  if (error.cause === undefined) return true; // ours
  return ['PIN_REQUIRED', 'PIN_INCORRECT', 'PIN_LOCKED', 'CONFIGURATION'].includes(error.code);
}

function nameOf(error: unknown): string {
  const ckr = ckrOf(error);
  return ckr === undefined ? 'no return value' : ckrName(ckr);
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

function publicTemplateOf(key: Omit<KeyFacts, 'hasPrivate'>): Template {
  const { ecParams, ecPoint, modulus, publicExponent } = decodeAttributes(key);
  const named: readonly (readonly [number, AttributeValue | undefined])[] = [
    [CKA.EC_PARAMS, ecParams],
    [CKA.EC_POINT, ecPoint],
    [CKA.MODULUS, modulus],
    [CKA.PUBLIC_EXPONENT, publicExponent],
  ];
  return named.flatMap(([type, value]) => (value === undefined ? [] : [[type, value] as const]));
}

function privateValues(keyType: number, parts: readonly Buffer[]): Template {
  const rsa = [CKA.PRIVATE_EXPONENT, CKA.PRIME_1, CKA.PRIME_2, CKA.EXPONENT_1, CKA.EXPONENT_2, CKA.COEFFICIENT];
  const types = keyType === CKK.RSA ? rsa : [CKA.VALUE];
  if (parts.length !== types.length) throw new SignetError('INVALID_ARGUMENT', 'incomplete private key');
  return types.map((type, index) => [type, parts[index] ?? Buffer.alloc(0)] as const);
}

function generation(algorithm: 'ecdsa' | 'ed25519' | 'rsa'): readonly [mechanism: number, publicTemplate: Template] {
  switch (algorithm) {
    case 'ecdsa': {
      const curve = curveByOpensslName('prime256v1');
      if (curve === undefined) throw new SignetError('INTERNAL', 'P-256 is not in the table of curves');
      return [CKM.EC_KEY_PAIR_GEN, [[CKA.EC_PARAMS, curveParams(curve)]]];
    }
    case 'ed25519':
      return [CKM.EC_EDWARDS_KEY_PAIR_GEN, [[CKA.EC_PARAMS, ED25519_PARAMS]]];
    case 'rsa':
      return [
        CKM.RSA_PKCS_KEY_PAIR_GEN,
        [
          [CKA.MODULUS_BITS, RSA_BITS],
          [CKA.PUBLIC_EXPONENT, RSA_EXPONENT],
        ],
      ];
  }
}

/** The public half is readable without a login, so that keys can be listed before the PIN is given. */
function commonPublic(id: Uint8Array, label: Uint8Array): Template {
  return [
    [CKA.TOKEN, true],
    [CKA.PRIVATE, false],
    [CKA.VERIFY, true],
    [CKA.ID, id],
    [CKA.LABEL, label],
  ];
}

/** Everything is said: modules have defaults that let keys out. */
function commonPrivate(id: Uint8Array, label: Uint8Array): Template {
  return [
    [CKA.TOKEN, true],
    [CKA.PRIVATE, true],
    [CKA.SENSITIVE, true],
    [CKA.EXTRACTABLE, false],
    [CKA.SIGN, true],
    [CKA.DECRYPT, false],
    [CKA.UNWRAP, false],
    [CKA.DERIVE, false],
    [CKA.ID, id],
    [CKA.LABEL, label],
  ];
}
