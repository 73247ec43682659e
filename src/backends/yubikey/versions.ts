/** Versions as libykcs11 tells them: CK_VERSION has two numbers, so that 5.4.3 is 5.43. */
import type { FirmwareVersion } from '../../crypto/yubikey-weaknesses.ts';

/** @param text `major.minor` of CK_VERSION. @returns Undefined for anything else. */
export function parseYubicoVersion(text: string): FirmwareVersion | undefined {
  const [, major, minor] = /^(\d{1,3})\.(\d{1,3})$/.exec(text) ?? [];
  if (major === undefined || minor === undefined) return undefined;
  return [Number(major), Math.floor(Number(minor) / 10), Number(minor) % 10];
}

export function formatVersion(version: FirmwareVersion): string {
  return version.join('.');
}

/** Whether a version is the other one or a later one. */
export function isAtLeast(version: FirmwareVersion, other: FirmwareVersion): boolean {
  return (version[0] - other[0] || version[1] - other[1] || version[2] - other[2]) >= 0;
}
