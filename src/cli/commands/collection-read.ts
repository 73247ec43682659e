/** `signet list`, `signet lookup` and `signet verify` */
import { SignetError } from '../../errors.ts';
import { allTargets, requireContent, requireTarget } from '../../repository/read.ts';
import { requireUpdate } from '../../repository/update.ts';
import { fileJson } from '../../tuf/canonical-json.ts';
import { type FileMeta, fileMetaOfChunks } from '../../tuf/file-meta.ts';
import type { FoundTarget, TargetsByRole } from '../../tuf/lookup.ts';
import { isTargetsRole, type TargetsRole, unknownRole } from '../../tuf/roles.ts';
import { openCollection } from '../collections.ts';
import { inputError, openInput, writeOutput } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { notaryTable } from '../notary-table.ts';
import { printable, printBytes, printData, printJson } from '../output.ts';

export async function list(invocation: Invocation): Promise<undefined> {
  const from = invocation.texts('roles').map((role): TargetsRole => {
    if (isTargetsRole(role)) return role;
    throw unknownRole(role);
  });
  const targets = allTargets(await readRoles(invocation), from);
  if (invocation.json) {
    printJson(targets.map(targetToJson));
    return;
  }
  if (targets.length === 0) {
    printData('\nNo targets present in this repository.\n\n');
    return;
  }
  const rows = targets.map(({ name, role, meta }) => [
    printable(name),
    hexOf(meta, 'sha256'),
    String(meta.length),
    role,
  ]);
  printData(notaryTable(['NAME', 'DIGEST', 'SIZE (BYTES)', 'ROLE'], rows));
}

export async function lookup(invocation: Invocation): Promise<undefined> {
  const target = requireTarget(await readRoles(invocation), invocation.argument(1));
  if (invocation.json) printJson(targetToJson(target));
  else printData(`${printable(target.name)} sha256:${hexOf(target.meta, 'sha256')} ${target.meta.length}`);
}

export async function verify(invocation: Invocation): Promise<undefined> {
  const name = invocation.argument(1);
  const roles = await readRoles(invocation);
  let target: FoundTarget;
  try {
    target = requireTarget(roles, name);
  } catch (error) {
    const { code, message } = error as SignetError;
    throw new SignetError(code, `error retrieving target by name:${name}, error:${message}`, { cause: error });
  }
  const isQuiet = invocation.flag('quiet');
  const output = invocation.text('output');
  const isShown = output === undefined && !isQuiet && !invocation.json;
  const content = await readContent(invocation, target, isShown || output !== undefined);
  if (output !== undefined) await writeOutput(output, content, true);
  else if (isShown) printBytes(content);
  if (invocation.json) printJson(targetToJson(target));
}

/** @returns The content if it is to be kept; it is shown only when all of it was checked. */
async function readContent(invocation: Invocation, target: FoundTarget, isKept: boolean): Promise<Buffer> {
  const path = invocation.text('input') ?? '-';
  const chunks: Buffer[] = [];
  let length = 0;
  async function* kept(): AsyncIterable<Buffer> {
    for await (const chunk of openInput(path, invocation.world.signal) as AsyncIterable<Buffer>) {
      length += chunk.length;
      // More than is signed will not be shown: there is no need to hold it.
      if (isKept && length <= target.meta.length) chunks.push(chunk);
      yield chunk;
    }
  }
  let meta: FileMeta;
  try {
    meta = await fileMetaOfChunks(kept());
  } catch (error) {
    throw inputError(error, path);
  }
  requireContent(meta, target);
  return Buffer.concat(chunks);
}

async function readRoles(invocation: Invocation): Promise<TargetsByRole> {
  using opened = await openCollection(invocation);
  const { trusted } = await requireUpdate(opened.collection, { mayUseCache: true });
  return trusted.targetsByRole();
}

function hexOf({ hashes }: FileMeta, algorithm: string): string {
  return Buffer.from(hashes.get(algorithm) ?? []).toString('hex');
}

/** The shape that `--json` promises. */
function targetToJson({ name, role, meta }: FoundTarget): object {
  const { length, hashes, custom } = meta;
  const hex = [...hashes].map(([algorithm, digest]) => [algorithm, Buffer.from(digest).toString('hex')] as const);
  return {
    name,
    role,
    length,
    hashes: Object.fromEntries(hex),
    ...(custom !== undefined && {
      custom: JSON.parse(fileJson(custom, { what: 'custom data', code: 'METADATA_REJECTED' })) as unknown,
    }),
  };
}
