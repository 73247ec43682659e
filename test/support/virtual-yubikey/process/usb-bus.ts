/**
 * A USB bus made of files: the part of /sys that libusb and nusb read, on the tmpfs that hides the machine's own, and
 * the events that udev would send. Devices can be listed and come and go; they cannot be opened.
 */
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { UsbDevice } from '../control-protocol.ts';
import type { Uevent } from './uevent.ts';

const DEVICES = '/sys/bus/usb/devices';
/** Below /sys. */
const BUS_PATH = '/devices/platform/virtual-usb/usb1';
const UDEV_DATABASE = '/run/udev/data';
/** Linux, admin-guide/devices.txt. */
const USB_MAJOR = 189;
const YUBICO = 0x1050;
const OTP_FIDO_CCID = 0x0407;
/** bcdDevice, as firmware 5.4.3 has it. */
const RELEASE = 0x0543;
/** Class, subclass, protocol: keyboard, FIDO, smart card. */
const INTERFACES: readonly (readonly [number, number, number])[] = [
  [0x03, 0x01, 0x01],
  [0x03, 0x00, 0x00],
  [0x0b, 0x00, 0x00],
];

interface Plugged {
  readonly name: string;
  readonly address: number;
  readonly product: string;
}

export class UsbBus {
  readonly #announce: (event: Uevent) => void;
  readonly #plugged = new Map<number, Plugged>();
  #lastAddress = 1; // the root hub's
  #lastSequenceNumber = 0;

  /** @param announce Tells udev's listeners. */
  constructor(announce: (event: Uevent) => void) {
    this.#announce = announce;
    for (const directory of [DEVICES, join('/sys', BUS_PATH), UDEV_DATABASE]) mkdirSync(directory, { recursive: true });
  }

  /** Does nothing if the port is taken. */
  plug({ port, vendorId = YUBICO, productId = OTP_FIDO_CCID }: UsbDevice): void {
    if (this.#plugged.has(port)) return;
    const address = ++this.#lastAddress;
    const product = [vendorId, productId, RELEASE].map((number) => number.toString(16)).join('/');
    const device = { name: `1-${port}`, address, product };
    this.#plugged.set(port, device);
    writeDevice(device, port, vendorId, productId);
    this.#announce(this.#event('add', device));
  }

  /** Does nothing if the port is free. */
  unplug({ port }: UsbDevice): void {
    const device = this.#plugged.get(port);
    if (device === undefined) return;
    this.#plugged.delete(port);
    rmSync(join(DEVICES, device.name));
    rmSync(join('/sys', BUS_PATH, device.name), { recursive: true });
    rmSync(databaseEntry(device));
    this.#announce(this.#event('remove', device));
  }

  #event(action: 'add' | 'remove', device: Plugged): Uevent {
    return {
      ACTION: action,
      DEVPATH: join(BUS_PATH, device.name),
      SUBSYSTEM: 'usb',
      ...kernelProperties(device),
      DEVNAME: `/dev/${kernelProperties(device).DEVNAME}`,
      SEQNUM: String(++this.#lastSequenceNumber),
    };
  }
}

/** What the kernel's `uevent` file says. */
function kernelProperties({ address, product }: Plugged) {
  const number = String(address).padStart(3, '0');
  return {
    MAJOR: String(USB_MAJOR),
    MINOR: String(address - 1),
    DEVNAME: `bus/usb/001/${number}`,
    DEVTYPE: 'usb_device',
    PRODUCT: product,
    BUSNUM: '001',
    DEVNUM: number,
  };
}

function databaseEntry({ address }: Plugged): string {
  return join(UDEV_DATABASE, `c${USB_MAJOR}:${address - 1}`);
}

function writeDevice(device: Plugged, port: number, vendorId: number, productId: number): void {
  const directory = join('/sys', BUS_PATH, device.name);
  writeAttributes(directory, {
    busnum: '1',
    devnum: String(device.address),
    devpath: String(port),
    speed: '12',
    version: ' 2.00',
    idVendor: hex(vendorId, 4),
    idProduct: hex(productId, 4),
    bcdDevice: hex(RELEASE, 4),
    bDeviceClass: '00',
    bDeviceSubClass: '00',
    bDeviceProtocol: '00',
    bMaxPacketSize0: '64',
    bNumConfigurations: '1',
    bConfigurationValue: '1',
    manufacturer: 'Yubico',
    product: 'YubiKey OTP+FIDO+CCID',
    uevent: Object.entries(kernelProperties(device))
      .map(([key, value]) => `${key}=${value}`)
      .join('\n'),
  });
  writeFileSync(join(directory, 'descriptors'), descriptors(vendorId, productId));
  symlinkSync('/sys/bus/usb', join(directory, 'subsystem'));
  for (const [number, [deviceClass, subclass, protocol]] of INTERFACES.entries()) {
    writeAttributes(join(directory, `${device.name}:1.${number}`), {
      bInterfaceNumber: hex(number, 2),
      bAlternateSetting: ' 0',
      bNumEndpoints: '00',
      bInterfaceClass: hex(deviceClass, 2),
      bInterfaceSubClass: hex(subclass, 2),
      bInterfaceProtocol: hex(protocol, 2),
    });
  }
  writeFileSync(databaseEntry(device), 'I:1\n'); // without an entry libudev takes the device for not yet set up
  symlinkSync(directory, join(DEVICES, device.name));
}

function writeAttributes(directory: string, attributes: Readonly<Record<string, string>>): void {
  mkdirSync(directory);
  for (const [name, value] of Object.entries(attributes)) writeFileSync(join(directory, name), `${value}\n`);
}

/** Device, configuration and interface descriptors (USB 2.0 §9.6), without endpoints: nobody opens them. */
function descriptors(vendorId: number, productId: number): Buffer {
  const device = Buffer.from([18, 1, 0, 2, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 1, 2, 0, 1]);
  device.writeUInt16LE(vendorId, 8);
  device.writeUInt16LE(productId, 10);
  device.writeUInt16LE(RELEASE, 12);
  const interfaces = INTERFACES.map((codes, number) => Buffer.from([9, 4, number, 0, 0, ...codes, 0]));
  const length = 9 + interfaces.length * 9;
  const configuration = Buffer.from([9, 2, length, 0, interfaces.length, 1, 0, 0x80, 15]);
  return Buffer.concat([device, configuration, ...interfaces]);
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}
