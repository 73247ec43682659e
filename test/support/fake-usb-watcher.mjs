/** A usb-watcher.js for tests: tells each line that is added to the file that FAKE_USB_EVENTS names. Ends with its channel. */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

const POLL_MS = 20;

process.on('disconnect', () => process.exit(0));
process.send?.('listening');
for (let told = 0; ; await delay(POLL_MS)) {
  const text = await readFile(process.env['FAKE_USB_EVENTS'] ?? '', 'utf8').catch(() => '');
  const events = text.split('\n').slice(0, -1);
  for (const event of events.slice(told)) process.send?.(event);
  told = events.length;
}
