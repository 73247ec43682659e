/** Which of Yubico's libraries the tests drive: the installed one, or another one that a tester names. */
import { realpath } from 'node:fs/promises';
import { basename } from 'node:path';
import { findYubicoLibrary } from '../../../src/backends/yubikey/library.ts';
import { isAtLeast } from '../../../src/backends/yubikey/versions.ts';

/** Absolute path of a libykcs11; its yubico-piv-tool comes first in PATH. */
const CHOSEN = process.env['SIGNET_TEST_YKCS11'] || undefined;

/** As programs load it; the installed one is found by the dynamic linker. */
export const YKCS11_MODULE = CHOSEN ?? 'libykcs11.so.2';

/** @returns Absolute. @throws {SignetError} CONFIGURATION if none is chosen or installed */
export async function yubicoLibrary(): Promise<string> {
  return CHOSEN ?? (await findYubicoLibrary());
}

/** Whether the library is of this version or a later one, as the name of its file tells. @throws {Error} if it does not */
export async function isLibrarySince(major: number, minor: number): Promise<boolean> {
  const file = basename(await realpath(await yubicoLibrary()));
  const [isNamed, ...version] = /^libykcs11\.so\.(\d+)\.(\d+)\.(\d+)$/.exec(file) ?? [];
  if (isNamed === undefined) throw new Error(`${file} does not tell its version as libykcs11.so.2.2.0 does`);
  const [first = 0, second = 0, third = 0] = version.map(Number);
  return isAtLeast([first, second, third], [major, minor, 0]);
}

/** `yubikey:…` with the query, and with the chosen library. */
export function yubikeyUri(uri: `yubikey:${string}?${string}`): string {
  return CHOSEN === undefined ? uri : `${uri}&module-path=${encodeURI(CHOSEN)}`;
}
