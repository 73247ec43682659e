/** The port's contract over NSS softokn: a token without a serial number, parameters at its start, no Ed25519. */
import { describeBackend } from '../conformance/backend.ts';
import { openForSuite } from '../support/conformance-token.ts';
import { NSS_TOKEN, nss } from '../support/nss.ts';

describeBackend({
  name: 'pkcs11 on NSS softokn',
  generates: ['ecdsa', 'rsa'],
  imports: ['ecdsa', 'rsa'],
  lacksCurves: ['P-224'],
  has: { exporter: false, remover: true, attester: false, unlocker: 'pin' },
  persistent: true,
  open: async () => {
    const home = await nss();
    const pinFile = await home.pinFile();
    return openForSuite(
      () => home.open(NSS_TOKEN, { pinFile }),
      home.pin,
      async () => home[Symbol.asyncDispose](),
    );
  },
});
