/** OpenSC's module over a YubiKey: what any PIV card can do, without Yubico's library. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { KeyInfo } from '../../src/backends/backend.ts';
import { parseKeyId } from '../../src/crypto/key-id.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { outcomeOf } from '../support/outcome.ts';
import { MULTIARCH, type OpenToken, opener, writePinFile } from '../support/pkcs11-home.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';
import { FACTORY_PIN } from '../support/virtual-yubikey/card/settings.ts';
import { startVirtualYubikeys, type VirtualYubikeys } from '../support/virtual-yubikey/virtual-yubikeys.ts';

const CONTEXT = { caller: 'test' };
const TOKEN = { model: 'PKCS#15 emulated' };
const UNKNOWN = parseKeyId('0'.repeat(64));
const message = Buffer.from('what is signed');

let yubikeys: VirtualYubikeys;
let directory: TemporaryDirectory;
let open: OpenToken;

beforeAll(async () => {
  directory = await temporaryDirectory();
  yubikeys = await startVirtualYubikeys({
    cards: [
      {
        serial: 12345678,
        keys: [
          { slot: 0x9a, certificate: 'first' },
          { slot: 0x9c, certificate: 'second' },
          { slot: 0x9d, certificate: 'third', algorithm: 'P-384' },
        ],
      },
    ],
  });
  open = opener({ modulePath: join(MULTIARCH, 'opensc-pkcs11.so'), env: yubikeys.env });
});
afterAll(async () => {
  await yubikeys[Symbol.asyncDispose]();
  await directory[Symbol.asyncDispose]();
});

async function keysOf(backend: Awaited<ReturnType<OpenToken>>): Promise<readonly KeyInfo[]> {
  const keys: KeyInfo[] = [];
  for await (const key of backend.list()) keys.push(key);
  return keys;
}

test('P-256 keys with a certificate are listed and sign, also one that wants the PIN each time', async () => {
  const pinFile = await writePinFile(directory.path, FACTORY_PIN);
  await using backend = await open(TOKEN, { pinFile });
  const keys = await keysOf(backend);
  expect(keys.map(({ role, device, location }) => [role, device?.pinPolicy, location])).toEqual([
    ['', 'once', 'pkcs11:token=first;serial=00000000;type=private;id=%01'],
    ['', 'always', 'pkcs11:token=first;serial=00000000;type=private;id=%02'],
    ['', 'once', 'pkcs11:token=first;serial=00000000;type=private;id=%03'],
  ]);
  for (const { keyId } of keys.slice(0, 2)) {
    for (let i = 0; i < 3; i++) {
      const signature = await backend.sign(keyId, { message }, CONTEXT);
      expect(verifySignature(await backend.publicKey(keyId), message, signature)).toBe(true);
    }
  }
  expect((await yubikeys.card().statistics()).pin.failures).toBe(0);
});

test('what this module cannot do is said, and changes nothing', async () => {
  const pinFile = await writePinFile(directory.path, FACTORY_PIN);
  await using backend = await open(TOKEN, { pinFile });
  const p384 = (await keysOf(backend))[2];
  expect(await outcomeOf(backend.sign(p384?.keyId ?? UNKNOWN, { message }, CONTEXT))).toEqual({
    code: 'UNSUPPORTED',
    message: 'opensc-pkcs11.so: signing on token "first" failed (CKR_KEY_TYPE_INCONSISTENT)',
  });
  expect(backend.generator.algorithms).toEqual([]);
  const made = await outcomeOf(backend.generator.generate({ algorithm: 'ecdsa', role: 'root', gun: '' }, CONTEXT));
  expect(made).toEqual({
    code: 'UNSUPPORTED',
    message: 'pkcs11:model=PKCS%2315%20emulated makes no P-256 keys that Signet can use',
  });
  expect((await keysOf(backend)).length).toBe(3);
});
