/** Configuration → the homes of keys, with what they need of the daemon: the log, the environment, passphrases. */
import cluster from 'node:cluster';
import { join } from 'node:path';
import type { KeyBackend } from '../backends/backend.ts';
import { type OpenContext, openToken } from '../backends/open.ts';
import { pinName, SecretStore } from '../keyring/secret-store.ts';
import { aliasVariable, ConfiguredPassphrases, passphraseOfAlias } from '../keyring/unlock.ts';
import { defaultStateDir } from '../locations.ts';
import type { Config } from './config.ts';
import { describeError, type LogHandle } from './log.ts';

export interface HomesOptions {
  readonly config: Config;
  readonly log: LogHandle;
  readonly env: NodeJS.ProcessEnv;
  readonly secretStore: SecretStore;
}

/** The operating system's keyring; what goes wrong with it is a warning. */
export function openSecretStore(env: NodeJS.ProcessEnv, { logger }: LogHandle): SecretStore {
  return new SecretStore({
    env,
    onProblem: (error) => logger.warn(describeError(error, logger), 'nothing is taken from the keyring for now'),
  });
}

/** What a storage needs of the daemon. @param passphrases Asked for only by homes that seal each key. */
export function storageContext(
  { config, env, log }: HomesOptions,
  passphrases: OpenContext['passphrases'],
): OpenContext {
  const { logger } = log;
  return {
    passphrases,
    processes: config.workers,
    passphraseOfAlias: (alias) => passphraseOfAlias(env, alias),
    variableOfAlias: aliasVariable,
    onUnreadable: (what, error) => logger.warn({ what, ...describeError(error, logger) }, 'not a usable key'),
    onError: (what, error) => logger.error(describeError(error, logger), what),
    // Once, however many workers there are.
    onAdvice: (advice, hint) => cluster.isWorker || logger.warn({ hint }, advice),
  };
}

/** How long the start waits for all tokens together, milliseconds, and how long for each at least. */
const [TOKENS_MS, LEAST_MS] = [10_000, 1000];

/**
 * In the order of the configuration. One that does not answer in time is there, and comes into use by itself.
 *
 * @throws {SignetError} CONFIGURATION; then none stays open
 */
export async function openTokens({ config, env, log: { logger }, secretStore }: HomesOptions): Promise<KeyBackend[]> {
  const tokens: KeyBackend[] = [];
  if (config.tokens.length === 0) return tokens;
  const stateDirectory = defaultStateDir(env);
  const waitsUntil = performance.now() + TOKENS_MS;
  try {
    for (const options of config.tokens) {
      const token = await openToken(options, {
        env,
        stateDirectory,
        credentialsDirectory: env['CREDENTIALS_DIRECTORY'],
        isOnlyToken: config.tokens.length === 1,
        openTimeoutMs: Math.max(waitsUntil - performance.now(), LEAST_MS),
        rememberedPin: (token) => secretStore.getSoon(pinName(token)),
        forgetPin: (token) => secretStore.drop(pinName(token)),
        onUnreadable: (what, error) => logger.warn({ what, ...describeError(error, logger) }, 'not a usable key'),
        onEvent: (what, error) => {
          if (error === undefined) logger.info(what);
          else logger.warn(describeError(error, logger), what);
        },
      });
      tokens.push(token);
    }
    return tokens;
  } catch (error) {
    for (const token of tokens) await token[Symbol.asyncDispose]();
    throw error;
  }
}

/** Where the file backend's keys get their passphrases. @throws {SignetError} CONFIGURATION */
export async function openPassphrases({
  config,
  env,
  secretStore,
}: Pick<HomesOptions, 'config' | 'env' | 'secretStore'>): Promise<ConfiguredPassphrases> {
  const { storage } = config;
  const file = storage.backend === 'file' ? storage : undefined;
  const home = env['HOME'];
  return ConfiguredPassphrases.open({
    env,
    alias: file?.defaultAlias,
    passphraseFile: file?.passphraseFile,
    randomFile: home ? join(home, '.signet', 'secrets', 'passphrase') : undefined,
    kdfIterations: file?.kdfIterations,
    secretStore,
  });
}
