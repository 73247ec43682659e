/** Slots in which the library sees nothing: whether there is a key is asked of the card. Libraries since 2.5 see every key. */
import { generateKeyPairSync } from 'node:crypto';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import type { KeyInfo } from '../../src/backends/backend.ts';
import type { DeviceRequest } from '../../src/backends/token-facts.ts';
import { hasKey } from '../../src/backends/yubikey/slot-key.ts';
import type { YubikeyBackend } from '../../src/backends/yubikey/yubikey-backend.ts';
import { expectSigns } from '../support/backend-keys.ts';
import { outcomeOf } from '../support/outcome.ts';
import { pinPerson } from '../support/pin-person.ts';
import type { CardSettings, PresetKey } from '../support/virtual-yubikey/card/settings.ts';
import { isLibrarySince } from '../support/virtual-yubikey/library.ts';
import { FACTORY_PIN, type YubikeyHome, yubikeyHome } from '../support/yubikey-home.ts';

const CONTEXT = { caller: 'test' };
const OWNER = { role: 'root', gun: 'example.com/app' };
const PKCS8 = { format: 'der', type: 'pkcs8' } as const;
const message = Buffer.from('what is signed');
const seesEveryKey = await isLibrarySince(2, 5);
/** Of firmware 5.7, with a management key that every library can use. */
const CARD = { serial: 12345678, firmware: '5.7.1', managementAlgorithm: '3DES' } as const;

let home: YubikeyHome;

afterEach(async () => {
  await home[Symbol.asyncDispose]();
});

const start = async (keys: readonly PresetKey[] = [], ...others: CardSettings[]): Promise<void> => {
  home = await yubikeyHome({ cards: [{ ...CARD, keys }, ...others] });
};

const open = async (env: NodeJS.ProcessEnv = home.yubikeys.env) =>
  await home.open({
    serial: '12345678',
    pinFile: await home.pinFile(FACTORY_PIN),
    env,
    onUnreadable: () => undefined, // what the library does not know
  });

const ed25519 = () => generateKeyPairSync('ed25519').privateKey.export(PKCS8);
const importedKey = (slot: number, pkcs8 = ed25519()): PresetKey => ({ slot, pkcs8: pkcs8.toString('base64') });

const generate = (backend: YubikeyBackend, device: DeviceRequest = {}) =>
  backend.generator.generate({ ...OWNER, algorithm: 'ecdsa', device }, CONTEXT);
const importKey = (backend: YubikeyBackend, device: DeviceRequest = {}) => {
  const pkcs8 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export(PKCS8);
  return backend.importer.import(pkcs8, { ...OWNER, device }, CONTEXT);
};

const keysOnCard = async () => (await home.yubikeys.card().status()).keys;

/** An environment in which opensc-tool is this script. */
async function withOpensc(script: string): Promise<NodeJS.ProcessEnv> {
  const directory = join(home.directory, 'bin');
  await mkdir(directory);
  await writeFile(join(directory, 'opensc-tool'), `#!/bin/sh\n${script}\n`);
  await chmod(join(directory, 'opensc-tool'), 0o755);
  return { ...home.yubikeys.env, PATH: directory };
}

test('an empty slot is used without being named, for new keys and for imported ones', async () => {
  await start();
  await using backend = await open();
  const made = await generate(backend);
  expect(made.device?.slot).toBe('9c');
  const imported = await importKey(backend);
  expect(imported.device?.slot).toBe('9a');
  for (const key of [made, imported]) await expectSigns(backend, key);
});

test('a key without a certificate is never overwritten unasked', async () => {
  await start([importedKey(0x9c), importedKey(0x9a), importedKey(0x82)]);
  const before = await keysOnCard();
  await using backend = await open();
  expect(await outcomeOf(generate(backend, { slot: '82' }))).toMatchObject({
    code: 'KEY_EXISTS',
    message: 'slot 82 is not empty',
  });
  expect(await outcomeOf(importKey(backend, { slot: '9a' }))).toMatchObject({
    code: 'KEY_EXISTS',
    message: 'slot 9a is not empty',
  });
  expect((await generate(backend)).device?.slot).toBe('9d');
  for (const make of [generate, importKey]) {
    expect(await outcomeOf(make(backend))).toMatchObject({
      code: 'TOKEN_FULL',
      message: 'slots 9c, 9a, 9d are not empty',
    });
  }
  expect(await keysOnCard()).toEqual(expect.arrayContaining([...before]));
});

test.each([
  ['Ed25519', ed25519],
  ['P-256', () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export(PKCS8)],
  ['RSA-3072', () => generateKeyPairSync('rsa', { modulusLength: 3072 }).privateKey.export(PKCS8)],
])('a key (%s) that another program put over a removed one is not overwritten', async (_, makeKey) => {
  await start();
  await using backend = await open();
  const { keyId } = await generate(backend);
  expect(await backend.remover.remove(keyId, CONTEXT)).toBe(true);
  await home.yubikeys.card().putKey(importedKey(0x9c, makeKey()));
  const before = await keysOnCard();
  await backend[Symbol.asyncDispose]();

  await using again = await open();
  expect((await generate(again)).device?.slot).toBe('9a');
  expect(await keysOnCard()).toEqual(expect.arrayContaining([...before]));
});

test('the slot of a removed key is used again', async () => {
  await start();
  await using backend = await open();
  const { keyId } = await generate(backend);
  expect(await backend.remover.remove(keyId, CONTEXT)).toBe(true);
  expect((await generate(backend)).device?.slot).toBe('9c');
});

test('the card tells without a try, and without ending the login', async () => {
  // What is told of a large key is longer than a short answer holds.
  await start([{ slot: 0x9a, certificate: 'root' }, importedKey(0x9c), { slot: 0x82, algorithm: 'RSA-3072' }]);
  await using backend = await home.open({ serial: '12345678', onUnreadable: () => undefined });
  const keys: KeyInfo[] = [];
  for await (const key of backend.list()) keys.push(key);
  const key = keys.find(({ device }) => device?.slot === '9a');
  if (key === undefined) throw new Error('no key');
  await backend.sign(key.keyId, { message }, pinPerson(() => FACTORY_PIN).context);
  await home.yubikeys.card().clearStatistics();
  const token = { serial: '12345678', slotDescription: 'Yubico YubiKey OTP+FIDO+CCID 00 00' };
  const ask = (slot: string) => hasKey(slot, { token, env: home.yubikeys.env });
  const answers: boolean[] = [];
  for (const slot of ['9a', '9c', '82', '9d', '95']) answers.push(await ask(slot));
  expect(answers).toEqual([true, true, true, false, false]);
  await expectSigns(backend, key);
  const { apdus, pin } = await home.yubikeys.card().statistics();
  expect(apdus).toEqual({ GET_SERIAL: 5, GET_METADATA: 5, GENERAL_AUTHENTICATE: 1 });
  expect(pin.attempts).toBe(0);
});

const CANNOT_TELL: readonly (readonly [string, () => Promise<NodeJS.ProcessEnv>, string])[] = [
  [
    'opensc-tool is not installed',
    async () => ({ ...home.yubikeys.env, PATH: '/nowhere' }),
    'install opensc-tool (package opensc)',
  ],
  ['opensc-tool fails', () => withOpensc('exit 1'), 'try again (opensc-tool failed)'],
  [
    'another program has selected another application',
    () =>
      withOpensc(
        '/usr/bin/opensc-tool -r "$2" -c default -s 00A4040008A000000527471117 >/dev/null; exec /usr/bin/opensc-tool "$@"',
      ),
    'try again (the card did not tell opensc-tool)',
  ],
  [
    'another YubiKey answers',
    () => withOpensc('shift 2; exec /usr/bin/opensc-tool --reader 1 "$@"'),
    'try again (the card did not tell opensc-tool)',
  ],
];

test.each(CANNOT_TELL)(
  'an older library makes nothing where %s, unless the slot is to be overwritten',
  async (_, env, remedy) => {
    await start([importedKey(0x9c)], { ...CARD, serial: 1002 });
    await using backend = await open(await env());
    if (seesEveryKey) {
      expect((await generate(backend, { slot: '82' })).device?.slot).toBe('82');
      return;
    }
    for (const make of [generate, importKey]) {
      expect(await outcomeOf(make(backend, { slot: '82' }))).toEqual({
        code: 'UNSUPPORTED',
        message: expect.stringMatching(
          /^libykcs11 2\.\d\.\d does not see every key of this YubiKey: slot 82 may not be empty$/,
        ),
        hint: `${remedy}, install libykcs11 2.5 or later, or name the slot and ask for overwriting`,
      });
      expect((await keysOnCard()).map(({ slot }) => slot).sort()).toEqual([0x9c, 0xf9]);
    }
    expect((await generate(backend, { slot: '82', overwriteSlot: true })).device?.slot).toBe('82');
  },
);
