/**
 * The seam of pkcs11js: the only file that imports it, and it runs in token hosts only. Its calls can crash a process
 * that gives them anything but what they expect, so that everything passes through the types here.
 */
import { createRequire } from 'node:module';
import type * as Pkcs11Js from 'pkcs11js';
import { SignetError } from '../../errors.ts';
import { ckrOf, fromPkcs11Error } from './ckr.ts';
import {
  CKA,
  CKF_OS_LOCKING_OK,
  CKF_RW_SESSION,
  CKF_SERIAL_SESSION,
  CKF_TOKEN_PRESENT,
  CKG,
  CKM,
  type CKO,
  CKR,
  CKS_USER,
  CKU,
} from './constants.ts';
import { MAX_KEYS, type SignScheme, type TokenFacts } from './host-protocol.ts';
import { KIND_MECHANISMS, type MechanismRange } from './key-kinds.ts';
import { checkModuleFile, notLoaded } from './module-file.ts';
import { type ModuleFacts, profileOfFile } from './profile.ts';
import { type AttributeValue, type Template, toNative } from './template.ts';

/** An object, a session or a slot: opaque bytes. */
export type Handle = Buffer;

/** Room for any signature; some modules keep an operation open when the room is too small. */
const MAX_SIGNATURE_BYTES = 2048;
/** CK_INFO and friends are padded with spaces, by some modules with NUL. */
const PADDING = /[\s\0]+$/;
const FIND_AT_ONCE = 512;
const EMPTY = Buffer.alloc(1).subarray(0, 0);
/** C_InitToken reads this many bytes of the label, whatever it is given (PKCS#11 v2.40 §5.5). */
const TOKEN_LABEL_BYTES = 32;

const PSS = {
  sha256: { hashAlg: CKM.SHA256, mgf: CKG.MGF1_SHA256, saltLen: 32 },
  sha384: { hashAlg: CKM.SHA384, mgf: CKG.MGF1_SHA384, saltLen: 48 },
  sha512: { hashAlg: CKM.SHA512, mgf: CKG.MGF1_SHA512, saltLen: 64 },
} as const;

/** One loaded module. Every method is synchronous and throws `SignetError` or what the bindings threw. */
export class Cryptoki {
  readonly #bindings: typeof Pkcs11Js;
  readonly #module: Pkcs11Js.PKCS11;
  readonly #parameters: string | undefined;
  /** Kept: a buffer that goes away during a call would be written to after it is freed. */
  readonly #signature = Buffer.alloc(MAX_SIGNATURE_BYTES);

  private constructor(bindings: typeof Pkcs11Js, module: Pkcs11Js.PKCS11, parameters: string | undefined) {
    this.#bindings = bindings;
    this.#module = module;
    this.#parameters = parameters;
  }

  /**
   * @param parameters For modules that want some at C_Initialize.
   * @throws {SignetError} CONFIGURATION if pkcs11js or the module cannot be loaded, UNAVAILABLE if it does not start
   */
  static load(path: string, parameters: string | undefined): Cryptoki {
    const bindings = loadBindings();
    checkModuleFile(path);
    const profile = profileOfFile(path);
    if (profile.wantsParameters && parameters === undefined) {
      throw new SignetError('CONFIGURATION', `the PKCS#11 module ${path} wants parameters`, {
        hint: "set library_parameters of the token, for NSS as configdir='sql:/path' certPrefix='' keyPrefix='' secmod='secmod.db' flags=",
      });
    }
    const module = new bindings.PKCS11();
    try {
      module.load(path);
    } catch (cause) {
      throw notLoaded(path, cause);
    }
    const cryptoki = new Cryptoki(bindings, module, parameters);
    cryptoki.initialize();
    return cryptoki;
  }

  /** Without the flag some modules run without locks. */
  initialize(): void {
    const flags = CKF_OS_LOCKING_OK;
    try {
      // The bindings lose the last character of the parameters.
      this.#module.C_Initialize(
        this.#parameters === undefined ? { flags } : { flags, libraryParameters: `${this.#parameters} ` },
      );
    } catch (error) {
      if (ckrOf(error) === CKR.CRYPTOKI_ALREADY_INITIALIZED) return;
      throw fromPkcs11Error(error, 'the module does not start');
    }
  }

  moduleFacts(): ModuleFacts {
    const { manufacturerID, libraryDescription, libraryVersion } = this.#module.C_GetInfo();
    return {
      manufacturer: trim(manufacturerID),
      description: trim(libraryDescription),
      version: versionText(libraryVersion),
    };
  }

  /** Of the mechanisms that we use, those that the token has. */
  mechanisms(slot: Handle): MechanismRange[] {
    const available = new Set(this.#module.C_GetMechanismList(slot));
    return KIND_MECHANISMS.filter((mechanism) => available.has(mechanism)).map((mechanism) => {
      const { minKeySize, maxKeySize } = this.#module.C_GetMechanismInfo(slot, mechanism);
      return { mechanism, minBits: minKeySize >>> 0, maxBits: maxKeySize >>> 0 };
    });
  }

  finalize(): void {
    this.#module.C_Finalize();
  }

  /** Slots with a token. */
  slots(): Handle[] {
    return this.#slots(true);
  }

  /** How people know the slots that show no token: empty readers, and those whose card another program has for itself. */
  emptySlots(): string[] {
    return this.#slots(false).flatMap((slot) => {
      try {
        const { flags, slotDescription } = this.#module.C_GetSlotInfo(slot);
        return (flags & CKF_TOKEN_PRESENT) === 0 ? [trim(slotDescription)] : [];
      } catch {
        return [`slot ${slotNumber(slot)}`]; // OpenSC's answer for such a card
      }
    });
  }

  /** A token that comes between the bindings' two calls makes the first answer too small. */
  #slots(withToken: boolean): Handle[] {
    for (let attempt = 0; ; attempt++) {
      try {
        return this.#module.C_GetSlotList(withToken);
      } catch (error) {
        if (attempt === 3 || ckrOf(error) !== CKR.BUFFER_TOO_SMALL) throw error;
      }
    }
  }

  tokenFacts(slot: Handle): TokenFacts {
    const token = this.#module.C_GetTokenInfo(slot);
    const info = this.#module.C_GetSlotInfo(slot);
    return {
      slotId: slotNumber(slot),
      label: trim(token.label),
      manufacturer: trim(token.manufacturerID),
      model: trim(token.model),
      serial: trim(token.serialNumber),
      flags: token.flags >>> 0,
      slotDescription: trim(info.slotDescription),
      slotManufacturer: trim(info.manufacturerID),
      firmware: versionText(token.firmwareVersion),
    };
  }

  /** Read-write where the token allows it. */
  openSession(slot: Handle): Handle {
    try {
      return this.#module.C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION);
    } catch (error) {
      if (ckrOf(error) !== CKR.TOKEN_WRITE_PROTECTED) throw error;
      return this.#module.C_OpenSession(slot, CKF_SERIAL_SESSION);
    }
  }

  closeSession(session: Handle): void {
    this.#module.C_CloseSession(session);
  }

  closeAllSessions(slot: Handle): void {
    this.#module.C_CloseAllSessions(slot);
  }

  isLoggedIn(session: Handle): boolean {
    return CKS_USER.has(this.#module.C_GetSessionInfo(session).state);
  }

  /** The one login. @param pin UTF-8; the copy that the bindings need as a string cannot be zeroed. */
  login(session: Handle, user: (typeof CKU)[keyof typeof CKU], pin: Uint8Array): void {
    try {
      this.#module.C_Login(session, user, textOf(pin));
    } catch (error) {
      if (ckrOf(error) !== CKR.USER_ALREADY_LOGGED_IN || user === CKU.CONTEXT_SPECIFIC) throw error;
    }
  }

  /** Changes the PIN of whoever is logged in; the user's if nobody is. */
  setPin(session: Handle, oldPin: Uint8Array, newPin: Uint8Array): void {
    this.#module.C_SetPIN(session, textOf(oldPin), textOf(newPin));
  }

  /** Sets the user's PIN; the security officer must be logged in. */
  initPin(session: Handle, pin: Uint8Array): void {
    this.#module.C_InitPIN(session, textOf(pin));
  }

  /** Erases the token. No session may be open. @param label At most 32 bytes of UTF-8. */
  initToken(slot: Handle, soPin: Uint8Array, label: string): void {
    const padding = TOKEN_LABEL_BYTES - Buffer.byteLength(label);
    if (padding < 0) {
      throw new SignetError('INVALID_ARGUMENT', `the label of a token has at most ${TOKEN_LABEL_BYTES} bytes`);
    }
    // Padded here: the bindings hand on what they get, and the module reads 32 bytes of it.
    this.#module.C_InitToken(slot, textOf(soPin), label + ' '.repeat(padding));
  }

  logout(session: Handle): void {
    try {
      this.#module.C_Logout(session);
    } catch (error) {
      if (ckrOf(error) !== CKR.USER_NOT_LOGGED_IN) throw error;
    }
  }

  /**
   * @param isStored False for what the module only shows.
   * @throws {SignetError} UNSUPPORTED for a token with more objects than we look at
   */
  find(session: Handle, objectClass: (typeof CKO)[keyof typeof CKO], more: Template = [], isStored = true): Handle[] {
    this.#module.C_FindObjectsInit(session, toNative([[CKA.CLASS, objectClass], [CKA.TOKEN, isStored], ...more]));
    try {
      const found: Handle[] = [];
      for (;;) {
        const handles = this.#module.C_FindObjects(session, FIND_AT_ONCE);
        if (handles.length === 0) return found;
        found.push(...handles);
        if (found.length > MAX_KEYS) throw new SignetError('UNSUPPORTED', `more than ${MAX_KEYS} keys on one token`);
      }
    } finally {
      this.#module.C_FindObjectsFinal(session);
    }
  }

  /** Asked for together; one by one if that fails, as one that is missing hides the others. @returns In order. */
  attributes(session: Handle, object: Handle, types: readonly number[]): (Buffer | undefined)[] {
    try {
      const found = this.#module.C_GetAttributeValue(
        session,
        object,
        types.map((type) => ({ type })),
      );
      return types.map((_, index) => bufferOf(found[index]?.value));
    } catch (error) {
      const ckr = ckrOf(error);
      if (ckr !== CKR.ATTRIBUTE_TYPE_INVALID && ckr !== CKR.ATTRIBUTE_SENSITIVE) throw error;
      return types.length === 1 ? [undefined] : types.flatMap((type) => this.attributes(session, object, [type]));
    }
  }

  create(session: Handle, template: Template): Handle {
    return this.#module.C_CreateObject(session, toNative(template));
  }

  destroy(session: Handle, object: Handle): void {
    this.#module.C_DestroyObject(session, object);
  }

  setAttribute(session: Handle, object: Handle, type: number, value: AttributeValue): void {
    this.#module.C_SetAttributeValue(session, object, toNative([[type, value]]));
  }

  generateKeyPair(
    session: Handle,
    mechanism: number,
    publicTemplate: Template,
    privateTemplate: Template,
  ): { readonly publicKey: Handle; readonly privateKey: Handle } {
    return this.#module.C_GenerateKeyPair(session, { mechanism }, toNative(publicTemplate), toNative(privateTemplate));
  }

  /**
   * @param pin Of keys that want the PIN for each signature (CKA_ALWAYS_AUTHENTICATE).
   * @returns A view that the next signature overwrites.
   */
  sign(session: Handle, key: Handle, scheme: SignScheme, data: Buffer, pin: Uint8Array | undefined): Buffer {
    this.#module.C_SignInit(session, this.#mechanism(scheme), key);
    if (pin !== undefined) this.login(session, CKU.CONTEXT_SPECIFIC, pin);
    // An empty buffer of its own would become a NULL pointer, which modules refuse.
    return this.#module.C_Sign(session, data.length === 0 ? EMPTY : data, this.#signature);
  }

  #mechanism(scheme: SignScheme): Pkcs11Js.Mechanism {
    if (scheme === 'ecdsa') return { mechanism: CKM.ECDSA };
    if (scheme === 'eddsa') return { mechanism: CKM.EDDSA };
    const parameter = { type: this.#bindings.CK_PARAMS_RSA_PSS, ...PSS[scheme.pss] };
    return { mechanism: CKM.RSA_PKCS_PSS, parameter };
  }
}

function loadBindings(): typeof Pkcs11Js {
  try {
    // A CommonJS package with computed exports: `import` would see none of them.
    return createRequire(import.meta.url)('pkcs11js') as typeof Pkcs11Js;
  } catch (cause) {
    throw new SignetError('CONFIGURATION', 'the package pkcs11js cannot be loaded', {
      hint: 'run: npm rebuild pkcs11js --ignore-scripts=false',
      cause,
    });
  }
}

function trim(text: string): string {
  return text.replace(PADDING, '');
}

function bufferOf(value: unknown): Buffer | undefined {
  return Buffer.isBuffer(value) ? value : undefined;
}

function textOf(pin: Uint8Array): string {
  return Buffer.from(pin.buffer, pin.byteOffset, pin.byteLength).toString('utf8');
}

function versionText({ major, minor }: Pkcs11Js.Version): string {
  return `${major}.${minor}`;
}

/** CK_SLOT_ID, as the machine writes it. */
function slotNumber(slot: Handle): string {
  return slot.length >= 8 ? String(slot.readBigUInt64LE(0)) : String(slot.readUInt32LE(0));
}
