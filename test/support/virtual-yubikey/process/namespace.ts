/**
 * Makes the fresh user, network and mount namespaces that this process was started in fit for pcscd. Nothing of it is
 * seen outside, and it ends with the last process inside.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';

const PCSCD_DIRECTORY = '/run/pcscd'; // compiled into pcscd
const USB_DEVICES = '/dev/bus/usb';

/** @param pcscdDirectory Where pcscd's socket shall lie. @throws {Error} what a tool printed */
export function furnishNamespace(pcscdDirectory: string): void {
  run('ip', 'link', 'set', 'lo', 'up');
  // vpcd writes length and content of a message apart; with delayed acknowledgements each takes 43 ms.
  for (const addresses of ['127.0.0.0/8', '127.0.0.1']) {
    run('ip', ...`route change local ${addresses} dev lo src 127.0.0.1 table local quickack 1`.split(' '));
  }
  // With /run go D-Bus and polkit, which pcscd would ask about its clients, and udev's database.
  run('mount', '-t', 'tmpfs', 'tmpfs', '/run');
  mkdirSync(PCSCD_DIRECTORY);
  run('mount', '--bind', pcscdDirectory, PCSCD_DIRECTORY);
  // The machine's own USB devices, a developer's YubiKey among them, are none of our pcscd's business.
  run('mount', '-t', 'tmpfs', 'tmpfs', '/sys');
  if (existsSync(USB_DEVICES)) run('mount', '-t', 'tmpfs', 'tmpfs', USB_DEVICES);
}

function run(command: string, ...args: string[]): void {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
