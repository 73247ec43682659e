/** `tokens`: hardware tokens and PKCS#11 modules, each named by a URI. */
import { isAbsolute, join, resolve } from 'node:path';
import type { TokenOptions } from '../../backends/open.ts';
import { type Pkcs11Uri, parsePkcs11Uri } from '../../backends/pkcs11/uri.ts';
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
  return list.map((entry: unknown, index) => readToken(settings, `tokens[${index}]`, entry));
}

function readToken(settings: Settings, key: string, entry: unknown): TokenOptions {
  if (!isRecord(entry)) throw settings.fail(key, 'not an object', FORM);
  const values = new Map<string, unknown>();
  for (const [name, value] of Object.entries(entry)) {
    const spelling = JSON.stringify(name.slice(0, 64));
    if (!['uri', 'hosts'].includes(name.toLowerCase())) throw settings.fail(key, `unknown key ${spelling}`, FORM);
    values.set(name.toLowerCase(), value);
  }
  const hosts = values.get('hosts') ?? 1;
  if (typeof hosts !== 'number' || !Number.isInteger(hosts) || hosts < 1 || hosts > MAX_HOSTS) {
    throw settings.fail(
      `${key}.hosts`,
      `not a number from 1 to ${MAX_HOSTS}`,
      'leave it out for modules that need order',
    );
  }
  const text = values.get('uri');
  key += '.uri';
  if (typeof text !== 'string') throw settings.fail(key, 'not a text', FORM);
  if (/^yubikey:/i.test(text)) {
    const hint = 'name it by its module, as pkcs11:serial=12345678?module-path=…/libykcs11.so';
    throw settings.fail(key, 'yubikey: URIs are not in this version', hint);
  }
  const uri = parse(settings, key, text);
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
    uri: { ...token, modulePath: resolve(settings.baseDirectory, modulePath) },
    hosts,
    pinFile: pinSource === undefined ? undefined : pinFile(settings, key, pinSource),
  };
}

function parse(settings: Settings, key: string, text: string): Pkcs11Uri {
  try {
    return parsePkcs11Uri(text);
  } catch (error) {
    if (!(error instanceof SignetError)) throw error;
    throw settings.fail(key, error.message, error.hint ?? 'write it as RFC 7512 says');
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
