/** Configuration → backend. Modules are imported only when configured, so that nobody pays for what they do not use. */
import type { SignetError } from '../errors.ts';
import type { KeyBackend, PassphraseSource } from './backend.ts';

export type StorageOptions =
  | { readonly backend: 'file'; readonly path: string; readonly unlockedTtlMs: number; readonly unlockedMax: number }
  | { readonly backend: 'memory' };

export interface OpenContext {
  /** For homes that seal keys. */
  readonly passphrases: () => Promise<PassphraseSource>;
  readonly onUnreadable: (path: string, error: SignetError) => void;
}

/** @throws {SignetError} CONFIGURATION, UNAVAILABLE */
export async function openStorage(options: StorageOptions, context: OpenContext): Promise<KeyBackend> {
  switch (options.backend) {
    case 'file': {
      const { FileBackend } = await import('./file/file-backend.ts');
      return FileBackend.open({
        path: options.path,
        passphrases: await context.passphrases(),
        unlocked: { max: options.unlockedMax, ttlMs: options.unlockedTtlMs },
        onUnreadable: context.onUnreadable,
      });
    }
    case 'memory': {
      const { MemoryBackend } = await import('./memory/memory-backend.ts');
      return new MemoryBackend();
    }
  }
}
