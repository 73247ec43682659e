/** Which trusted collections of a trust directory name a key: who removes it should know. */
import { X509Certificate } from 'node:crypto';
import { opendir } from 'node:fs/promises';
import { basename, dirname, join, relative, sep } from 'node:path';
import { readBoundedFile } from '../backends/durable-file.ts';
import { isKeyId, keyIdOf } from '../crypto/key-id.ts';
import { publicKeyOf } from '../crypto/public-key.ts';

export interface Dependent {
  readonly gun: string;
  /** `root`, `targets`, `snapshot`, `timestamp` or a delegation. */
  readonly role: string;
}

/** Metadata is fetched from servers: a larger file is not worth the wait. */
const MAX_METADATA_BYTES = 16 * 1024 * 1024;

/**
 * Looks at root.json and targets.json of every collection in the `tuf` folder beside the key's `private` folder.
 *
 * @param location Of the key; one that is no file in such a folder has no dependents here.
 * @returns What can be read: a damaged file is passed over, because it must not keep anyone from removing a key.
 */
export async function dependentsOf(keyId: string, location: string): Promise<readonly Dependent[]> {
  const privateDir = dirname(location);
  if (basename(privateDir) !== 'private') return [];
  const tufDir = join(dirname(privateDir), 'tuf');
  const dependents: Dependent[] = [];
  for await (const directory of metadataDirectories(tufDir)) {
    const gun = relative(tufDir, dirname(directory)).split(sep).join('/');
    const roles = [
      ...rolesOfRoot(await readSigned(join(directory, 'root.json')), keyId),
      ...delegationsOf(await readSigned(join(directory, 'targets.json')), keyId),
    ];
    dependents.push(...roles.map((role) => ({ gun, role })));
  }
  return dependents;
}

/** `tuf/<gun>/metadata`; a GUN has any number of levels. */
async function* metadataDirectories(directory: string): AsyncIterable<string> {
  const entries = await opendir(directory).catch(() => undefined);
  if (entries === undefined) return;
  for await (const entry of entries) {
    if (!entry.isDirectory()) continue;
    const path = join(directory, entry.name);
    if (entry.name === 'metadata') yield path;
    else yield* metadataDirectories(path);
  }
}

type Json = Readonly<Record<string, unknown>>;

function record(value: unknown): Json {
  return typeof value === 'object' && value !== null ? (value as Json) : {};
}

async function readSigned(path: string): Promise<Json> {
  try {
    const bytes = await readBoundedFile(path, MAX_METADATA_BYTES);
    return bytes === undefined ? {} : record(record(JSON.parse(bytes.toString('utf8')))['signed']);
  } catch {
    return {};
  }
}

function rolesOfRoot(signed: Json, keyId: string): readonly string[] {
  const aliases = aliasesOf(record(signed['keys']), keyId);
  return Object.entries(record(signed['roles']))
    .filter(([, role]) => names(role, aliases))
    .map(([name]) => name);
}

function delegationsOf(signed: Json, keyId: string): readonly string[] {
  const { keys, roles } = record(signed['delegations']);
  const aliases = aliasesOf(record(keys), keyId);
  if (!Array.isArray(roles)) return [];
  return roles.filter((role) => names(role, aliases)).map((role: unknown) => String(record(role)['name']));
}

function names(role: unknown, aliases: ReadonlySet<string>): boolean {
  const ids = record(role)['keyids'];
  return Array.isArray(ids) && ids.some((id) => typeof id === 'string' && aliases.has(id));
}

/** A key inside a certificate has another ID in metadata than the file that holds its private half. */
function aliasesOf(keys: Json, keyId: string): ReadonlySet<string> {
  const aliases = new Set([keyId]);
  for (const [id, key] of Object.entries(keys)) {
    const { keytype, keyval } = record(key);
    const text = record(keyval)['public'];
    if (!String(keytype).endsWith('-x509') || typeof text !== 'string') continue;
    if (canonicalId(text) === keyId && isKeyId(id)) aliases.add(id);
  }
  return aliases;
}

function canonicalId(base64Pem: string): string | undefined {
  try {
    return keyIdOf(publicKeyOf(new X509Certificate(Buffer.from(base64Pem, 'base64')).publicKey));
  } catch {
    return undefined; // not a certificate that we understand
  }
}
