/** The port's contract over tpm2-pkcs11 on a TPM in software: it has no RSA-PSS, and takes no keys made elsewhere. */
import { afterAll, beforeAll } from 'vitest';
import { describeBackend } from '../conformance/backend.ts';
import { openForSuite } from '../support/conformance-token.ts';
import { tokenUri } from '../support/softhsm.ts';
import { type Tpm, tpm } from '../support/tpm.ts';

let device: Tpm;
let tokens = 0;

beforeAll(async () => {
  device = await tpm();
  await device.setMaxWrongPins(32); // one is given in each of some tests
});
afterAll(() => device[Symbol.asyncDispose]());

describeBackend({
  name: 'pkcs11 on tpm2-pkcs11',
  generates: ['ecdsa'],
  imports: [],
  has: { exporter: false, remover: true, attester: false, unlocker: 'pin' },
  persistent: true,
  open: async () => {
    const label = `conformance ${tokens++}`;
    await device.createToken(label);
    const pinFile = await device.pinFile();
    return openForSuite(() => device.open(tokenUri(label), { pinFile }), device.pin);
  },
});
