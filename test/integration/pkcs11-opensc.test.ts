/** What is special about OpenSC's module over a PIV card, beside the port's contract: conformance-pkcs11-opensc.test.ts. */
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { keysOf } from '../support/backend-keys.ts';
import { outcomeOf } from '../support/outcome.ts';
import { MULTIARCH, type OpenToken, opener, writePinFile } from '../support/pkcs11-home.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';
import { FACTORY_PIN, type PresetKey } from '../support/virtual-yubikey/card/settings.ts';
import { cardTools } from '../support/virtual-yubikey/tools.ts';
import { startVirtualYubikeys, type VirtualYubikeys } from '../support/virtual-yubikey/virtual-yubikeys.ts';

const CONTEXT = { caller: 'test' };
const TOKEN = { manufacturer: 'piv_II' };
const KEYS: readonly PresetKey[] = [
  { slot: 0x9a, certificate: 'first', algorithm: 'P-384' },
  { slot: 0x9c, certificate: 'second' },
  { slot: 0x9d, certificate: 'third' },
];
const message = Buffer.from('what is signed');

let yubikeys: VirtualYubikeys;
let directory: TemporaryDirectory;
let open: OpenToken;

beforeAll(async () => {
  directory = await temporaryDirectory();
  yubikeys = await startVirtualYubikeys();
  open = opener({ modulePath: join(MULTIARCH, 'opensc-pkcs11.so'), env: yubikeys.env });
});
beforeEach(async () => {
  const card = yubikeys.card();
  await card.factoryReset();
  await card.clearStatistics();
  for (const key of KEYS) await card.putKey(key);
});
afterAll(async () => {
  await yubikeys[Symbol.asyncDispose]();
  await directory[Symbol.asyncDispose]();
});

async function openWithPin() {
  return await open(TOKEN, { pinFile: await writePinFile(directory.path, FACTORY_PIN) });
}

test('keys with a certificate are found by their slot, also one that wants the PIN each time', async () => {
  await using backend = await openWithPin();
  const keys = await keysOf(backend);
  expect(keys.map(({ device, location }) => [device?.pinPolicy, location])).toEqual([
    ['once', 'pkcs11:token=first;serial=00000000;type=private;id=%01'],
    ['always', 'pkcs11:token=first;serial=00000000;type=private;id=%02'],
    ['once', 'pkcs11:token=first;serial=00000000;type=private;id=%03'],
  ]);
  for (const { keyId } of keys.slice(0, 2)) {
    for (let i = 0; i < 3; i++) {
      const signature = await backend.sign(keyId, { message }, CONTEXT);
      expect(verifySignature(await backend.publicKey(keyId), message, signature)).toBe(true);
    }
  }
  expect((await yubikeys.card().statistics()).pin.failures).toBe(0);
});

test('the key of slot 9d, which is for key management, does not sign', async () => {
  await using backend = await openWithPin();
  const [, , key] = await keysOf(backend);
  expect(key && (await outcomeOf(backend.sign(key.keyId, { message }, CONTEXT)))).toEqual({
    code: 'UNSUPPORTED',
    message: 'opensc-pkcs11.so: signing on token "first" failed (CKR_KEY_TYPE_INCONSISTENT)',
  });
});

test('nothing can be written to the card, which is known before a PIN is asked for', async () => {
  await using backend = await open(TOKEN);
  expect(backend.relabeller).toBeUndefined();
  expect(backend.certifier).toBeUndefined();
  expect(await outcomeOf(backend.generator.generate({ algorithm: 'ecdsa', role: 'root', gun: '' }, CONTEXT))).toEqual({
    code: 'UNSUPPORTED',
    message: 'pkcs11:manufacturer=piv_II makes no P-256 keys that Signet can use',
  });
  expect((await yubikeys.card().statistics()).pin.attempts).toBe(0);
});

test('the serial number is that of the card holder, where the card has one', async () => {
  await cardTools(yubikeys).pivTool('-a set-chuid');
  await using backend = await openWithPin();
  const serials = (await keysOf(backend)).map(({ device }) => device?.serial);
  expect(serials).toEqual(Array.from({ length: 3 }, () => expect.stringMatching(/^(?!0+$)[0-9a-f]{16}$/)));
});

test('a key that another program made is seen after the token was let go of, if it has a certificate', async () => {
  await using backend = await openWithPin();
  const seen = async () => (await keysOf(backend)).length;
  expect(await seen()).toBe(3);
  await yubikeys.card().putKey({ slot: 0x9e });
  await backend.token.release();
  expect(await seen()).toBe(3);
  await yubikeys.card().putKey({ slot: 0x9e, certificate: 'fourth' });
  expect(await seen()).toBe(3);
  await backend.token.release();
  expect(await seen()).toBe(4);
});

test('the last try is told, and a locked PIN', async () => {
  await using backend = await open(TOKEN);
  const [key] = await keysOf(backend);
  const unlock = async (pin: string) => {
    if (key === undefined) throw new Error('there is no key');
    const { code, retriesLeft } = await outcomeOf(backend.unlocker.unlock(key.keyId, Secret.fromText(pin), undefined));
    return [code, retriesLeft];
  };
  expect(await unlock('111111')).toEqual(['PIN_INCORRECT', undefined]);
  expect(await unlock('222222')).toEqual(['PIN_INCORRECT', 1]);
  expect(await unlock('333333')).toEqual(['PIN_LOCKED', 0]);
  expect(await backend.token.status()).toMatchObject({ pinLocked: true, pinTriesLeft: 0, warnings: [] });
});
