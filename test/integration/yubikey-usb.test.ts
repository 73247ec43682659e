/** What the USB bus tells of YubiKeys, and that it makes Signet look at once. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { waitFor } from '../support/conditions.ts';
import { outcomeOf } from '../support/outcome.ts';
import { Resources } from '../support/resources.ts';
import { startVirtualYubikeys } from '../support/virtual-yubikey/virtual-yubikeys.ts';
import { yubikeyHome } from '../support/yubikey-home.ts';

const WATCHER = fileURLToPath(new URL('../../dist/backends/yubikey/usb-watcher.js', import.meta.url));
const FAKE_WATCHER = fileURLToPath(new URL('../support/fake-usb-watcher.mjs', import.meta.url));
const OTHER_MAKER = { vendorId: 0x20a0, productId: 0x42b2 };
/** Longer than any test: nothing is found by looking each second. */
const NEVER_MS = 3_600_000;

let resources: Resources;

beforeEach(() => {
  resources = new Resources();
});
afterEach(() => resources[Symbol.asyncDispose]());

/** The process that listens to the bus, on a machine with or without one. */
async function watch(hasUsb: boolean) {
  const yubikeys = resources.use(await startVirtualYubikeys({ hasUsb, cards: [{ serial: 1001 }] }));
  const { command, args } = yubikeys.enter(process.execPath, [WATCHER]);
  const watcher: ChildProcess = spawn(command, args, {
    env: yubikeys.env,
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  const told: unknown[] = [];
  watcher.on('message', (message) => told.push(message));
  const ended = once(watcher, 'exit');
  resources.use({
    [Symbol.asyncDispose]: async () => {
      if (watcher.connected) watcher.disconnect();
      await ended;
    },
  });
  return { yubikeys, told, ended };
}

test('YubiKeys that come and go are told, devices of other makers are not', async () => {
  const { yubikeys, told } = await watch(true);
  await waitFor('the bus', () => told.includes('listening'));
  await yubikeys.usb.plug(2, OTHER_MAKER);
  await yubikeys.usb.plug(1);
  await waitFor('the YubiKey', () => told.includes('connect'));
  await yubikeys.usb.unplug(2);
  await yubikeys.usb.unplug(1);
  await waitFor('its end', () => told.includes('disconnect'));
  expect(told).toEqual(['listening', 'connect', 'disconnect']);
});

test('without a bus nobody listens, and nothing fails', async () => {
  const { told, ended } = await watch(false);
  expect(await ended).toEqual([0, null]);
  expect(told).toEqual([]);
});

test('what the bus tells makes Signet look, without waiting for its time', async () => {
  const card = { serial: 1001, isInserted: false, keys: [{ slot: 0x9a, certificate: 'root' }] };
  const home = resources.use(await yubikeyHome({ cards: [card] }));
  const events = join(home.directory, 'usb-events');
  const backend = await home.open({
    serial: '1001',
    env: { ...home.yubikeys.env, FAKE_USB_EVENTS: events },
    usbWatcher: FAKE_WATCHER,
    lookEveryMs: NEVER_MS,
  });
  const told = (what: string) => waitFor(what, () => home.events.includes(`yubikey:serial=1001 ${what}`));
  expect(await outcomeOf(backend.count())).toMatchObject({ code: 'TOKEN_NOT_PRESENT' });
  await home.yubikeys.card().insert();
  await appendFile(events, 'connect\n');
  await told('is there');
  expect(await backend.count()).toBe(1);
  await home.yubikeys.card().remove();
  await appendFile(events, 'disconnect\n');
  await told('was taken out');
});
