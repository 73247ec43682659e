/** What tests can do around virtual YubiKeys: taking them out, touching them, faults, pcscd, USB, other programs. */
import { createHash, createPublicKey, randomBytes, verify } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { waitFor } from '../support/conditions.ts';
import { type ProgramResult, startProgram } from '../support/processes.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';
import { YKCS11_MODULE } from '../support/virtual-yubikey/library.ts';
import { type CardTools, cardTools, OPENSC_MODULE } from '../support/virtual-yubikey/tools.ts';
import { startVirtualYubikeys, type VirtualYubikeys } from '../support/virtual-yubikey/virtual-yubikeys.ts';

const OLD_SERIAL = 1001;
const NEW_SERIAL = 1002;
const SECOND_READER = [' 00 01', '-a', 'status'];
const UDEV_LISTENER = fileURLToPath(new URL('../support/virtual-yubikey/udev-listener.mjs', import.meta.url));

let yubikeys: VirtualYubikeys;
let tools: CardTools;
let directory: TemporaryDirectory;
const at = (name: string) => join(directory.path, name);
const message = randomBytes(100);

beforeAll(async () => {
  directory = await temporaryDirectory();
  yubikeys = await startVirtualYubikeys({
    hasUsb: true,
    cards: [
      {
        serial: OLD_SERIAL,
        keys: [
          { slot: 0x9a, certificate: 'root' },
          { slot: 0x9e, touchPolicy: 'always' },
        ],
      },
      { serial: NEW_SERIAL, firmware: '5.7.1', keys: [{ slot: 0x9a, certificate: 'other', algorithm: 'P-384' }] },
    ],
  });
  tools = cardTools(yubikeys);
  await writeFile(at('digest'), createHash('sha256').update(message).digest());
});

afterEach(async () => {
  await yubikeys.pcscd.start();
  for (const card of [yubikeys.card(0), yubikeys.card(1)]) {
    await card.insert();
    await card.setTouch('auto');
    await card.clearFaults();
    await card.clearStatistics();
  }
});

afterAll(async () => {
  await yubikeys[Symbol.asyncDispose]();
  await directory[Symbol.asyncDispose]();
});

/** Signs `message` with a key of the old card. @param id CKA_ID: 01 for 9a, 04 for 9e */
function signWith(id: string, module = YKCS11_MODULE) {
  const operation = ['--login', '--pin', '123456', '--sign', '--mechanism', 'ECDSA', '--id', id];
  const files = ['--signature-format', 'openssl', '--input-file', at('digest'), '--output-file', at('signature')];
  return startProgram('pkcs11-tool', ['--module', module, ...operation, ...files], { env: yubikeys.env });
}

async function signedWith(id: string, module?: string): Promise<ProgramResult> {
  await using program = await signWith(id, module);
  return await program.ended;
}

/** Of what `signWith` wrote. */
async function isSignatureValid(slot: number): Promise<boolean> {
  const { keys } = await yubikeys.card().status();
  const spki = Buffer.from(keys.find((key) => key.slot === slot)?.spki ?? '', 'base64');
  const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' });
  return verify('sha256', message, publicKey, await readFile(at('signature')));
}

test('two cards are two tokens in two readers', async () => {
  expect(await tools.pivTool('-a status')).toContain(`Serial Number:\t${OLD_SERIAL}`);
  expect(await tools.pivTool('-r', ...SECOND_READER)).toContain(`Serial Number:\t${NEW_SERIAL}`);
  const slots = await tools.pkcs11Tool('-L');
  expect(slots.match(/YubiKey PIV #\d+/g)).toEqual([`YubiKey PIV #${OLD_SERIAL}`, `YubiKey PIV #${NEW_SERIAL}`]);
});

test('each set of cards has readers of its own', async () => {
  await using others = await startVirtualYubikeys({ cards: [{ serial: 3003 }] });
  expect(await cardTools(others).pivTool('-a status')).toContain('Serial Number:\t3003');
  expect(await tools.pivTool('-a status')).toContain(`Serial Number:\t${OLD_SERIAL}`);
});

describe('a card', () => {
  test('is gone when taken out, and there when it is put in again', async () => {
    await yubikeys.card(1).remove();
    expect(await tools.pkcs11Tool('-L')).not.toContain(`#${NEW_SERIAL}`);
    await yubikeys.card(1).insert();
    expect(await tools.pkcs11Tool('-L')).toContain(`#${NEW_SERIAL}`);
  });

  test('keeps its PIN tries while it is out', async () => {
    await tools.pivToolFailing('-a verify-pin -P 000000');
    await yubikeys.card().remove();
    await yubikeys.card().insert();
    expect(await tools.pivTool('-a status')).toContain('PIN tries left:\t2');
    await tools.pivTool('-a verify-pin -P 123456');
  });

  test('taken out while it waits for a touch fails the signature', async () => {
    await yubikeys.card().setTouch('wait');
    await using signing = await signWith('04');
    await yubikeys.card().untilAwaitingTouch();
    await yubikeys.card().remove();
    const { ending, stderr } = await signing.ended;
    expect(ending).toBe(1);
    expect(stderr).toMatch(/CKR_DEVICE_(ERROR|REMOVED)/);
    expect(await yubikeys.card().status()).toMatchObject({ isAwaitingTouch: false });
  });

  test('signs once it is touched, and not before', async () => {
    await yubikeys.card().setTouch('wait');
    await using signing = await signWith('04');
    await yubikeys.card().untilAwaitingTouch();
    expect(await yubikeys.card().statistics()).toMatchObject({ signatures: 0, touchesAwaited: 1 });
    expect(await yubikeys.card().touch()).toBe(true);
    expect((await signing.ended).ending).toBe(0);
    expect(await isSignatureValid(0x9e)).toBe(true);
  });

  test('that nobody touches in time refuses', async () => {
    await yubikeys.card().setTouch('deny');
    const { ending, stderr } = await signedWith('04');
    expect(ending).toBe(1);
    expect(stderr).toContain('CKR_USER_NOT_LOGGED_IN');
  });

  test('gives ordered answers, so often and no more', async () => {
    await yubikeys.card().answerNext('GENERAL_AUTHENTICATE', 0x6f00, 2); // pkcs11-tool tries two ways to sign
    expect((await signedWith('01')).stderr).toMatch(/CKR_(DEVICE_ERROR|FUNCTION_FAILED)/);
    expect((await signedWith('01')).ending).toBe(0);
    expect(await isSignatureValid(0x9a)).toBe(true);
    expect(await yubikeys.card().statistics()).toMatchObject({ apdus: { GENERAL_AUTHENTICATE: 3 }, signatures: 1 });
  });

  test('signs wrongly on demand, once', async () => {
    await yubikeys.card().signWronglyNext();
    const valid: boolean[] = [];
    for (let times = 0; times < 2; times++) {
      expect((await signedWith('01')).ending).toBe(0);
      valid.push(await isSignatureValid(0x9a));
    }
    expect(valid).toEqual([false, true]);
  });

  test('keeps a program waiting as long as ordered', async () => {
    await yubikeys.card().delay('GENERAL_AUTHENTICATE', 60_000);
    await using signing = await signWith('01');
    await waitFor('the PIN', async () => (await yubikeys.card().statistics()).pin.attempts === 1);
    expect(await yubikeys.card().statistics()).toMatchObject({ signatures: 0 });
    await yubikeys.card().remove();
    expect((await signing.ended).ending).toBe(1);
  });
});

describe('pcscd', () => {
  test('can be stopped and started, and finds the cards again', async () => {
    await yubikeys.pcscd.stop();
    expect(await tools.pivToolFailing('-a status')).toContain('Failed to connect');
    await yubikeys.pcscd.start();
    expect(await tools.pivTool('-a status')).toContain(`Serial Number:\t${OLD_SERIAL}`);
  });

  test('finds after a start what was put in while it was stopped', async () => {
    await yubikeys.card(1).remove();
    await yubikeys.pcscd.stop();
    await yubikeys.card(1).insert();
    await yubikeys.pcscd.start();
    expect(await tools.pkcs11Tool('-L')).toContain(`#${NEW_SERIAL}`);
  });
});

describe('OpenSC', () => {
  test('lists and signs with a key that has a certificate', async () => {
    expect(await tools.run('pkcs11-tool', '--module', OPENSC_MODULE, '-L')).toMatch(/token label +: root\n/);
    expect((await signedWith('01', OPENSC_MODULE)).ending).toBe(0);
    expect(await isSignatureValid(0x9a)).toBe(true);
  });

  test('proves an AES-192 management key, right or wrong', async () => {
    const authenticate = (keyFile: string) => {
      const { run, runFailing } = cardTools(yubikeys, { PIV_EXT_AUTH_KEY: at(keyFile) });
      return keyFile === 'right' ? run('piv-tool', ...command) : runFailing('piv-tool', ...command);
    };
    const command = ['--reader', '1', '--admin', 'M:9B:0A'];
    await writeFile(at('right'), '01:02:03:04:05:06:07:08:'.repeat(3).slice(0, -1));
    await writeFile(at('wrong'), '08:07:06:05:04:03:02:01:'.repeat(3).slice(0, -1));
    await authenticate('right');
    await authenticate('wrong');
    expect(await yubikeys.card(1).statistics()).toMatchObject({ managementKey: { attempts: 2, failures: 1 } });
  });
});

describe('a program inside', () => {
  test('sees the cards and runs where the test does', async () => {
    const inside = yubikeys.enter('sh', ['-c', 'pwd; exec yubico-piv-tool -a status']);
    const output = await tools.run(inside.command, ...inside.args);
    expect(output).toMatch(new RegExp(`^${process.cwd()}\n`));
    expect(output).toContain(`Serial Number:\t${OLD_SERIAL}`);
  });

  test('hears through libudev of devices that come and go', async () => {
    const inside = yubikeys.enter(process.execPath, [UDEV_LISTENER]);
    await using listener = await startProgram(
      inside.command,
      inside.args,
      { env: yubikeys.env },
      { output: /^listening$/m },
    );
    await yubikeys.usb.plug();
    await yubikeys.usb.plug(2, { vendorId: 0x20a0, productId: 0x42b2 });
    await yubikeys.usb.unplug();
    await waitFor('the events', () => listener.stdout.includes('remove'));
    expect(listener.stdout.split('\n').slice(1, -1)).toEqual([
      'add /dev/bus/usb/001/002 1050/407/543',
      'add /dev/bus/usb/001/003 20a0/42b2/543',
      'remove /dev/bus/usb/001/002 1050/407/543',
    ]);
    const files = yubikeys.enter('ls', ['/sys/bus/usb/devices']);
    expect(await tools.run(files.command, ...files.args)).toBe('1-2\n');
    await yubikeys.usb.unplug(2);
  });
});

test('a machine without USB has no bus, and says so', async () => {
  await using others = await startVirtualYubikeys();
  await expect(others.usb.plug()).rejects.toThrow('this machine has no USB');
  const inside = others.enter('ls', ['/sys/bus/usb']);
  await cardTools(others).runFailing(inside.command, ...inside.args);
});

test('settings that no card can have are refused, with the reason', async () => {
  const impossible = { serial: 1, keys: [{ slot: 0x99 }] };
  await expect(startVirtualYubikeys({ cards: [impossible] })).rejects.toThrow('a card has no slot 99');
});

test('nothing is left behind', async () => {
  const others = await startVirtualYubikeys();
  const socket = others.env['PCSCLITE_CSOCK_NAME'] ?? '';
  const own = socket.split('/pcscd/')[0] ?? '';
  expect(await processesWith(own)).not.toEqual([]);
  await others[Symbol.asyncDispose]();
  expect(await processesWith(own)).toEqual([]);
  await expect(readFile(socket)).rejects.toMatchObject({ code: 'ENOENT' });
  await expect(others.card().status()).rejects.toThrow('the virtual YubiKey has ended');
});

/** Process IDs that have `text` in their command lines. */
async function processesWith(text: string): Promise<readonly string[]> {
  const all = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(all.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return all.filter((_, index) => lines[index]?.includes(text));
}
