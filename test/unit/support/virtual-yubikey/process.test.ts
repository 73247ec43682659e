import { expect, test } from 'vitest';
import { Faults } from '../../../support/virtual-yubikey/process/faults.ts';
import { encodeUevent } from '../../../support/virtual-yubikey/process/uevent.ts';
import { FrameReader } from '../../../support/virtual-yubikey/process/vpcd.ts';

const powered = new AbortController().signal;
const hex = (text: string) => Buffer.from(text, 'hex');

test('vpcd messages are found however the stream is cut', () => {
  const stream = hex('000104' + '0005' + '00a4040000' + '0000' + '000101');
  const expected = ['04', '00a4040000', '', '01'];
  for (let size = 1; size <= stream.length; size++) {
    const reader = new FrameReader();
    const found: string[] = [];
    for (let offset = 0; offset < stream.length; offset += size) {
      found.push(...reader.push(stream.subarray(offset, offset + size)).map((frame) => frame.toString('hex')));
    }
    expect(found).toEqual(expected);
  }
});

test('an ordered answer replaces so many commands of its kind, and no part of a chain but the last', async () => {
  const faults = new Faults();
  faults.order('VERIFY', 0x6f00, 1);
  expect(await faults.before(hex('00f80000'), powered)).toBeUndefined();
  expect(await faults.before(hex('10200080'), powered)).toBeUndefined();
  expect(await faults.before(hex('00200080'), powered)).toEqual(hex('6f00'));
  expect(await faults.before(hex('00200080'), powered)).toBeUndefined();
});

test('ANY stands for every instruction, also unknown ones, until cleared', async () => {
  const faults = new Faults();
  faults.order('ANY', 0x6e00, 3);
  expect(await faults.before(hex('00200080'), powered)).toEqual(hex('6e00'));
  expect(await faults.before(hex('00ee0000'), powered)).toEqual(hex('6e00'));
  faults.clear();
  expect(await faults.before(hex('00200080'), powered)).toBeUndefined();
});

test('a delayed command is given up when the power is lost', async () => {
  const faults = new Faults();
  faults.setDelay('VERIFY', 60_000);
  const power = new AbortController();
  const waiting = faults.before(hex('00200080'), power.signal);
  power.abort();
  await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
});

test('udev events carry the hashes that libudev filters by', () => {
  const message = encodeUevent({ ACTION: 'add', SUBSYSTEM: 'usb', DEVTYPE: 'usb_device' });
  expect(message.subarray(0, 12)).toEqual(hex('6c69627564657600feedcafe'));
  expect(message.subarray(40).toString()).toBe('ACTION=add\0SUBSYSTEM=usb\0DEVTYPE=usb_device\0');
  expect(message.readUInt32LE(20)).toBe(message.length - 40);
  expect(message.readUInt32BE(24)).toBe(0x0577c5e5);
  expect(message.readUInt32BE(28)).toBe(0x27f8f50c);
});
