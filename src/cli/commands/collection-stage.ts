/** `signet add`, `signet addhash`, `signet remove` and `signet witness` */
import { SignetError } from '../../errors.ts';
import type { Change } from '../../tuf/change.ts';
import { parseCustom } from '../../tuf/change-file.ts';
import { type FileMeta, fileMetaOfChunks, HASH_ALGORITHMS, type HashAlgorithm } from '../../tuf/file-meta.ts';
import { requirePublishableName } from '../../tuf/metadata.ts';
import { isRoleName, isTargetsRole, type TargetsRole, unknownRole } from '../../tuf/roles.ts';
import { inputError, openInput, readInput } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { printable } from '../output.ts';
import { stage } from './collection-publish.ts';

const MAX_CUSTOM_BYTES = 1024 * 1024;
const HEX_DIGITS: Readonly<Record<HashAlgorithm, number>> = { sha256: 64, sha512: 128 };

export async function add(invocation: Invocation): Promise<undefined> {
  const [gun = '', name = '', file = ''] = invocation.args;
  requirePublishableName(name);
  const custom = await readCustom(invocation);
  let meta: FileMeta;
  try {
    meta = await fileMetaOfChunks(openInput(file, invocation.world.signal) as AsyncIterable<Buffer>);
  } catch (error) {
    throw inputError(error, file);
  }
  const said = `Addition of target "${printable(name)}" to repository "${gun}" staged for next publish.`;
  await stage(invocation, additions(invocation, name, { ...meta, ...custom }), said);
}

export async function addhash(invocation: Invocation): Promise<undefined> {
  const [gun = '', name = '', size = ''] = invocation.args;
  requirePublishableName(name);
  const hashes = new Map<string, Uint8Array>();
  for (const algorithm of HASH_ALGORITHMS) {
    const hex = invocation.text(algorithm);
    if (hex !== undefined) hashes.set(algorithm, parseHex(hex, algorithm));
  }
  if (hashes.size === 0)
    throw new SignetError('INVALID_ARGUMENT', 'must specify at least one hash: --sha256 or --sha512');
  const meta = { length: parseSize(size), hashes, ...(await readCustom(invocation)) };
  const by = [...hashes.keys()].join(', ');
  const said = `Addition of target "${printable(name)}" by ${by} hash to repository "${gun}" staged for next publish.`;
  await stage(invocation, additions(invocation, name, meta), said);
}

export async function remove(invocation: Invocation): Promise<undefined> {
  const [gun = '', name = ''] = invocation.args;
  const changes = rolesOf(invocation).map((role): Change => ({ type: 'remove-target', role, name }));
  await stage(invocation, changes, `Removal of ${printable(name)} from ${gun} staged for next publish.`);
}

export async function witness(invocation: Invocation): Promise<undefined> {
  const roles = invocation.args.slice(1).map((role) => {
    if (!isRoleName(role) || !isTargetsRole(role)) throw unknownRole(role);
    return role;
  });
  const changes = roles.map((role): Change => ({ type: 'witness', role }));
  const list = roles.map((role) => `\n\t- ${role}`).join('');
  await stage(
    invocation,
    changes,
    `The following roles were successfully marked for witnessing on the next publish:${list}`,
  );
}

function additions(invocation: Invocation, name: string, meta: FileMeta): readonly Change[] {
  return rolesOf(invocation).map((role): Change => ({ type: 'add-target', role, name, meta }));
}

/** `targets` if none is named. */
function rolesOf(invocation: Invocation): readonly TargetsRole[] {
  const roles = invocation.texts('roles');
  if (roles.length === 0) return ['targets'];
  return roles.map((role) => {
    if (isTargetsRole(role)) return role;
    throw unknownRole(role);
  });
}

async function readCustom(invocation: Invocation): Promise<Pick<FileMeta, 'custom'>> {
  const file = invocation.text('custom');
  if (file === undefined) return {};
  const custom = parseCustom(await readInput(file, MAX_CUSTOM_BYTES, invocation.world.signal));
  return custom === undefined ? {} : { custom };
}

function parseHex(hex: string, algorithm: HashAlgorithm): Buffer {
  if (hex.length === HEX_DIGITS[algorithm] && /^[0-9a-f]+$/i.test(hex)) return Buffer.from(hex, 'hex');
  throw new SignetError('INVALID_ARGUMENT', `invalid ${algorithm} hex contents provided`, {
    hint: `--${algorithm} takes ${HEX_DIGITS[algorithm]} hex characters`,
  });
}

/** Decimal, or with a prefix as in Go: 0x10. */
function parseSize(text: string): number {
  const size = /^(\d+|0x[0-9a-f]+|0o[0-7]+|0b[01]+)$/i.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(size)) return size;
  throw new SignetError('INVALID_ARGUMENT', `"${text.slice(0, 40)}" is not a size in bytes`);
}
