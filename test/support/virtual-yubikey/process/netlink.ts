/** Sends udev's announcements to the listeners in this network namespace. Node has no netlink sockets: koffi. */
import koffi from 'koffi';
import { encodeUevent, type Uevent } from './uevent.ts';

/** linux/socket.h, linux/netlink.h */
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const NETLINK_KOBJECT_UEVENT = 15;
/** Group 1 hears the kernel, group 2 udev. */
const UDEV_GROUP = 1 << 1;

/** The system call's arguments in `struct sockaddr_nl`: family, padding, port 0, groups. */
const UDEV_LISTENERS = Buffer.alloc(12);
UDEV_LISTENERS.writeUInt16LE(AF_NETLINK, 0);
UDEV_LISTENERS.writeUInt32LE(UDEV_GROUP, 8);

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
