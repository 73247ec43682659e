/** The values of the file with the environment laid over them, read key by key with our own error texts. */
import { join, resolve } from 'node:path';
import { formatDuration, parseDuration } from '../../duration.ts';
import { SignetError } from '../../errors.ts';
import { type Address, parseAddress } from './address.ts';
import { isRecord } from './document.ts';
import {
  environmentName,
  nearestKey,
  SCALAR_KEYS,
  type ScalarKey,
  type SectionKey,
  type StructuredKey,
  shapeOf,
} from './keys.ts';

/** Every bound is inclusive. */
interface Range {
  readonly min: number;
  readonly max: number;
}

export interface SettingsSource {
  /** Absolute; undefined if there is none. */
  readonly file: string | undefined;
  readonly document: Readonly<Record<string, unknown>>;
  readonly env: NodeJS.ProcessEnv;
  /** Where relative paths start. */
  readonly baseDir: string;
}

/**
 * Values are checked when they are read, not before: notary-signer's order of checks is kept, and a key that a backend
 * does not use cannot stop the daemon.
 *
 * Values are not quoted in messages: the environment of notary-signer mixes settings with passphrases.
 */
export class Settings {
  readonly #source: SettingsSource;
  readonly #values = new Map<string, unknown>();
  /** Key → the variable that its value came from. */
  readonly #variables = new Map<string, string>();
  /** Every key and section that the file names, also those without a value. */
  readonly #named = new Set<string>();

  /** @throws {SignetError} CONFIGURATION for an unknown key, a key given twice, or a section that is not an object */
  constructor(source: SettingsSource) {
    this.#source = source;
    this.#readSection(source.document, '');
    for (const key of SCALAR_KEYS) {
      const variable = environmentName(key);
      const value = source.env[variable];
      if (!value) continue;
      this.#values.set(key, value);
      this.#variables.set(key, variable);
    }
  }

  #readSection(section: Readonly<Record<string, unknown>>, prefix: string): void {
    for (const [name, value] of Object.entries(section)) {
      const key = prefix + name.toLowerCase();
      const shape = shapeOf(key);
      if (shape === undefined) throw this.#unknown(prefix + name, key);
      if (this.#named.has(key)) {
        throw this.fail(key, 'key given twice', 'keep one of the two: upper and lower case are the same');
      }
      this.#named.add(key);
      if (shape === 'section') this.#readNested(value, key);
      else if (value !== null) this.#values.set(key, value);
    }
  }

  #readNested(value: unknown, key: string): void {
    if (isRecord(value)) {
      this.#readSection(value, `${key}.`);
    } else if (value !== null) {
      throw this.fail(key, 'not a section', 'write an object with keys and values');
    } else if (key === 'server' || key === 'agent') {
      // Whether a section is there decides which doors are open: not to be guessed.
      throw this.fail(key, 'section is empty', 'write {} for the defaults, or remove the section');
    }
  }

  #unknown(spelling: string, key: string): SignetError {
    const nearest = nearestKey(key);
    const list = 'docs/configuration.md lists every key';
    return new SignetError(
      'CONFIGURATION',
      `unknown key ${JSON.stringify(spelling.slice(0, 128))} in ${this.#source.file}`,
      { hint: nearest === undefined ? list : `did you mean "${nearest}"? ${list}` },
    );
  }

  /** The error for a key: the problem, the key, and where its value came from. */
  fail(key: string, problem: string, hint: string): SignetError {
    return new SignetError('CONFIGURATION', `${problem} (${this.#origin(key)})`, { hint });
  }

  #origin(key: string): string {
    const variable = this.#variables.get(key);
    if (variable !== undefined) return `${key} from ${variable}`;
    return this.#source.file === undefined ? `${key}, no configuration file` : `${key} in ${this.#source.file}`;
  }

  /** True if the file has the section, even an empty one, or the environment sets one of its keys. */
  hasSection(section: SectionKey): boolean {
    return this.#named.has(section) || [...this.#values.keys()].some((key) => key.startsWith(`${section}.`));
  }

  /** True if the key has a value other than an empty text. */
  has(key: ScalarKey): boolean {
    const value = this.#values.get(key);
    return value !== undefined && value !== '';
  }

  /** Numbers become text, as in viper; an empty text is the same as none. */
  text(key: ScalarKey): string | undefined {
    const value = this.#values.get(key);
    if (value === undefined || value === '') return undefined;
    const text = typeof value === 'number' ? String(value) : value;
    if (typeof text !== 'string') throw this.fail(key, 'not a text', 'write the value in double quotes');
    if (/\p{Cc}/u.test(text)) throw this.fail(key, 'control character in the value', 'remove it');
    return text;
  }

  integer(key: ScalarKey, range: Range): number | undefined {
    const text = this.text(key);
    if (text === undefined) return undefined;
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= range.min && value <= range.max) return value;
    const problem = `not a whole number from ${range.min} to ${range.max}`;
    throw this.fail(key, problem, 'write a number in that range, or leave the key out for the default');
  }

  /** @param range In milliseconds. @returns Milliseconds. */
  durationMs(key: ScalarKey, range: Range): number | undefined {
    const text = this.text(key);
    if (text === undefined) return undefined;
    const value = parseDuration(text) ?? Number.NaN;
    if (value >= range.min && value <= range.max) return value;
    const problem = `not a duration from ${formatDuration(range.min)} to ${formatDuration(range.max)}`;
    throw this.fail(key, problem, 'write a number with its unit, as "90s", "1h30m" or "500ms"');
  }

  /** Where relative paths start. */
  get baseDirectory(): string {
    return this.#source.baseDir;
  }

  /** @returns Absolute, as `absolute` makes it. */
  path(key: ScalarKey): string | undefined {
    const text = this.text(key);
    return text === undefined ? undefined : this.absolute(key, text);
  }

  /** A leading `~/` is the home directory, anything else relative starts at the base directory. */
  absolute(key: string, path: string): string {
    if (!path.startsWith('~/')) return resolve(this.#source.baseDir, path);
    const home = this.#source.env['HOME'];
    if (!home) throw this.fail(key, 'HOME is not set, "~" is unknown', 'set HOME or write the full path');
    return resolve(this.#source.baseDir, join(home, path.slice(2)));
  }

  address(key: ScalarKey): Address | undefined {
    const text = this.text(key);
    if (text === undefined) return undefined;
    const address = parseAddress(text);
    if (address !== undefined) return address;
    const hint = 'write an address as "127.0.0.1:7899", "[::1]:7899" or ":7899", with a port up to 65535';
    throw this.fail(key, 'not an address of the form host:port', hint);
  }

  /** @returns As parsed from the file; undefined if not there. */
  structured(key: StructuredKey): unknown {
    return this.#values.get(key);
  }
}
