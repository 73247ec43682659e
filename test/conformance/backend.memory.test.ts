import { MemoryBackend } from '../../src/backends/memory/memory-backend.ts';
import { describeBackend } from './backend.ts';

describeBackend({
  name: 'memory',
  generates: ['ecdsa', 'ed25519', 'rsa'],
  imports: ['ecdsa', 'ed25519', 'rsa'],
  has: { exporter: false, remover: true, attester: false, unlocker: false },
  persistent: false,
  open: async () => {
    let backend = new MemoryBackend();
    return {
      backend,
      passphrase: undefined,
      reopen: async () => {
        await backend[Symbol.asyncDispose]();
        backend = new MemoryBackend();
        return backend;
      },
      [Symbol.asyncDispose]: () => backend[Symbol.asyncDispose](),
    };
  },
});
