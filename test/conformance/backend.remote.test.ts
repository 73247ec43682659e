/** The client through a running daemon's socket, with the file backend behind it. */
import { join } from 'node:path';
import { RemoteBackend } from '../../src/client/remote-backend.ts';
import { loadConfig } from '../../src/daemon/config.ts';
import { Daemon } from '../../src/daemon/daemon.ts';
import { createLog } from '../../src/daemon/log.ts';
import { loadNative } from '../../src/native.ts';
import { TEST_KDF_ITERATIONS, TEST_PASSPHRASE } from '../support/file-home.ts';
import { temporaryDirectory } from '../support/temp.ts';
import { describeBackend } from './backend.ts';

describeBackend({
  name: 'remote',
  generates: ['ecdsa', 'ed25519', 'rsa'],
  imports: [],
  has: { exporter: false, remover: true, attester: false, unlocker: true },
  persistent: true,
  open: async () => {
    const directory = await temporaryDirectory();
    const env = {
      HOME: directory.path,
      SIGNET_SOCKET: join(directory.path, 'run', 'agent.sock'),
      NOTARY_SIGNER_DEFAULT_ALIAS: 'test',
      NOTARY_SIGNER_TEST: TEST_PASSPHRASE,
      NOTARY_SIGNER_STORAGE_KDF_ITERATIONS: String(TEST_KDF_ITERATIONS),
    };
    const start = async () =>
      Daemon.start({
        config: await loadConfig({ file: undefined, debug: false, env, cwd: directory.path }),
        log: createLog({ level: 'fatal', format: 'json' }),
        native: await loadNative(),
        env,
        serves: { agent: true, server: false, metrics: false },
        requestStop: () => undefined,
      });
    let daemon = await start();
    let backend = new RemoteBackend(env.SIGNET_SOCKET);
    return {
      backend,
      passphrase: TEST_PASSPHRASE,
      reopen: async () => {
        await backend[Symbol.asyncDispose]();
        await daemon.stop(0);
        daemon = await start();
        backend = new RemoteBackend(env.SIGNET_SOCKET);
        return backend;
      },
      [Symbol.asyncDispose]: async () => {
        await backend[Symbol.asyncDispose]();
        await daemon.stop(0);
        await directory[Symbol.asyncDispose]();
      },
    };
  },
});
