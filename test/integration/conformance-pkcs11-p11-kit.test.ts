/** The port's contract over p11-kit's remoting, which passes fewer mechanisms than the module behind it has. */
import { afterAll, beforeAll } from 'vitest';
import { describeBackend } from '../conformance/backend.ts';
import { openForSuite } from '../support/conformance-token.ts';
import { type P11Kit, p11Kit } from '../support/p11-kit.ts';
import { TEST_PIN, tokenUri } from '../support/softhsm.ts';

let kit: P11Kit;
let tokens = 0;

beforeAll(async () => {
  kit = await p11Kit();
});
afterAll(() => kit[Symbol.asyncDispose]());

describeBackend({
  name: 'pkcs11 on SoftHSM2 behind p11-kit',
  generates: ['ecdsa', 'rsa'],
  imports: ['ecdsa', 'rsa'],
  has: { exporter: false, remover: true, attester: false, unlocker: 'pin' },
  persistent: true,
  open: async () => {
    const label = `conformance ${tokens++}`;
    await kit.hsm.createToken(label);
    const pinFile = await kit.hsm.pinFile();
    return openForSuite(() => kit.open(tokenUri(label), { pinFile }), TEST_PIN);
  },
});
