/** The notary client's own configuration file, read as that program documents it. Capitals are kept: GUNs have them. */
import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fromNodeError, SignetError } from '../errors.ts';
import { type JsonObject, type JsonSubject, type JsonValue, parseJson } from '../tuf/json.ts';
import { asObject, JsonReader } from '../tuf/json-reader.ts';
import { DEFAULT_MAX_EXPIRY_DAYS, type MaxExpiryDays } from '../tuf/max-expiry.ts';
import { TRUST_ON_FIRST_USE, type TrustPinning } from '../tuf/trust-pinning.ts';

const MAX_BYTES = 1024 * 1024;

export interface ClientConfig {
  /** Of the file. */
  readonly path?: string;
  /** Absolute. */
  readonly trustDir?: string;
  readonly url?: string;
  /** Absolute. */
  readonly rootCa?: string;
  readonly tlsClientCert?: string;
  readonly tlsClientKey?: string;
  readonly skipTlsVerify: boolean;
  readonly pinning: TrustPinning;
  /** Signet's own; notary ignores it. */
  readonly maxExpiryDays: MaxExpiryDays;
}

export const NO_CLIENT_CONFIG: ClientConfig = {
  skipTlsVerify: false,
  pinning: TRUST_ON_FIRST_USE,
  maxExpiryDays: DEFAULT_MAX_EXPIRY_DAYS,
};

/** Where the notary program looks: `~/.notary/config.json`. */
export function defaultClientConfig(env: NodeJS.ProcessEnv): string | undefined {
  return env['HOME'] ? join(env['HOME'], '.notary', 'config.json') : undefined;
}

/**
 * Reads the file that was named, or the default one if it is there.
 *
 * @param named Relative to the working directory.
 * @throws {SignetError} CONFIGURATION if it cannot be read, or says what nobody can mean
 */
export async function readClientConfig(named: string | undefined, env: NodeJS.ProcessEnv): Promise<ClientConfig> {
  const path = named ?? defaultClientConfig(env);
  if (path === undefined) return NO_CLIENT_CONFIG;
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if (named === undefined && (error as NodeJS.ErrnoException).code === 'ENOENT') return NO_CLIENT_CONFIG;
    throw new SignetError('CONFIGURATION', fromNodeError(error, `error opening config file: ${path}`).message, {
      cause: error,
    });
  }
  try {
    return await parseClientConfig(bytes, resolve(path), env);
  } catch (error) {
    if (!(error instanceof SignetError)) throw error;
    const { hint, cause } = error;
    throw new SignetError('CONFIGURATION', error.message, { cause, ...(hint !== undefined && { hint }) });
  }
}

async function parseClientConfig(bytes: Uint8Array, path: string, env: NodeJS.ProcessEnv): Promise<ClientConfig> {
  const subject: JsonSubject = { what: path, code: 'INVALID_ARGUMENT' };
  const json = parseJson(bytes, subject, { duplicates: 'reject', numbers: 'exact', maxBytes: MAX_BYTES });
  const file = new Section(json, 'the file', subject);
  const server = file.section('remote_server');
  const trustDir = file.text('trust_dir');
  const rootCa = server.text('root_ca');
  const cert = server.text('tls_client_cert');
  const key = server.text('tls_client_key');
  const url = server.text('url');
  const beside = (name: string) => resolve(dirname(path), name);
  return {
    path,
    ...(trustDir !== undefined && { trustDir: resolve(expandHome(trustDir, env)) }),
    ...(url !== undefined && { url }),
    ...(rootCa !== undefined && { rootCa: beside(rootCa) }),
    ...(cert !== undefined && { tlsClientCert: beside(cert) }),
    ...(key !== undefined && { tlsClientKey: beside(key) }),
    skipTlsVerify: server.flag('skipTLSVerify'),
    pinning: await readPinning(file.section('trust_pinning'), path),
    maxExpiryDays: readMaxExpiry(file.section('signet')),
  };
}

/** Members of `signet.max_expiry`. */
const MAX_EXPIRY_TYPES = new Map([
  ['root', 'Root'],
  ['targets', 'Targets'],
  ['snapshot', 'Snapshot'],
] as const satisfies [string, keyof MaxExpiryDays][]);
const MAX_DAYS = 36_500;

/** No member of our section is ignored: a misspelt limit would be none. */
function readMaxExpiry(signet: Section): MaxExpiryDays {
  signet.allowOnly(['max_expiry']);
  const section = signet.section('max_expiry');
  section.allowOnly([...MAX_EXPIRY_TYPES.keys()]);
  const days = { ...DEFAULT_MAX_EXPIRY_DAYS };
  for (const [name, type] of MAX_EXPIRY_TYPES) {
    const text = section.text(name);
    if (text === undefined) continue;
    const number = Number(/^(\d{1,5})d$/.exec(text)?.[1] ?? 0);
    if (number < 1 || number > MAX_DAYS) {
      throw new SignetError('CONFIGURATION', `signet.max_expiry.${name} is not a number of days`, {
        hint: `write 1d to ${MAX_DAYS}d`,
      });
    }
    days[type] = number;
  }
  return days;
}

async function readPinning(section: Section, path: string): Promise<TrustPinning> {
  const ca = new Map<string, Uint8Array>();
  for (const [prefix, file] of section.entries('ca')) {
    if (typeof file !== 'string') throw section.malformed('trust_pinning.ca');
    ca.set(prefix, await readAnchors(file, path));
  }
  const certs = new Map<string, readonly string[]>();
  for (const [gun, ids] of section.entries('certs')) {
    if (!Array.isArray(ids) || !ids.every((id) => typeof id === 'string'))
      throw section.malformed('trust_pinning.certs');
    certs.set(gun, ids as readonly string[]);
  }
  return { certs, ca, disableTofu: section.flag('disable_tofu') };
}

/** Notary's documents say: relative to the configuration file; the program itself takes the working directory. */
async function readAnchors(file: string, path: string): Promise<Uint8Array> {
  let failure: unknown;
  for (const candidate of [resolve(dirname(path), file), resolve(file)]) {
    try {
      return await readFile(candidate);
    } catch (error) {
      failure = error;
    }
  }
  throw new SignetError('CONFIGURATION', `trust_pinning.ca: cannot read ${file}`, { cause: failure });
}

function expandHome(path: string, env: NodeJS.ProcessEnv): string {
  return path.startsWith('~/') && env['HOME'] ? join(env['HOME'], path.slice(2)) : path;
}

/** One object of the file; unknown members are ignored, as by notary. */
class Section {
  readonly #reader: JsonReader;
  readonly #members: JsonObject;
  readonly #path: string;
  readonly #subject: JsonSubject;

  constructor(json: JsonValue, path: string, subject: JsonSubject) {
    this.#path = path;
    this.#subject = subject;
    this.#members = json === null ? new Map() : asObject(json, path, subject);
    this.#reader = new JsonReader(this.#members, [], path, subject);
  }

  section(name: string): Section {
    return new Section(this.#reader.value(name), name, this.#subject);
  }

  /** Empty texts are absent. */
  text(name: string): string | undefined {
    return this.#reader.isNull(name) ? undefined : this.#reader.string(name) || undefined;
  }

  flag(name: string): boolean {
    return this.#reader.isNull(name) ? false : this.#reader.boolean(name);
  }

  entries(name: string): JsonObject {
    return this.#reader.isNull(name)
      ? new Map()
      : asObject(this.#reader.value(name), `${this.#path}.${name}`, this.#subject);
  }

  allowOnly(names: readonly string[]): void {
    const unknown = [...this.#members.keys()].find((name) => !names.includes(name));
    if (unknown === undefined) return;
    throw new SignetError(
      'CONFIGURATION',
      `${this.#path} has an unknown member ${JSON.stringify(unknown.slice(0, 64))}`,
      {
        hint: `it may have: ${names.join(', ')}`,
      },
    );
  }

  malformed(name: string): SignetError {
    return new SignetError('CONFIGURATION', `invalid format for ${name}`);
  }
}
