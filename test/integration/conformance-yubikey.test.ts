/** The port's contract over a YubiKey with firmware 5.4.3 and Yubico's library. */
import { afterAll, beforeAll } from 'vitest';
import { describeBackend } from '../conformance/backend.ts';
import { openForSuite } from '../support/conformance-token.ts';
import { FACTORY_PIN, type YubikeyHome, yubikeyHome } from '../support/yubikey-home.ts';

let home: YubikeyHome;

beforeAll(async () => {
  home = await yubikeyHome({ cards: [{ serial: 20304050 }] }); // has nothing of the PIN's digits in it
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

describeBackend({
  name: 'yubikey',
  generates: ['ecdsa'],
  imports: ['ecdsa', 'rsa'],
  lacksCurves: ['P-224', 'P-521'],
  has: { exporter: false, remover: true, attester: true, unlocker: 'pin' },
  persistent: true,
  open: async () => {
    await home.yubikeys.card().factoryReset();
    const pinFile = await home.pinFile(FACTORY_PIN);
    return openForSuite(() => home.open({ pinFile, authorities: home.authorities }), FACTORY_PIN);
  },
});
