/** Yubico's PKCS#11 library, libykcs11: where it is, and what its versions lack. */
import type { FirmwareVersion } from '../../crypto/yubikey-weaknesses.ts';
import { SignetError } from '../../errors.ts';
import { CKM } from '../pkcs11/constants.ts';
import type { TokenFacts } from '../pkcs11/host-protocol.ts';
import type { MechanismRange } from '../pkcs11/key-kinds.ts';
import { type ModuleFacts, profileOfFile } from '../pkcs11/profile.ts';
import type { AttachedToken } from '../pkcs11/token-connection.ts';
import { wellKnownModules } from '../pkcs11/well-known-modules.ts';
import { formatVersion, isAtLeast, parseYubicoVersion } from './versions.ts';

/**
 * @returns Absolute.
 * @throws {SignetError} CONFIGURATION if it is in none of the usual places
 */
export async function findYubicoLibrary(): Promise<string> {
  const found = (await wellKnownModules()).filter(({ path }) => profileOfFile(path).name === 'ykcs11');
  // Where both are installed, the name without a number is that of version 1.
  const best = found.find(({ path }) => path.endsWith('.so.2')) ?? found[0];
  if (best !== undefined) return best.path;
  throw new SignetError('CONFIGURATION', "Yubico's PKCS#11 library (libykcs11) is not installed", {
    hint: 'install the package ykcs11 (Debian, Ubuntu) or yubico-piv-tool, or name the library with ?module-path=',
  });
}

/** The first version that numbers slots as piv-slots.ts does. */
const OLDEST: FirmwareVersion = [2, 0, 0];
/** CKA_YUBICO_TOUCH_POLICY, CKA_YUBICO_PIN_POLICY; AES management keys. */
const SINCE_2_3: FirmwareVersion = [2, 3, 0];

/** Of the firmware: Ed25519, X25519, RSA 3072 and 4096. */
const FIRST_WITH_NEW_KEYS: FirmwareVersion = [5, 7, 0];
/** Of the library. */
const KNOWS_NEW_KEYS: FirmwareVersion = [2, 5, 0];

/** @throws {SignetError} UNSUPPORTED */
export function checkLibraryVersion(version: FirmwareVersion | undefined): void {
  if (version !== undefined && isAtLeast(version, OLDEST)) return;
  const which = version === undefined ? '' : ` ${formatVersion(version)}`;
  throw new SignetError('UNSUPPORTED', `libykcs11${which} is too old`, { hint: 'install version 2.3 or later' });
}

/** Whether PIN and touch policies can be given to C_GenerateKeyPair and C_CreateObject, and AES management keys be used. */
export function knowsPolicies(version: FirmwareVersion | undefined): boolean {
  return version !== undefined && isAtLeast(version, SINCE_2_3);
}

/** The library lists what it knows, not what this YubiKey can do: of the sizes of RSA keys alone it says that. */
export function mechanismsOfDevice({
  facts,
  mechanisms,
}: Pick<AttachedToken, 'mechanisms'> & { readonly facts: Pick<TokenFacts, 'firmware'> }): readonly MechanismRange[] {
  const firmware = parseYubicoVersion(facts.firmware);
  if (firmware !== undefined && isAtLeast(firmware, FIRST_WITH_NEW_KEYS)) return mechanisms;
  return mechanisms.filter(({ mechanism }) => mechanism !== CKM.EDDSA);
}

/** What of an attached token says what can be relied upon. */
interface DeviceVersions {
  readonly module: ModuleFacts;
  readonly facts: Pick<TokenFacts, 'firmware'>;
}

/** Whether the library sees each key that the YubiKey may have: older ones miss some that were imported without a certificate. */
export function seesEveryKey({ module, facts }: DeviceVersions): boolean {
  const [library, firmware] = [parseYubicoVersion(module.version), parseYubicoVersion(facts.firmware)];
  if (library !== undefined && isAtLeast(library, KNOWS_NEW_KEYS)) return true;
  return firmware !== undefined && !isAtLeast(firmware, FIRST_WITH_NEW_KEYS);
}

/** The error for a slot that looks empty to a library that does not see every key. @param cause Why nobody else could tell. */
export function mayNotBeEmpty(
  slot: string,
  { module }: Pick<DeviceVersions, 'module'>,
  cause: SignetError,
): SignetError {
  const library = parseYubicoVersion(module.version);
  const which = library === undefined ? '' : ` ${formatVersion(library)}`;
  const problem = `libykcs11${which} does not see every key of this YubiKey: slot ${slot} may not be empty`;
  const remedy = cause.code === 'UNSUPPORTED' ? 'install opensc-tool (package opensc)' : `try again (${cause.message})`;
  return new SignetError('UNSUPPORTED', problem, {
    hint: `${remedy}, install libykcs11 2.5 or later, or name the slot and ask for overwriting`,
    cause,
  });
}

/** For people: what this version lacks. */
export function libraryWarnings(version: FirmwareVersion | undefined): readonly string[] {
  if (version === undefined || knowsPolicies(version)) return [];
  return [
    `libykcs11 ${formatVersion(version)} cannot use AES management keys, the factory's since firmware 5.7: install 2.3 or later`,
  ];
}
