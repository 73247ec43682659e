/** Keys made elsewhere, on a YubiKey: the slot and the policies are chosen as for keys that are made there. */
import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { DeviceRequest } from '../../src/backends/token-facts.ts';
import type { YubikeyBackend, YubikeyOptions } from '../../src/backends/yubikey/yubikey-backend.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { outcomeOf } from '../support/outcome.ts';
import { pinPerson } from '../support/pin-person.ts';
import { FACTORY_PIN, type YubikeyHome, yubikeyHome } from '../support/yubikey-home.ts';

const CONTEXT = { caller: 'test' };
const OWNER = { role: 'targets', gun: 'example.com/app' };
const message = Buffer.from('what is signed');

let home: YubikeyHome;

beforeAll(async () => {
  home = await yubikeyHome();
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await home.yubikeys.card().factoryReset();
});

async function open(options: Partial<YubikeyOptions> = {}): Promise<YubikeyBackend> {
  return await home.open({ pinFile: await home.pinFile(FACTORY_PIN), authorities: home.authorities, ...options });
}

function pkcs8(): Buffer {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'der', type: 'pkcs8' });
}

function importInto(backend: YubikeyBackend, device: DeviceRequest, key = pkcs8(), context = CONTEXT) {
  return backend.importer.import(key, { ...OWNER, device }, context);
}

async function cardKey(slot: number) {
  return (await home.yubikeys.card().status()).keys.find((key) => key.slot === slot);
}

test('a key goes to the slot that is named, and over nothing that is there unless that is asked for', async () => {
  await using backend = await open();
  const first = await importInto(backend, { slot: '9a' });
  expect(first).toMatchObject({ ...OWNER, device: { slot: '9a', attested: false } });
  expect(await outcomeOf(importInto(backend, { slot: '9a' }))).toMatchObject({
    code: 'KEY_EXISTS',
    message: 'slot 9a is not empty',
  });
  expect(await outcomeOf(importInto(backend, { slot: 'f9', overwriteSlot: true }))).toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: 'slot f9 holds the attestation key: nothing is ever written there',
  });
  const second = await importInto(backend, { slot: '9a', overwriteSlot: true });
  expect(second.device?.slot).toBe('9a');
  expect(await backend.find(first.keyId)).toBeUndefined();
  const signature = await backend.sign(second.keyId, { message }, CONTEXT);
  expect(verifySignature(second.publicKey, message, signature)).toBe(true);
  expect((await importInto(backend, { slot: '82' })).device?.slot).toBe('82');
});

test('its policies are those that were asked for, and are known although no attestation tells them', async () => {
  const stateDirectory = join(home.directory, 'state');
  await using backend = await open({ stateDirectory });
  const asked = { slot: '9c', pinPolicy: 'once', touchPolicy: 'cached' } as const;
  const person = pinPerson(() => undefined);
  const key = await importInto(backend, asked, pkcs8(), person.context);
  expect(key).toMatchObject({ ...OWNER, needs: { touch: true }, device: { ...asked, attested: false } });
  expect(person.touches).toEqual({ count: 1, pending: 0 });
  expect(person.touchedKeys).toMatchObject([{ keyId: key.keyId, ...OWNER }]);
  expect(await cardKey(0x9c)).toMatchObject({ pinPolicy: 'once', touchPolicy: 'cached', origin: 'imported' });
  await backend[Symbol.asyncDispose]();
  await using again = await open({ stateDirectory });
  expect(await again.find(key.keyId)).toEqual({ ...key });
  const signature = await again.sign(key.keyId, { message }, CONTEXT);
  expect(verifySignature(key.publicKey, message, signature)).toBe(true);
});

test('RSA keys are taken with policies too', async () => {
  await using backend = await open();
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const der = privateKey.export({ format: 'der', type: 'pkcs8' });
  const key = await importInto(backend, { slot: '9d', pinPolicy: 'always' }, der);
  expect(await cardKey(0x9d)).toMatchObject({ pinPolicy: 'always', touchPolicy: 'never' });
  const signature = await backend.sign(key.keyId, { message }, CONTEXT);
  expect(verifySignature(key.publicKey, message, signature)).toBe(true);
});

test('a key that is there is not stored in a second slot', async () => {
  await using backend = await open();
  const key = pkcs8();
  const { keyId } = await importInto(backend, { slot: '9a' }, key);
  for (const device of [{ slot: '9c' }, { slot: '9c', touchPolicy: 'always' }] as const) {
    expect(await outcomeOf(importInto(backend, device, key))).toMatchObject({
      code: 'KEY_EXISTS',
      message: `key ${keyId} exists on yubikey:`,
    });
  }
  expect(await cardKey(0x9c)).toBeUndefined();
});

test('without the PIN nothing is overwritten', async () => {
  await using backend = await open({ pinFile: undefined });
  const before = await open();
  const { keyId } = await importInto(before, { slot: '9a' });
  await before[Symbol.asyncDispose]();
  const overwriting = importInto(backend, { slot: '9a', overwriteSlot: true, touchPolicy: 'cached' });
  expect(await outcomeOf(overwriting)).toMatchObject({ code: 'PIN_REQUIRED' });
  expect((await backend.find(keyId))?.device?.slot).toBe('9a');
});

test('without a library or a tool that can set policies, no key is stored', async () => {
  await using backend = await open({ env: { ...home.yubikeys.env, PATH: '/nowhere' } });
  expect(await outcomeOf(importInto(backend, { slot: '9a', touchPolicy: 'always' }))).toMatchObject({
    code: 'UNSUPPORTED',
    message: 'yubico-piv-tool is not installed',
  });
  expect(await cardKey(0x9a)).toBeUndefined();
  expect((await importInto(backend, { slot: '9a', touchPolicy: 'never', pinPolicy: 'once' })).device?.slot).toBe('9a');
});
