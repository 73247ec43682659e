/** A file backend in a temporary directory, sealed under a known passphrase. */
import { join } from 'node:path';
import { FileBackend } from '../../src/backends/file/file-backend.ts';
import { ConfiguredPassphrases } from '../../src/keyring/unlock.ts';
import { temporaryDirectory } from './temp.ts';

export const TEST_PASSPHRASE = 'correct horse battery staple';
/** Notary's own count: tests make many keys. */
export const TEST_KDF_ITERATIONS = 2048;

export interface FileHome extends AsyncDisposable {
  readonly path: string;
  readonly directory: string;
  open(): Promise<FileBackend>;
}

export async function fileHome(): Promise<FileHome> {
  const directory = await temporaryDirectory();
  const path = join(directory.path, 'trust', 'private');
  return {
    path,
    directory: directory.path,
    open: async () =>
      FileBackend.open({
        path,
        passphrases: await ConfiguredPassphrases.open({
          env: { NOTARY_SIGNER_TEST: TEST_PASSPHRASE },
          alias: 'test',
          passphraseFile: undefined,
          randomFile: undefined,
          kdfIterations: TEST_KDF_ITERATIONS,
        }),
        unlocked: { max: 1000, ttlMs: 60_000 },
      }),
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}
