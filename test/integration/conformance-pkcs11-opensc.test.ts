/**
 * The port's contract over OpenSC and a PIV card, a YubiKey: all that OpenSC does with one is read it and sign, so that
 * its keys come from another program.
 */
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { describeBackend } from '../conformance/backend.ts';
import { openForSuite } from '../support/conformance-token.ts';
import { MULTIARCH, type OpenToken, opener, writePinFile } from '../support/pkcs11-home.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';
import { FACTORY_PIN } from '../support/virtual-yubikey/card/settings.ts';
import { startVirtualYubikeys, type VirtualYubikeys } from '../support/virtual-yubikey/virtual-yubikeys.ts';

/** The label is no name for a card: OpenSC takes it from a certificate. */
const TOKEN = { manufacturer: 'piv_II' };
/** Where OpenSC lets keys sign. */
const SLOTS = [0x9a, 0x9c, 0x9e];

let yubikeys: VirtualYubikeys;
let directory: TemporaryDirectory;
let open: OpenToken;

beforeAll(async () => {
  directory = await temporaryDirectory();
  yubikeys = await startVirtualYubikeys({ cards: [{ serial: 20304050 }] }); // has nothing of the PIN's digits in it
  open = opener({ modulePath: join(MULTIARCH, 'opensc-pkcs11.so'), env: yubikeys.env });
});
afterAll(async () => {
  await yubikeys[Symbol.asyncDispose]();
  await directory[Symbol.asyncDispose]();
});

describeBackend({
  name: 'pkcs11 on OpenSC with a PIV card',
  generates: [],
  provisions: { ecdsa: 64, rsa: 256 },
  imports: [],
  has: { exporter: false, remover: false, attester: false, unlocker: 'pin' },
  persistent: true,
  open: async () => {
    const card = yubikeys.card();
    await card.factoryReset();
    const pinFile = await writePinFile(directory.path, FACTORY_PIN);
    const home = await openForSuite(() => open(TOKEN, { pinFile }), FACTORY_PIN);
    const free = [...SLOTS];
    return {
      ...home,
      provision: async (algorithm) => {
        const slot = free.shift();
        if (slot === undefined) throw new Error('the card has no more slots to sign with');
        await card.putKey({ slot, algorithm: algorithm === 'rsa' ? 'RSA-2048' : 'P-256', certificate: `key ${slot}` });
      },
    };
  },
});
