/** The port's contract over a PKCS#11 token: SoftHSM2, in its token host. */
import { afterAll, beforeAll } from 'vitest';
import { describeBackend } from '../conformance/backend.ts';
import { openForSuite } from '../support/conformance-token.ts';
import { type SoftHsm, softHsm, TEST_PIN, tokenUri } from '../support/softhsm.ts';

let hsm: SoftHsm;
let tokens = 0;

beforeAll(async () => {
  hsm = await softHsm();
});
afterAll(() => hsm[Symbol.asyncDispose]());

describeBackend({
  name: 'pkcs11 on SoftHSM2',
  generates: ['ecdsa', 'ed25519', 'rsa'],
  imports: ['ecdsa', 'ed25519', 'rsa'],
  has: { exporter: false, remover: true, attester: false, unlocker: 'pin' },
  persistent: true,
  open: async () => {
    const label = `conformance ${tokens++}`;
    await hsm.createToken(label);
    const pinFile = await hsm.pinFile();
    return openForSuite(() => hsm.open(tokenUri(label), { pinFile }), TEST_PIN);
  },
});
