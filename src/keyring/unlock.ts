/**
 * Where passphrases come from. PINs never come from here (SECURITY.md).
 *
 * For new keys, the first that is configured:
 *   1. the alias of notary-signer's configuration: `NOTARY_SIGNER_<ALIAS>`
 *   2. `storage.passphrase_file`
 *   3. the systemd credential `signet-passphrase` (`LoadCredential=`)
 *   4. the variables of the notary and docker clients for the key's role
 *   5. a person's answer, where one can be asked
 *   6. where none can, a random passphrase that Signet made at its first start
 * Existing keys are tried with all that is configured; for roles of people (root, targets, …) the client variables come
 * first. Then comes what the person had kept in the operating system's keyring, then the question.
 */
import { randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';
import type { NewKeyPassphrase, PassphraseSource, SignContext } from '../backends/backend.ts';
import { createDirectory, createFileDurably, removeAbandonedFiles } from '../backends/durable-file.ts';
import { readPrivateSecret, readSecret } from '../backends/secret-file.ts';
import type { KeyId } from '../crypto/key-id.ts';
import { KDF_ITERATIONS } from '../crypto/key-pem.ts';
import { Secret } from '../crypto/secret.ts';
import { fromNodeError, SignetError } from '../errors.ts';
import { passphraseVariables } from '../passphrase-variables.ts';
import type { SecretStore } from './secret-store.ts';

/** 256 random bits need no stretching; this is five times what Notary uses, so that nobody mistakes it for less. */
const RANDOM_PASSPHRASE_ITERATIONS = 10_240;
const CREDENTIAL_NAME = 'signet-passphrase';
/** Keys of these roles are made by servers; all others belong to people. */
const SERVER_ROLES: ReadonlySet<string> = new Set(['timestamp', 'snapshot', '']);

export interface PassphraseOptions {
  readonly env: NodeJS.ProcessEnv;
  /** `storage.default_alias`. */
  readonly alias: string | undefined;
  /** `storage.passphrase_file`, absolute. */
  readonly passphraseFile: string | undefined;
  /** Where the random passphrase lives, or undefined where there is no home directory to put it. */
  readonly randomFile: string | undefined;
  /** `storage.kdf_iterations`: overrides the built-in choice. */
  readonly kdfIterations: number | undefined;
  /** Where people had passphrases kept. */
  readonly secretStore?: Pick<SecretStore, 'get' | 'drop'> | undefined;
}

interface Source {
  /** For messages: names the variable or file. */
  readonly name: string;
  readonly random: boolean;
  /** @returns Undefined if this source has nothing. */
  read(): Promise<Secret | undefined>;
}

export class ConfiguredPassphrases implements PassphraseSource {
  readonly #options: PassphraseOptions;
  readonly #storage: readonly Source[];
  readonly kdfIterations: number;

  private constructor(options: PassphraseOptions) {
    this.#options = options;
    this.kdfIterations = options.kdfIterations ?? KDF_ITERATIONS;
    this.#storage = storageSources(options);
  }

  /**
   * Checks every configured source; makes the random passphrase if nothing else is configured and none exists.
   *
   * @throws {SignetError} CONFIGURATION
   */
  static async open(options: PassphraseOptions): Promise<ConfiguredPassphrases> {
    const passphrases = new ConfiguredPassphrases(options);
    const { randomFile } = options;
    if (randomFile !== undefined) await removeAbandonedFiles(dirname(randomFile)).catch(() => undefined); // none yet
    let isConfigured = false;
    for (const source of passphrases.#storage) {
      using secret = await source.read();
      if (secret !== undefined) isConfigured = true;
      else if (source.random && !isConfigured) await createRandomPassphrase(source.name);
    }
    return passphrases;
  }

  /** The variable or file that new timestamp keys, made by servers, are sealed under. @throws {SignetError} CONFIGURATION */
  async describe(): Promise<string> {
    for (const source of this.#sourcesForNewKey('timestamp')) {
      using secret = await source.read();
      if (secret !== undefined) return source.name;
    }
    return 'none configured';
  }

  async candidates(key: { readonly role: string }): Promise<readonly Secret[]> {
    const client = clientSources(this.#options.env, key.role);
    const sources = SERVER_ROLES.has(key.role) ? [...this.#storage, ...client] : [...client, ...this.#storage];
    const found: Secret[] = [];
    try {
      for (const source of sources) {
        const secret = await source.read();
        if (secret === undefined) continue;
        if (found.some((other) => Buffer.compare(other.bytes(), secret.bytes()) === 0)) secret.dispose();
        else found.push(secret);
      }
    } catch (error) {
      for (const secret of found) secret.dispose();
      throw error;
    }
    return found;
  }

  async remembered(keyId: KeyId): Promise<Secret | undefined> {
    return this.#options.secretStore?.get(`passphrase:${keyId}`);
  }

  async forget(keyId: KeyId): Promise<void> {
    await this.#options.secretStore?.drop(`passphrase:${keyId}`);
  }

  async forNewKey(
    owner: { readonly keyId?: KeyId; readonly role: string; readonly gun: string },
    context: Pick<SignContext, 'interaction' | 'signal'> = {},
  ): Promise<NewKeyPassphrase> {
    for (const source of this.#sourcesForNewKey(owner.role)) {
      // A person's key under a passphrase that Signet made up would be of no use to notary and docker.
      if (source.random && context.interaction !== undefined) break;
      const passphrase = await source.read();
      if (passphrase === undefined) continue;
      const random = this.#options.kdfIterations ?? RANDOM_PASSPHRASE_ITERATIONS;
      return { passphrase, iterations: source.random ? random : this.kdfIterations };
    }
    const chosen = await context.interaction?.newPassphrase(owner, context.signal);
    if (chosen !== undefined) return { passphrase: chosen, iterations: this.kdfIterations };
    throw new SignetError('PASSPHRASE_REQUIRED', 'no passphrase is configured for new keys', {
      hint: 'set storage.default_alias and its variable, or storage.passphrase_file',
    });
  }

  /** What a person configured comes before what Signet made up. */
  #sourcesForNewKey(role: string): readonly Source[] {
    const random = this.#storage.filter((source) => source.random);
    const chosen = this.#storage.filter((source) => !source.random);
    return [...chosen, ...clientSources(this.#options.env, role), ...random];
  }
}

/** Variable of a notary-signer passphrase alias: upper case, dots become underscores, hyphens stay. */
export function aliasVariable(alias: string): string {
  return `NOTARY_SIGNER_${alias.toUpperCase().replaceAll('.', '_')}`;
}

/** The passphrase of an alias, read anew at each use, as notary-signer does. @returns Undefined if it is not set */
export function passphraseOfAlias(env: NodeJS.ProcessEnv, alias: string): Secret | undefined {
  return fromVariable(env, aliasVariable(alias));
}

function storageSources({ env, alias, passphraseFile, randomFile }: PassphraseOptions): readonly Source[] {
  const sources: Source[] = [];
  if (alias !== undefined) sources.push(requiredVariable(env, alias));
  if (passphraseFile !== undefined) sources.push(privateFile(passphraseFile));
  const credentials = env['CREDENTIALS_DIRECTORY'];
  if (credentials) {
    const name = join(credentials, CREDENTIAL_NAME);
    sources.push({ name, random: false, read: () => readSecret(name) });
  }
  if (randomFile !== undefined) sources.push({ name: randomFile, random: true, read: () => readSecret(randomFile) });
  return sources;
}

/** What the notary and docker programs read for a role. */
function clientSources(env: NodeJS.ProcessEnv, role: string): readonly Source[] {
  return passphraseVariables(role).map((name) => ({ name, random: false, read: async () => fromVariable(env, name) }));
}

function fromVariable(env: NodeJS.ProcessEnv, name: string): Secret | undefined {
  const value = env[name];
  return value === undefined || value === '' ? undefined : Secret.fromText(value);
}

function requiredVariable(env: NodeJS.ProcessEnv, alias: string): Source {
  const name = aliasVariable(alias);
  return {
    name,
    random: false,
    read: async () => {
      const secret = fromVariable(env, name);
      if (secret !== undefined) return secret;
      throw new SignetError('CONFIGURATION', `the passphrase alias "${alias}" needs the environment variable ${name}`, {
        hint: `set ${name}, or remove storage.default_alias`,
      });
    },
  };
}

function privateFile(path: string): Source {
  return { name: path, random: false, read: () => readPrivateSecret(path, 'storage.passphrase_file') };
}

async function createRandomPassphrase(path: string): Promise<void> {
  try {
    await createDirectory(dirname(path), 0o700);
    await createFileDurably(path, `${randomBytes(32).toString('base64url')}\n`);
  } catch (error) {
    // Another daemon's first start was faster: its passphrase is as good.
    const failure = fromNodeError(error, `cannot create ${path}`);
    if (failure.code !== 'KEY_EXISTS') throw failure;
    using secret = await readSecret(path);
    if (secret !== undefined) return;
    throw new SignetError('CONFIGURATION', `the passphrase file ${path} is empty or a symbolic link`, {
      hint: 'restore it from a backup, or remove it if no key was sealed with it',
    });
  }
}
