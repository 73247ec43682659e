/** Yubico's PKCS#11 library, libykcs11: where it is, and what its versions lack. */
import { access } from 'node:fs/promises';
import type { FirmwareVersion } from '../../crypto/yubikey-weaknesses.ts';
import { SignetError } from '../../errors.ts';
import { formatVersion, isAtLeast } from './versions.ts';

/** Debian's names of architectures. */
const MULTIARCH: Readonly<Record<string, string>> = {
  x64: 'x86_64-linux-gnu',
  arm64: 'aarch64-linux-gnu',
  arm: 'arm-linux-gnueabihf',
  ppc64: 'powerpc64le-linux-gnu',
  riscv64: 'riscv64-linux-gnu',
  s390x: 's390x-linux-gnu',
};

/** The library's own name first: without its number it may be version 1, or be there for compilers only. */
function candidates(platform: NodeJS.Platform, arch: string): readonly string[] {
  if (platform === 'darwin') {
    // Homebrew on both kinds of Macs, Yubico's package.
    return ['/opt/homebrew/lib', '/usr/local/lib'].flatMap((directory) => [
      `${directory}/libykcs11.2.dylib`,
      `${directory}/libykcs11.dylib`,
    ]);
  }
  const multiarch = MULTIARCH[arch];
  const directories = [
    '/usr/local/lib', // built from Yubico's sources
    ...(multiarch === undefined ? [] : [`/usr/lib/${multiarch}`]), // Debian, Ubuntu
    '/usr/lib64', // Fedora, RHEL, SUSE
    '/usr/lib', // Arch, Alpine
  ];
  return ['libykcs11.so.2', 'libykcs11.so'].flatMap((name) => directories.map((directory) => `${directory}/${name}`));
}

/**
 * @param isThere For tests.
 * @returns Absolute.
 * @throws {SignetError} CONFIGURATION if it is in none of the usual places
 */
export async function findYubicoLibrary(
  isThere: (path: string) => Promise<boolean> = isReadable,
  platform: NodeJS.Platform = process.platform,
  arch: string = process.arch,
): Promise<string> {
  for (const path of candidates(platform, arch)) {
    if (await isThere(path)) return path;
  }
  throw new SignetError('CONFIGURATION', "Yubico's PKCS#11 library (libykcs11) is not installed", {
    hint: 'install the package ykcs11 (Debian, Ubuntu) or yubico-piv-tool, or name the library with ?module-path=',
  });
}

async function isReadable(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
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

/** Whether PIN and touch policies can be given to C_GenerateKeyPair, and AES management keys be used. */
export function knowsPolicies(version: FirmwareVersion | undefined): boolean {
  return version !== undefined && isAtLeast(version, SINCE_2_3);
}

/** For people: what this version lacks. */
export function libraryWarnings(version: FirmwareVersion | undefined): readonly string[] {
  if (version === undefined || knowsPolicies(version)) return [];
  return [
    `libykcs11 ${formatVersion(version)} cannot use AES management keys, which are the default since firmware 5.7, nor set PIN and touch policies: install 2.3 or later`,
  ];
}
