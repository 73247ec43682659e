/** What the daemon runs by, after every check. Times are milliseconds, paths are absolute. */
import type { TokenOptions } from '../../backends/open.ts';

/** logrus's levels, from the noisiest to the quietest. */
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'panic';

/** The TCP listener with mutual TLS: notary-signer's place. */
export interface ServerConfig {
  /** `host` undefined: every interface. `port` 0: one that the system picks. */
  readonly grpcAddr: { readonly host: string | undefined; readonly port: number };
  readonly tlsCertFile: string;
  readonly tlsKeyFile: string;
  /** undefined: no client certificate is asked for. */
  readonly clientCaFile: string | undefined;
  readonly maxConcurrentCalls: number;
  readonly callTimeoutMs: number;
  readonly maxConnections: number;
  /** How long calls in flight may take to finish after SIGTERM; 0 = they are cut off. */
  readonly drainTimeoutMs: number;
}

/** The Unix socket for local tools. */
export interface AgentConfig {
  readonly socket: string;
  /** The daemon ends after this time without a call; 0 = never. */
  readonly idleTimeoutMs: number;
}

/** Encrypted key files, shared with `notary` and `docker trust`. */
export interface FileStorageConfig {
  readonly backend: 'file';
  /** The `private` folder of a trust directory. */
  readonly path: string;
  /** Passphrase alias of new keys. */
  readonly defaultAlias: string | undefined;
  /** Only resolved here: whoever reads it checks its mode. */
  readonly passphraseFile: string | undefined;
  /** PBKDF2 iterations of new key files; undefined = the file backend's own choice. */
  readonly kdfIterations: number | undefined;
  /** How long a decrypted key is kept after its last use; at least a second. */
  readonly unlockedTtlMs: number;
  readonly unlockedMax: number;
}

/** notary-signer's table. */
export interface SqlStorageConfig {
  readonly backend: 'mysql' | 'postgres' | 'sqlite3';
  /** As in the file: a go-sql-driver DSN, a lib/pq URL or key=value string, or the path of a SQLite file. Holds a password. */
  readonly dbUrl: string;
  /** Where the relative path of a SQLite file starts. */
  readonly baseDirectory: string;
  /** For lib/pq's variables. */
  readonly env: NodeJS.ProcessEnv;
  /** Passphrase alias of new keys. */
  readonly defaultAlias: string;
  /** PBKDF2 iterations of new keys' JWE. */
  readonly p2c: number;
  readonly maxConnections: number;
  /** Undefined: what the data source says, else our default. */
  readonly statementTimeoutMs: number | undefined;
  /** How long a change by another daemon may stay unseen. */
  readonly revalidateMs: number;
  /** How long uses of keys are gathered before they are written to `last_used`. */
  readonly lastUsedMs: number;
  readonly unlockedTtlMs: number;
  readonly unlockedMax: number;
}

/** Keys that end with the process. */
export interface MemoryStorageConfig {
  readonly backend: 'memory';
}

export interface Config {
  /** The configuration file, undefined when none was named. */
  readonly file: string | undefined;
  readonly server: ServerConfig | undefined;
  readonly agent: AgentConfig | undefined;
  readonly logging: { readonly level: LogLevel };
  readonly storage: FileStorageConfig | SqlStorageConfig | MemoryStorageConfig;
  /** In the order of the file. */
  readonly tokens: readonly TokenOptions[];
  /** Role, or `*` for every other role → the backends that a new key may go to, in order; `storage` = `storage.backend`. */
  readonly placement: ReadonlyMap<string, readonly string[]>;
  readonly metrics: { readonly host: string; readonly port: number } | undefined;
  readonly workers: number;
  /** For the log at start, one line each. */
  readonly warnings: readonly string[];
}
