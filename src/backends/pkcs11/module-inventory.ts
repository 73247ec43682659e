/**
 * The seam of graphene-pk11, whose objects suit a look at a module's slots and tokens. Runs in the process of a probe only
 * (probe-host.ts). Looks, and changes nothing: no login, no session.
 */
import { createRequire } from 'node:module';
import type * as Graphene from 'graphene-pk11';
import { SignetError } from '../../errors.ts';
import { fromPkcs11Error } from './ckr.ts';
import { CKF_OS_LOCKING_OK, CKF_TOKEN } from './constants.ts';
import { checkModuleFile, notLoaded } from './module-file.ts';
import { profileOf, profileOfFile } from './profile.ts';

/** What a module says about itself and its slots. */
export interface ModuleInventory {
  readonly manufacturer: string;
  readonly description: string;
  /** `2.6`. */
  readonly libraryVersion: string;
  /** Version of PKCS#11, `2.40`. */
  readonly cryptokiVersion: string;
  /** Row of the table of modules; `generic` if it is in none. */
  readonly profile: string;
  readonly slots: readonly SlotInventory[];
  /** Why the slots could not be read, where that is so though the module loads: a service that does not run. */
  readonly problem: string | undefined;
}

export interface SlotInventory {
  readonly description: string;
  readonly isRemovable: boolean;
  /** Undefined: an empty slot. */
  readonly token: TokenInventory | undefined;
}

export interface TokenInventory {
  readonly label: string;
  readonly manufacturer: string;
  readonly model: string;
  readonly serial: string;
  readonly isInitialised: boolean;
  readonly needsLogin: boolean;
  readonly isPinSet: boolean;
  /** As the flags of the token tell, which some modules do not keep. */
  readonly pinTries: 'all' | 'some used' | 'one left' | 'locked';
  /** Names without CKM_; `0x…` for others. */
  readonly mechanisms: readonly string[];
}

/** NSS without a database: enough to see that it loads. */
const NSS_PARAMETERS = "configdir='' certPrefix='' keyPrefix='' secmod='' flags=noCertDB,noModDB,readOnly ";

/**
 * Loads a module and reads what it has.
 *
 * @throws {SignetError} CONFIGURATION if it cannot be loaded; what it answered otherwise
 */
export function readInventory(path: string): ModuleInventory {
  const graphene = loadGraphene();
  checkModuleFile(path);
  const module = loadModule(graphene, path);
  const flags = CKF_OS_LOCKING_OK;
  try {
    module.initialize(profileOfFile(path).wantsParameters ? { flags, libraryParameters: NSS_PARAMETERS } : { flags });
  } catch (error) {
    throw fromPkcs11Error(error, `the PKCS#11 module ${path} does not start`);
  }
  const { manufacturerID: manufacturer, libraryDescription: description, libraryVersion, cryptokiVersion } = module;
  return {
    manufacturer,
    description,
    libraryVersion: versionOf(libraryVersion),
    cryptokiVersion: versionOf(cryptokiVersion),
    profile: profileOf({ manufacturer }).name,
    ...readSlots(graphene, module),
  };
}

function readSlots(graphene: typeof Graphene, module: Graphene.Module): Pick<ModuleInventory, 'slots' | 'problem'> {
  try {
    const slots = itemsOf(module.getSlots(false)).map((slot) => slotInventory(graphene, slot));
    return { slots, problem: undefined };
  } catch (error) {
    return { slots: [], problem: fromPkcs11Error(error, 'its slots cannot be read').message };
  }
}

function loadGraphene(): typeof Graphene {
  try {
    return createRequire(import.meta.url)('graphene-pk11') as typeof Graphene;
  } catch (cause) {
    throw new SignetError('CONFIGURATION', 'the packages graphene-pk11 and pkcs11js cannot be loaded', {
      hint: 'run: npm rebuild pkcs11js --ignore-scripts=false',
      cause,
    });
  }
}

function loadModule(graphene: typeof Graphene, path: string): Graphene.Module {
  try {
    return graphene.Module.load(path);
  } catch (cause) {
    throw notLoaded(path, cause);
  }
}

function slotInventory({ SlotFlag }: typeof Graphene, slot: Graphene.Slot): SlotInventory {
  return {
    description: slot.slotDescription,
    isRemovable: (slot.flags & SlotFlag.REMOVABLE_DEVICE) !== 0,
    token: (slot.flags & SlotFlag.TOKEN_PRESENT) === 0 ? undefined : tokenInventory(slot),
  };
}

function tokenInventory(slot: Graphene.Slot): TokenInventory {
  const { label, manufacturerID: manufacturer, model, serialNumber: serial, flags } = slot.getToken();
  return {
    label,
    manufacturer,
    model,
    serial,
    isInitialised: (flags & CKF_TOKEN.TOKEN_INITIALIZED) !== 0,
    needsLogin: (flags & CKF_TOKEN.LOGIN_REQUIRED) !== 0,
    isPinSet: (flags & CKF_TOKEN.USER_PIN_INITIALIZED) !== 0,
    pinTries: pinTriesOf(flags),
    mechanisms: itemsOf(slot.getMechanisms()).map(({ name, type }) =>
      name === 'unknown' || name === undefined ? `0x${type.toString(16)}` : name,
    ),
  };
}

function pinTriesOf(flags: number): TokenInventory['pinTries'] {
  if ((flags & CKF_TOKEN.USER_PIN_LOCKED) !== 0) return 'locked';
  if ((flags & CKF_TOKEN.USER_PIN_FINAL_TRY) !== 0) return 'one left';
  return (flags & CKF_TOKEN.USER_PIN_COUNT_LOW) === 0 ? 'all' : 'some used';
}

function itemsOf<T>(collection: { readonly length: number; items(index: number): T }): T[] {
  return Array.from({ length: collection.length }, (_, index) => collection.items(index));
}

function versionOf({ major, minor }: { readonly major: number; readonly minor: number }): string {
  return `${major}.${minor}`;
}
