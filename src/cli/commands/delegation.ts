/** `signet delegation …` */
import { readFile } from 'node:fs/promises';
import { fromNodeError, SignetError } from '../../errors.ts';
import { allDelegations } from '../../repository/read.ts';
import { requireUpdate } from '../../repository/update.ts';
import type { Change } from '../../tuf/change.ts';
import { parsePublicKeyFile } from '../../tuf/public-key-file.ts';
import { parseDelegation } from '../../tuf/roles.ts';
import { canonicalKeyId, type TufKey } from '../../tuf/tuf-key.ts';
import { openCollection, requireYes } from '../collections.ts';
import type { Invocation } from '../invocation.ts';
import { notaryTable } from '../notary-table.ts';
import { printable, printData, printJson } from '../output.ts';
import { stage } from './collection-publish.ts';

/** Notary's, for delegations that get keys. */
const THRESHOLD = 1;

export async function delegationList(invocation: Invocation): Promise<undefined> {
  using opened = await openCollection(invocation);
  const { trusted } = await requireUpdate(opened.collection, { mayUseCache: true });
  const delegations = allDelegations(trusted.targetsByRole());
  if (invocation.json) {
    printJson(
      delegations.map(({ name, paths, canonicalKeyIds, threshold }) => ({
        role: name,
        paths,
        keyIds: canonicalKeyIds,
        threshold,
      })),
    );
    return;
  }
  if (delegations.length === 0) {
    printData('\nNo delegations present in this repository.\n\n');
    return;
  }
  const rows = delegations.flatMap(({ name, paths, canonicalKeyIds, threshold }) => {
    const shown = prettyPaths(paths);
    const height = Math.max(1, shown.length, canonicalKeyIds.length);
    return Array.from({ length: height }, (_, line) => [
      line === 0 ? name : '',
      shown[line] ?? '',
      canonicalKeyIds[line] ?? '',
      line === 0 ? String(threshold) : '',
    ]);
  });
  printData(`\n${notaryTable(['ROLE', 'PATHS', 'KEY IDS', 'THRESHOLD'], rows)}\n\n`);
}

export async function delegationAdd(invocation: Invocation): Promise<undefined> {
  const [gun = '', name = '', ...files] = invocation.args;
  const role = parseDelegation(name);
  const paths = pathsOf(invocation);
  if (files.length === 0 && paths.length === 0) {
    throw new SignetError('INVALID_ARGUMENT', 'there is nothing to add', {
      hint: 'name files with public keys or certificates, --paths or --all-paths',
    });
  }
  const now = new Date();
  const addKeys: TufKey[] = [];
  for (const file of files) addKeys.push(await readPublicKey(file, now));
  const edit = { type: 'edit-delegation', role, create: true } as const;
  const changes: Change[] = [
    ...(addKeys.length > 0 ? [{ ...edit, threshold: THRESHOLD, addKeys }] : []),
    ...(paths.length > 0 ? [{ ...edit, addPaths: paths }] : []),
  ];
  const what = [
    ...(addKeys.length > 0 ? [`with keys [${addKeys.map(canonicalKeyId).join(' ')}],`] : []),
    ...(paths.length > 0 ? [`with paths [${prettyPaths(paths).join('\n')}],`] : []),
  ].join(' ');
  const said = `\nAddition of delegation role ${role} ${what} to repository "${gun}" staged for next publish.\n\n`;
  await stage(invocation, changes, said);
}

export async function delegationRemove(invocation: Invocation): Promise<undefined> {
  const [gun = '', name = '', ...removeKeys] = invocation.args;
  const role = parseDelegation(name);
  const paths = invocation.texts('paths');
  const isAllPaths = invocation.flag('all-paths');
  if (removeKeys.length === 0 && paths.length === 0 && !isAllPaths) {
    await requireYes(invocation, 'Are you sure you want to remove all data for this delegation?');
    const said = `\nForced removal (including all keys and paths) of delegation role ${role} to repository "${gun}" staged for next publish.\n\n`;
    await stage(invocation, [{ type: 'delete-delegation', role }], said);
    return;
  }
  const edit = { type: 'edit-delegation', role, create: false } as const;
  const changes: Change[] = [
    ...(isAllPaths ? [{ ...edit, clearPaths: true }] : []),
    ...(removeKeys.length > 0 ? [{ ...edit, removeKeys }] : []),
    ...(paths.length > 0 ? [{ ...edit, removePaths: paths }] : []),
  ];
  const what = [
    ...(removeKeys.length > 0 ? [`with keys [${removeKeys.map(printable).join(' ')}],`] : []),
    ...(isAllPaths ? ['with all paths,'] : []),
    ...(paths.length > 0 ? [`with paths [${prettyPaths(paths).join('\n')}],`] : []),
  ].join(' ');
  await stage(
    invocation,
    changes,
    `\nRemoval of delegation role ${role} ${what} to repository "${gun}" staged for next publish.\n\n`,
  );
}

export async function delegationPurge(invocation: Invocation): Promise<undefined> {
  const keyIds = invocation.texts('key');
  if (keyIds.length === 0) {
    throw new SignetError('INVALID_ARGUMENT', 'please provide at least one key ID to be removed using the --key flag');
  }
  const gun = invocation.argument(0);
  const list = keyIds.map((keyId) => `\n\t- ${printable(keyId)}`).join('');
  await stage(
    invocation,
    [{ type: 'purge-delegation-keys', keyIds }],
    `Removal of the following keys from all delegations in ${gun} staged for next publish:${list}`,
  );
}

function pathsOf(invocation: Invocation): readonly string[] {
  return invocation.flag('all-paths') ? [''] : invocation.texts('paths');
}

function prettyPaths(paths: readonly string[]): readonly string[] {
  return paths.map((path) => (path === '' ? '"" <all paths>' : printable(path))).sort();
}

async function readPublicKey(file: string, now: Date): Promise<TufKey> {
  let pem: Uint8Array;
  try {
    pem = await readFile(file);
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const message = isMissing ? `file for public key does not exist: ${file}` : `cannot read ${file}`;
    throw new SignetError('INVALID_ARGUMENT', isMissing ? message : fromNodeError(error, message).message, {
      cause: error,
    });
  }
  try {
    return parsePublicKeyFile(pem, now);
  } catch (error) {
    if (!(error instanceof SignetError)) throw error;
    throw new SignetError(
      'INVALID_ARGUMENT',
      `unable to parse valid public key certificate from PEM file ${file}: ${error.message}`,
      { cause: error },
    );
  }
}
