/** File and environment → a checked `Config`. */
import { dirname, resolve } from 'node:path';
import { readDocument } from './document.ts';
import type { Config, LogLevel } from './model.ts';
import { readAgent, readMetrics, readServer } from './server.ts';
import { Settings } from './settings.ts';
import { readPlacement, readStorage, readWorkers } from './storage.ts';
import { readTokens } from './tokens.ts';

/** logrus's spellings. */
const LEVELS: ReadonlyMap<string, LogLevel> = new Map([
  ['trace', 'trace'],
  ['debug', 'debug'],
  ['info', 'info'],
  ['warn', 'warn'],
  ['warning', 'warn'],
  ['error', 'error'],
  ['fatal', 'fatal'],
  ['panic', 'panic'],
]);

export interface LoadOptions {
  /** As named on the command line; undefined: the defaults and the environment alone. */
  readonly file: string | undefined;
  /** `-debug`. */
  readonly debug: boolean;
  readonly env: NodeJS.ProcessEnv;
  /** Where a relative `file` starts, and without a file every relative path. */
  readonly cwd: string;
}

/**
 * Reads and checks everything, with what it points to: TLS files are parsed too. The first failure in notary-signer's
 * order is reported: file, log level, bugsnag, TLS, listen address, storage; then what only Signet has.
 *
 * @throws {SignetError} CONFIGURATION; the message names the key and the file or the variable, the hint the remedy
 */
export async function loadConfig(options: LoadOptions): Promise<Config> {
  const { env, cwd } = options;
  const file = options.file === undefined ? undefined : resolve(cwd, options.file);
  const document = file === undefined ? {} : await readDocument(file);
  const settings = new Settings({ file, document, env, baseDir: file === undefined ? cwd : dirname(file) });
  const warnings: string[] = [];

  const level = readLevel(settings);
  checkReporting(settings, warnings);
  const server = await readServer(settings, warnings);
  const storage = readStorage(settings, { env, cwd }, server !== undefined);
  const agent = readAgent(settings, env, server !== undefined);
  const tokens = readTokens(settings);
  const placement = readPlacement(settings, storage.backend, [...new Set(tokens.map((token) => token.backend))]);
  const metrics = readMetrics(settings, options.debug);
  const workers = readWorkers(settings, storage.backend, tokens.length > 0);
  return { file, server, agent, logging: { level }, storage, tokens, placement, metrics, workers, warnings };
}

function readLevel(settings: Settings): LogLevel {
  const word = settings.text('logging.level');
  if (word === undefined) return 'info';
  const level = LEVELS.get(word.toLowerCase());
  if (level !== undefined) return level;
  const hint = 'use one of trace, debug, info, warn, error, fatal, panic: words, not numbers';
  throw settings.fail('logging.level', `not a valid logrus Level: ${JSON.stringify(word.slice(0, 64))}`, hint);
}

function checkReporting(settings: Settings, warnings: string[]): void {
  const hasApiKey = settings.has('reporting.bugsnag.api_key');
  const hasOthers = settings.has('reporting.bugsnag.release_stage') || settings.has('reporting.bugsnag.endpoint');
  if (hasOthers && !hasApiKey) {
    const hint = 'remove the reporting section: signetd sends no reports';
    throw settings.fail('reporting.bugsnag.api_key', 'must provide an API key for bugsnag', hint);
  }
  if (hasApiKey) warnings.push('reporting.bugsnag is ignored: signetd sends no reports');
}
