/** The announcements of device managers: what udev sends to its listeners (libudev's monitor protocol). */
import koffi from 'koffi';

/** linux/socket.h, linux/netlink.h */
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const NETLINK_KOBJECT_UEVENT = 15;
/** Group 1 hears the kernel, group 2 udev. */
const UDEV_GROUP = 1 << 1;

const PREFIX = Buffer.from('libudev\0');
const MAGIC = 0xfeedcafe;
const HEADER_BYTES = 40;

/** The system call's arguments in `struct sockaddr_nl`: family, padding, port 0, groups. */
const UDEV_LISTENERS = Buffer.alloc(12);
UDEV_LISTENERS.writeUInt16LE(AF_NETLINK, 0);
UDEV_LISTENERS.writeUInt32LE(UDEV_GROUP, 8);

/** Properties of an event; SUBSYSTEM and DEVTYPE must be among them. */
export type Uevent = Readonly<Record<string, string>> & { readonly SUBSYSTEM: string; readonly DEVTYPE: string };

/** @returns A function that tells all listeners in this network namespace of an event. It throws if the kernel refuses. */
export function openUeventSender(): (event: Uevent) => void {
  const libc = koffi.load(null);
  const socket = libc.func('int socket(int domain, int type, int protocol)');
  const sendto = libc.func(
    'long sendto(int fd, const void *bytes, size_t length, int flags, const void *address, unsigned int size)',
  );
  const fd: number = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
  if (fd < 0) throw new Error(`no netlink socket (errno ${koffi.errno()})`);
  return (event) => {
    const message = encodeUevent(event);
    const sent: number = sendto(fd, message, message.length, 0, UDEV_LISTENERS, UDEV_LISTENERS.length);
    if (sent === message.length) return;
    // Nobody listens: that is no failure.
    if (koffi.errno() !== koffi.os.errno['ECONNREFUSED']) throw new Error(`no uevent sent (errno ${koffi.errno()})`);
  };
}

/** libudev's `struct udev_monitor_netlink_header`, then `KEY=value` with a zero octet after each. */
export function encodeUevent(event: Uevent): Buffer {
  const properties = Buffer.from(
    Object.entries(event)
      .map(([key, value]) => `${key}=${value}\0`)
      .join(''),
  );
  const header = Buffer.alloc(HEADER_BYTES);
  PREFIX.copy(header, 0);
  header.writeUInt32BE(MAGIC, 8);
  header.writeUInt32LE(HEADER_BYTES, 12);
  header.writeUInt32LE(HEADER_BYTES, 16);
  header.writeUInt32LE(properties.length, 20);
  // A listener's socket filter compares these, so that the kernel wakes it for nothing else.
  header.writeUInt32BE(murmurHash2(Buffer.from(event.SUBSYSTEM)), 24);
  header.writeUInt32BE(murmurHash2(Buffer.from(event.DEVTYPE)), 28);
  return Buffer.concat([header, properties]);
}

/** MurmurHash2 (Appleby, 2008), 32 bits, seed 0. */
export function murmurHash2(bytes: Buffer): number {
  const factor = 0x5bd1e995;
  let hash = bytes.length;
  let offset = 0;
  for (; bytes.length - offset >= 4; offset += 4) {
    let word = Math.imul(bytes.readUInt32LE(offset), factor);
    word = Math.imul(word ^ (word >>> 24), factor);
    hash = Math.imul(hash, factor) ^ word;
  }
  if (offset < bytes.length) {
    hash = Math.imul(hash ^ bytes.readUIntLE(offset, bytes.length - offset), factor);
  }
  hash = Math.imul(hash ^ (hash >>> 13), factor);
  return (hash ^ (hash >>> 15)) >>> 0;
}
