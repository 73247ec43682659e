/** The announcements of device managers: what udev sends to its listeners (libudev's monitor protocol). */
const PREFIX = Buffer.from('libudev\0');
const MAGIC = 0xfeedcafe;
const HEADER_BYTES = 40;

/** Properties of an event; SUBSYSTEM and DEVTYPE must be among them. */
export type Uevent = Readonly<Record<string, string>> & { readonly SUBSYSTEM: string; readonly DEVTYPE: string };

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
