import { fileHome, TEST_PASSPHRASE } from '../support/file-home.ts';
import { describeBackend } from './backend.ts';

describeBackend({
  name: 'file',
  generates: ['ecdsa', 'ed25519', 'rsa'],
  imports: ['ecdsa', 'ed25519', 'rsa'],
  has: { exporter: true, remover: true, attester: false, unlocker: true },
  persistent: true,
  open: async () => {
    const home = await fileHome();
    let backend = await home.open();
    return {
      backend,
      passphrase: TEST_PASSPHRASE,
      reopen: async () => {
        await backend[Symbol.asyncDispose]();
        backend = await home.open();
        return backend;
      },
      [Symbol.asyncDispose]: async () => {
        await backend[Symbol.asyncDispose]();
        await home[Symbol.asyncDispose]();
      },
    };
  },
});
