/**
 * Prints what libudev, which libusb listens through, tells of USB devices: `<action> <DEVNAME> <PRODUCT>` per event, after
 * `listening`. Runs until it is ended.
 */
import koffi from 'koffi';

const POLL_MS = 5;

const libudev = koffi.load('libudev.so.1');
const newContext = libudev.func('void *udev_new()');
const newMonitor = libudev.func('void *udev_monitor_new_from_netlink(void *udev, const char *name)');
const match = libudev.func(
  'int udev_monitor_filter_add_match_subsystem_devtype(void *monitor, const char *subsystem, const char *devtype)',
);
const enable = libudev.func('int udev_monitor_enable_receiving(void *monitor)');
const receive = libudev.func('void *udev_monitor_receive_device(void *monitor)');
const property = libudev.func('const char *udev_device_get_property_value(void *device, const char *key)');

const monitor = newMonitor(newContext(), 'udev');
match(monitor, 'usb', 'usb_device');
if (enable(monitor) < 0) throw new Error('libudev cannot listen');
process.stdout.write('listening\n');
setInterval(() => {
  for (let device = receive(monitor); device !== null; device = receive(monitor)) {
    const values = ['ACTION', 'DEVNAME', 'PRODUCT'].map((key) => property(device, key));
    process.stdout.write(`${values.join(' ')}\n`);
  }
}, POLL_MS);
