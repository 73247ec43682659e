/** Configuration → backend. Modules are imported only when configured, so that nobody pays for what they do not use. */

import type { Secret } from '../crypto/secret.ts';
import type { SignetError } from '../errors.ts';
import type { KeyBackend, PassphraseSource } from './backend.ts';
import type { RememberedPin } from './pkcs11/pin-source.ts';
import type { Pkcs11Uri } from './pkcs11/uri.ts';
import type { DatabaseOptions } from './sql/open-database.ts';
import type { TokenIdentity } from './token-facts.ts';

export type StorageOptions = FileStorageOptions | { readonly backend: 'memory' } | SqlStorageOptions;

export interface FileStorageOptions {
  readonly backend: 'file';
  readonly path: string;
  /** True: made when the first key is stored, not at once. */
  readonly mayBeMissing?: boolean;
  readonly unlockedTtlMs: number;
  readonly unlockedMax: number;
}

export interface SqlStorageOptions extends DatabaseOptions {
  readonly defaultAlias: string;
  readonly p2c: number;
  readonly revalidateMs: number;
  readonly lastUsedMs: number;
  readonly unlockedTtlMs: number;
  readonly unlockedMax: number;
}

/** A token of any kind, or a YubiKey. */
export type TokenOptions = Pkcs11TokenOptions | YubikeyTokenOptions;

export interface Pkcs11TokenOptions extends CommonTokenOptions {
  readonly backend: 'pkcs11';
  /** Which token; `modulePath` is absolute. */
  readonly uri: Pkcs11Uri & { readonly modulePath: string };
  /** For modules that want parameters when they start. */
  readonly libraryParameters: string | undefined;
  /** Processes that the module is loaded in, at least 1. */
  readonly hosts: number;
}

export interface YubikeyTokenOptions extends CommonTokenOptions {
  readonly backend: 'yubikey';
  /** Decimal, as printed on the device; undefined: the only one that is plugged in. */
  readonly serial: string | undefined;
  /** Yubico's library, absolute; undefined: where it usually is. */
  readonly modulePath: string | undefined;
  /** File with the management key in hex, absolute. */
  readonly managementKeyFile: string | undefined;
  /** PEM file with whose attestations are believed, absolute. */
  readonly attestationRoots: string | undefined;
  /** Roles whose new keys must be attested as made on the device. */
  readonly requireAttestation: readonly string[];
}

export interface CommonTokenOptions {
  /** File with the PIN, absolute; undefined: another source, or a person. */
  readonly pinFile: string | undefined;
  /** How long a person's PIN is kept, milliseconds; 0: not at all. */
  readonly pinCacheMs: number;
  /** How long after its last use the device is let go of, milliseconds; undefined: never. */
  readonly idleReleaseMs: number | undefined;
}

export interface OpenTokenContext {
  /** For the module: where it finds its own configuration. */
  readonly env: NodeJS.ProcessEnv;
  /** Where it outlives the daemon which PINs were refused; undefined: nothing does. */
  readonly stateDirectory?: string | undefined;
  /** systemd's `$CREDENTIALS_DIRECTORY`, where PINs may be. */
  readonly credentialsDirectory?: string | undefined;
  /** Whether no other token is configured. */
  readonly isOnlyToken?: boolean | undefined;
  /** How long a token that does not answer is waited for, milliseconds: it comes later, by itself. */
  readonly openTimeoutMs?: number | undefined;
  readonly onUnreadable: (what: string, error: SignetError) => void;
  /** The PIN that a person had kept in the operating system's keyring. The caller disposes of it. */
  readonly rememberedPin?: (token: TokenIdentity) => Promise<Secret | undefined>;
  /** The token refused it: it is not to be tried again. @returns Whether it is gone for certain. */
  readonly forgetPin?: (token: TokenIdentity) => Promise<boolean>;
  /** What happens to the token; with an error if it is a failure. */
  readonly onEvent: (what: string, error?: unknown) => void;
}

export interface OpenContext {
  /** For homes that seal keys. */
  readonly passphrases: () => Promise<PassphraseSource>;
  /** How many processes share the processors of this machine. */
  readonly processes: number;
  readonly passphraseOfAlias: (alias: string) => Secret | undefined;
  /** The variable that holds it. */
  readonly variableOfAlias: (alias: string) => string;
  /** Keys that are left out of a listing: a path or a key ID, and why. */
  readonly onUnreadable: (what: string, error: SignetError) => void;
  /** Failures that no caller is told. */
  readonly onError: (what: string, error: unknown) => void;
  /** What the operator should do, though nothing fails, and how. */
  readonly onAdvice: (advice: string, hint: string) => void;
}

/** Less would mean opening a key several times for one call. */
const MIN_UNLOCKED_MS = 1000;

/** @throws {SignetError} CONFIGURATION, UNAVAILABLE */
export async function openStorage(options: StorageOptions, context: OpenContext): Promise<KeyBackend> {
  switch (options.backend) {
    case 'file': {
      const { FileBackend } = await import('./file/file-backend.ts');
      return FileBackend.open({
        path: options.path,
        mayBeMissing: options.mayBeMissing ?? false,
        passphrases: await context.passphrases(),
        unlocked: unlockedBounds(options),
        onUnreadable: context.onUnreadable,
      });
    }
    case 'memory': {
      const { MemoryBackend } = await import('./memory/memory-backend.ts');
      return new MemoryBackend();
    }
    case 'mysql':
    case 'postgres':
    case 'sqlite3':
      return openSql(options, context);
  }
}

/** How long one operation of a token may take: a person has 15 s to touch it. */
const TOKEN_TIMEOUT_MS = 20_000;

/** A token that is not there is no failure. @throws {SignetError} CONFIGURATION */
export async function openToken(options: TokenOptions, context: OpenTokenContext): Promise<KeyBackend> {
  const { rememberedPin: remembered, forgetPin, ...shared } = context;
  const rememberedPin = (token: TokenIdentity): RememberedPin => ({
    read: async () => remembered?.(token),
    forget: async () => (await forgetPin?.(token)) ?? false,
  });
  const common = {
    ...shared,
    ...(remembered === undefined ? {} : { rememberedPin }),
    operationTimeoutMs: TOKEN_TIMEOUT_MS,
  };
  if (options.backend === 'yubikey') {
    const { openYubikey } = await import('./yubikey/open-yubikey.ts');
    return openYubikey(options, common);
  }
  const { Pkcs11Backend } = await import('./pkcs11/pkcs11-backend.ts');
  return Pkcs11Backend.open({ ...options, ...common });
}

async function openSql(options: SqlStorageOptions, context: OpenContext): Promise<KeyBackend> {
  const [{ openDatabase }, { SqlBackend }] = await Promise.all([
    import('./sql/open-database.ts'),
    import('./sql/sql-backend.ts'),
  ]);
  const database = await openDatabase(options);
  try {
    return await SqlBackend.open({
      database,
      defaultAlias: options.defaultAlias,
      passphraseOf: context.passphraseOfAlias,
      variableOf: context.variableOfAlias,
      p2c: options.p2c,
      processes: context.processes,
      unlocked: unlockedBounds(options),
      revalidateMs: options.revalidateMs,
      lastUsedMs: options.lastUsedMs,
      onUnreadable: context.onUnreadable,
      onError: context.onError,
      onAdvice: context.onAdvice,
    });
  } catch (error) {
    await database[Symbol.asyncDispose]();
    throw error;
  }
}

function unlockedBounds(options: { readonly unlockedMax: number; readonly unlockedTtlMs: number }) {
  return { max: options.unlockedMax, ttlMs: Math.max(options.unlockedTtlMs, MIN_UNLOCKED_MS) };
}
