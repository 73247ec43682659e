/** What a YubiKey needs of the system before any module can see it. */
import { access, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Finding, findings } from './finding.ts';

const found = findings('smart cards');
/** Where Linux lists USB devices. */
const USB_DEVICES = '/sys/bus/usb/devices';
/** Yubico's USB vendor ID. */
const YUBICO = '1050';
/** Where pcscd listens, or systemd for it. */
const PCSCD_SOCKETS = ['/run/pcscd/pcscd.comm', '/var/run/pcscd/pcscd.comm'];

export async function checkSmartCards(): Promise<readonly Finding[]> {
  if (process.platform !== 'linux') return [];
  const yubikeys = await countYubikeys();
  const hasPcscd = (await Promise.all(PCSCD_SOCKETS.map(exists))).includes(true);
  if (yubikeys === 0) {
    return [found.note(`no YubiKey is plugged in; pcscd ${hasPcscd ? 'is there' : 'does not run'}`)];
  }
  const name = yubikeys === 1 ? 'a YubiKey is plugged in' : `${yubikeys} YubiKeys are plugged in`;
  if (hasPcscd) return [found.ok(`${name}, and pcscd is there`)];
  return [
    found.problem(
      `${name}, but pcscd does not run`,
      'sudo apt-get install pcscd && sudo systemctl enable --now pcscd.socket',
    ),
  ];
}

async function countYubikeys(): Promise<number> {
  const names = await readdir(USB_DEVICES).catch(() => []);
  const vendors = await Promise.all(
    names.map((name) => readFile(join(USB_DEVICES, name, 'idVendor'), 'utf8').catch(() => '')),
  );
  return vendors.filter((vendor) => vendor.trim() === YUBICO).length;
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
