/** Yubico's PKCS#11 library, libykcs11: where it is, and what its versions lack. */
import type { FirmwareVersion } from '../../crypto/yubikey-weaknesses.ts';
import { SignetError } from '../../errors.ts';
import { profileOfFile } from '../pkcs11/profile.ts';
import { wellKnownModules } from '../pkcs11/well-known-modules.ts';
import { formatVersion, isAtLeast } from './versions.ts';

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

/** For people: what this version lacks. */
export function libraryWarnings(version: FirmwareVersion | undefined): readonly string[] {
  if (version === undefined || knowsPolicies(version)) return [];
  return [
    `libykcs11 ${formatVersion(version)} cannot use AES management keys, the factory's since firmware 5.7: install 2.3 or later`,
  ];
}
