/** `tokens`: hardware tokens and PKCS#11 modules, each named by a URI. */
import { isAbsolute, join, resolve } from 'node:path';
import type { Pkcs11TokenOptions, TokenOptions } from '../../backends/open.ts';
import { parsePkcs11Uri } from '../../backends/pkcs11/uri.ts';
import { isYubikeyUri, parseYubikeyUri } from '../../backends/yubikey/uri.ts';
import { formatDuration, MAX_TIMER_MS, parseDuration } from '../../duration.ts';
import { SignetError } from '../../errors.ts';
import { isRecord } from './document.ts';
import type { Settings } from './settings.ts';

const MAX_TOKENS = 64;
/** Of one token; a process with the module takes about 50 MB. */
const MAX_HOSTS = 16;
const FORM = 'write [{"uri": "pkcs11:token=LABEL?module-path=/usr/lib/….so&pin-source=file:/path"}]';

/**
 * Relative paths in a URI start where those of the file do.
 *
 * @throws {SignetError} CONFIGURATION; the message names the key, as `tokens[0].uri`
 */
export function readTokens(settings: Settings): readonly TokenOptions[] {
  const list = settings.structured('tokens') ?? [];
  if (!Array.isArray(list)) throw settings.fail('tokens', 'not a list', FORM);
  if (list.length > MAX_TOKENS) throw settings.fail('tokens', `more than ${MAX_TOKENS} tokens`, FORM);
  const tokens = list.map((entry: unknown, index) => readToken(settings, `tokens[${index}]`, entry));
  const names = tokens.map(nameOf);
  const again = names.findIndex((name, index) => names.indexOf(name) !== index);
  if (again === -1) return tokens;
  const problem = `the same token as tokens[${names.indexOf(names[again] ?? '')}]`;
  throw settings.fail(`tokens[${again}].uri`, problem, 'remove one of the two');
}

/** Of what says which token it is. NSS has its database in the parameters. */
function nameOf(token: TokenOptions): string {
  if (token.backend === 'yubikey') return JSON.stringify([token.modulePath, token.serial]);
  const { uri, libraryParameters } = token;
  return JSON.stringify([Object.entries(uri).sort(), libraryParameters]);
}

/** Keys of an entry; `uri` is the one that must be there. */
const KEYS = [
  'uri',
  'hosts',
  'pin_cache',
  'idle_release',
  'library_parameters',
  'management_key_file',
  'attestation_roots',
  'require_attestation',
] as const;
/** Of the keys, those that only one kind of URI has. */
const ONLY_PKCS11 = ['library_parameters', 'hosts'] as const;
const ONLY_YUBIKEY = ['management_key_file', 'attestation_roots', 'require_attestation'] as const;
const MAX_PARAMETERS = 4096;
const MAX_ROLES = 64;

type Entry = ReadonlyMap<string, unknown>;

function readToken(settings: Settings, key: string, entry: unknown): TokenOptions {
  const values = readEntry(settings, key, entry);
  const text = values.get('uri');
  if (typeof text !== 'string') throw settings.fail(`${key}.uri`, 'not a text', FORM);
  const common = {
    pinCacheMs: readDuration(settings, `${key}.pin_cache`, values.get('pin_cache')) ?? 0,
    idleReleaseMs: readDuration(settings, `${key}.idle_release`, values.get('idle_release')) || undefined,
  };
  const isYubikey = isYubikeyUri(text);
  for (const name of isYubikey ? ONLY_PKCS11 : ONLY_YUBIKEY) {
    if (values.has(name)) {
      throw settings.fail(`${key}.${name}`, `not for ${isYubikey ? 'yubikey' : 'pkcs11'}: URIs`, 'remove it');
    }
  }
  return isYubikey
    ? { ...common, ...readYubikeyUri(settings, `${key}.uri`, text), ...readYubikeyValues(settings, key, values) }
    : {
        ...common,
        hosts: readHosts(settings, `${key}.hosts`, values.get('hosts')),
        ...readUri(settings, `${key}.uri`, text),
        libraryParameters: readParameters(settings, key, values),
      };
}

function readYubikeyUri(settings: Settings, key: string, text: string) {
  const { serial, modulePath, pinSource } = parse(settings, key, text, parseYubikeyUri);
  return {
    backend: 'yubikey' as const,
    serial,
    modulePath: modulePath === undefined ? undefined : resolve(settings.baseDirectory, modulePath),
    pinFile: pinSource === undefined ? undefined : pinFile(settings, key, pinSource),
  };
}

function readYubikeyValues(settings: Settings, key: string, values: Entry) {
  const attestationRoots = readPath(settings, `${key}.attestation_roots`, values.get('attestation_roots'));
  const requireAttestation = readRoles(settings, `${key}.require_attestation`, values.get('require_attestation'));
  if (requireAttestation.length > 0 && attestationRoots === undefined) {
    const hint = 'name the PEM file with the certificates of the authorities in attestation_roots';
    throw settings.fail(`${key}.require_attestation`, 'nobody is there to believe', hint);
  }
  return {
    managementKeyFile: readPath(settings, `${key}.management_key_file`, values.get('management_key_file')),
    attestationRoots,
    requireAttestation,
  };
}

function readPath(settings: Settings, key: string, value: unknown): string | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value === 'string' && !value.includes('\0')) return settings.absolute(key, value);
  throw settings.fail(key, 'not a path', 'write the path of a file in double quotes');
}

function readRoles(settings: Settings, key: string, value: unknown): readonly string[] {
  if (value === undefined || value === null) return [];
  const isRole = (role: unknown): role is string => typeof role === 'string' && role !== '';
  if (Array.isArray(value) && value.length <= MAX_ROLES && value.every(isRole)) return value;
  throw settings.fail(key, 'not a list of roles', 'write it as ["root"]');
}

/** Names in any case, as everywhere in the file. */
function readEntry(settings: Settings, key: string, entry: unknown): Entry {
  if (!isRecord(entry)) throw settings.fail(key, 'not an object', FORM);
  const values = new Map<string, unknown>();
  for (const [name, value] of Object.entries(entry)) {
    const known = KEYS.find((candidate) => candidate === name.toLowerCase());
    if (known === undefined) {
      throw settings.fail(key, `unknown key ${JSON.stringify(name.slice(0, 64))}`, `use ${KEYS.join(', ')}`);
    }
    if (values.has(known)) {
      throw settings.fail(
        `${key}.${known}`,
        'key given twice',
        'keep one of the two: upper and lower case are the same',
      );
    }
    values.set(known, value);
  }
  return values;
}

function readUri(
  settings: Settings,
  key: string,
  text: string,
): Pick<Pkcs11TokenOptions, 'backend' | 'uri' | 'pinFile'> {
  const uri = parse(settings, key, text, parsePkcs11Uri);
  if (uri.id !== undefined || uri.object !== undefined || uri.type !== undefined) {
    throw settings.fail(key, 'names a key', 'name the token only: without id, object and type');
  }
  const { modulePath, pinSource, moduleName: _, ...token } = uri;
  if (modulePath === undefined) {
    throw settings.fail(key, 'no module-path', 'add ?module-path= with the path of the PKCS#11 library');
  }
  if (Object.keys(token).length === 0) {
    throw settings.fail(key, 'names no token', 'add token= or serial=, as pkcs11-tool -L shows them');
  }
  return {
    backend: 'pkcs11',
    uri: { ...token, modulePath: resolve(settings.baseDirectory, modulePath) },
    pinFile: pinSource === undefined ? undefined : pinFile(settings, key, pinSource),
  };
}

function readHosts(settings: Settings, key: string, value: unknown): number {
  const hosts = value ?? 1;
  if (typeof hosts === 'number' && Number.isInteger(hosts) && hosts >= 1 && hosts <= MAX_HOSTS) return hosts;
  throw settings.fail(key, `not a number from 1 to ${MAX_HOSTS}`, 'leave it out for modules that need order');
}

function readDuration(settings: Settings, key: string, value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined;
  const ms = typeof value === 'string' ? parseDuration(value) : undefined;
  if (ms !== undefined && ms <= MAX_TIMER_MS) return ms;
  throw settings.fail(key, `not a duration from 0s to ${formatDuration(MAX_TIMER_MS)}`, 'write it as "10m" or "90s"');
}

/** What NSS calls its configuration string. Not a place for secrets, and handed to the module as it is. */
function readParameters(settings: Settings, token: string, values: Entry): string | undefined {
  const name = 'library_parameters';
  const key = `${token}.${name}`;
  const value = values.get(name);
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value !== 'string') throw settings.fail(key, 'not a text', 'write the value in double quotes');
  if (value.length > MAX_PARAMETERS) throw settings.fail(key, `longer than ${MAX_PARAMETERS} characters`, 'shorten it');
  if (/\p{Cc}/u.test(value)) throw settings.fail(key, 'control character in the value', 'remove it');
  return value;
}

function parse<Uri>(settings: Settings, key: string, text: string, parser: (text: string) => Uri): Uri {
  try {
    return parser(text);
  } catch (error) {
    if (!(error instanceof SignetError)) throw error;
    throw settings.fail(key, error.message, error.hint ?? `${FORM}, or yubikey:serial=12345678`);
  }
}

/** RFC 7512 §2.4: a `file:` URI or a path. A `|command` would be a program run by whoever writes the file. */
function pinFile(settings: Settings, key: string, source: string): string {
  const hint = 'write pin-source=file: and the path of a file that only its owner can read';
  if (source.startsWith('|')) throw settings.fail(key, 'pin-source names a program', hint);
  const path = source.replace(/^file:(\/\/(?=\/))?/, '');
  const scheme = /^[a-z][a-z0-9+.-]*:/i.exec(path)?.[0];
  if (path === '' || path.startsWith('//') || scheme !== undefined) {
    throw settings.fail(key, 'pin-source is no file', hint);
  }
  return isAbsolute(path) ? path : join(settings.baseDirectory, path);
}
