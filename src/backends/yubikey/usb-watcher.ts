/**
 * The process that listens to the USB bus, and the seam of the package `usb`: started by usb-events.ts, with an IPC channel
 * that it ends with. A process of its own, because the package ends the one it is in where it may not listen: no bus, a
 * sandbox without netlink.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { UsbEvent } from './usb-events.ts';

/** Yubico's vendor ID, https://www.usb.org/members. */
const YUBICO = 0x1050;
/** Looked for by the package itself; without it, listening ends the process in a way of its own. */
const LINUX_BUS = '/sys/bus/usb/devices';

/** What is used of the package, whose own types are those of browsers. */
interface UsbBus {
  addEventListener(type: UsbEvent, listener: (event: { readonly device: { readonly vendorId: number } }) => void): void;
  getDevices(): Promise<unknown>;
}

async function watch(): Promise<void> {
  const { usb } = createRequire(import.meta.url)('usb') as { readonly usb: UsbBus };
  for (const event of ['connect', 'disconnect'] as const) {
    usb.addEventListener(event, ({ device }) => {
      if (device.vendorId === YUBICO) process.send?.(event);
    });
  }
  // Only devices that are known are told to have gone.
  await usb.getDevices();
  process.send?.('listening');
}

process.on('disconnect', () => process.exit(0));
if (process.platform === 'linux' && !existsSync(LINUX_BUS)) process.exit(0);
await watch();
