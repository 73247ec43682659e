/** Keys on a YubiKey: made in 9c, listed with what the card says about them, used, removed. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { KeyInfo } from '../../src/backends/backend.ts';
import type { YubikeyBackend } from '../../src/backends/yubikey/yubikey-backend.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { FACTORY_PIN, type YubikeyHome, yubikeyHome } from '../support/yubikey-home.ts';

const CONTEXT = { caller: 'test' };
const ROOT = { algorithm: 'ecdsa', role: 'root', gun: 'registry.example.com/team/app' } as const;
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

async function open(): Promise<YubikeyBackend> {
  return await home.open({ pinFile: await home.pinFile(FACTORY_PIN), authorities: home.authorities });
}

async function keysOf(backend: YubikeyBackend): Promise<readonly KeyInfo[]> {
  const keys: KeyInfo[] = [];
  for await (const key of backend.list()) keys.push(key);
  return keys;
}

test('a new root key is made in slot 9c, signs, and tells what it is', async () => {
  await using backend = await open();
  expect(await keysOf(backend)).toEqual([]);
  const key = await backend.generator.generate(ROOT, CONTEXT);
  expect(key).toMatchObject({
    role: 'root',
    gun: 'registry.example.com/team/app',
    needs: { pin: true, touch: false, passphrase: false },
    device: {
      serial: '12345678',
      label: 'YubiKey PIV #12345678',
      slot: '9c',
      firmware: '5.4.3',
      pinPolicy: 'always',
      touchPolicy: 'never',
      attested: true,
    },
  });
  expect(await keysOf(backend)).toEqual([key]);
  for (let i = 0; i < 3; i++) {
    const signature = await backend.sign(key.keyId, { message }, CONTEXT);
    expect(verifySignature(key.publicKey, message, signature)).toBe(true);
  }
});
