/** `signet publish`, `signet status` and `signet reset`; and `--publish` of the commands that stage changes */
import { SignetError } from '../../errors.ts';
import type { Change } from '../../tuf/change.ts';
import { openCollection, openLocal, withKeys } from '../collections.ts';
import type { Invocation } from '../invocation.ts';
import { notaryTable } from '../notary-table.ts';
import { printable, printData, printJson, printNote } from '../output.ts';

export async function publishCommand(invocation: Invocation): Promise<undefined> {
  await publishNow(invocation, 'Pushing');
}

/** @param verb How notary begins to say it. */
async function publishNow(invocation: Invocation, verb: 'Pushing' | 'Auto-publishing'): Promise<void> {
  using opened = await openCollection(invocation);
  const { collection, trustDir } = opened;
  const { gun } = collection.local;
  if (!invocation.json) printData(`${verb} changes to ${gun}`);
  const { publish } = await import('../../repository/publish.ts');
  const { roles, changes } = await withKeys(invocation, trustDir, (keys) => publish(collection, keys));
  if (invocation.json) printJson({ gun, roles, changes });
  else if (roles.length === 0) printNote(`there is nothing to publish for ${gun}`);
  else printData(`Successfully published changes for repository ${gun}`);
}

/** Stages changes, says so, and publishes if that is asked for. */
export async function stage(invocation: Invocation, changes: readonly Change[], said: string): Promise<undefined> {
  const { local } = await openLocal(invocation);
  await local.changelist.add(changes);
  const isPublished = invocation.flag('publish');
  if (!invocation.json) printData(said);
  else if (!isPublished) printJson({ gun: local.gun, staged: changes.length });
  if (isPublished) await publishNow(invocation, 'Auto-publishing');
}

interface StatusRow {
  readonly action: string;
  readonly scope: string;
  readonly type: string;
  readonly path: string;
}

export async function status(invocation: Invocation): Promise<undefined> {
  const { local } = await openLocal(invocation);
  const rows = (await local.changelist.read()).map(({ change }) => statusRow(change));
  if (invocation.json) {
    printJson(rows);
    return;
  }
  if (rows.length === 0) {
    printData(`No unpublished changes for ${local.gun}`);
    return;
  }
  const cells = rows.map(({ action, scope, type, path }, index) => [
    String(index),
    action,
    scope,
    type,
    printable(path),
  ]);
  printData(`Unpublished changes for ${local.gun}:\n\n${notaryTable(['#', 'ACTION', 'SCOPE', 'TYPE', 'PATH'], cells)}`);
}

/** As notary's files name it. */
function statusRow(change: Change): StatusRow {
  switch (change.type) {
    case 'add-target':
      return { action: 'create', scope: change.role, type: 'target', path: change.name };
    case 'remove-target':
      return { action: 'delete', scope: change.role, type: 'target', path: change.name };
    case 'edit-delegation':
      return { action: change.create ? 'create' : 'update', scope: change.role, type: 'delegation', path: '' };
    case 'delete-delegation':
      return { action: 'delete', scope: change.role, type: 'delegation', path: '' };
    case 'purge-delegation-keys':
      return { action: 'update', scope: 'targets/*', type: 'delegation', path: '' };
    case 'witness':
      return { action: 'update', scope: change.role, type: 'witness', path: '' };
  }
}

export async function reset(invocation: Invocation): Promise<undefined> {
  const numbers = invocation.texts('number');
  const isAll = invocation.flag('all');
  if (!isAll && numbers.length === 0) {
    throw new SignetError('INVALID_ARGUMENT', 'must specify changes to reset with -n or the --all flag');
  }
  const { local } = await openLocal(invocation);
  await using _ = await local.lock();
  if (isAll) {
    await local.changelist.clear();
  } else {
    const staged = await local.changelist.read();
    const chosen = numbers.map((text) => {
      const change = /^\d{1,9}$/.test(text) ? staged[Number(text)] : undefined;
      if (change !== undefined) return change.file;
      throw new SignetError('INVALID_ARGUMENT', `there is no change number "${text.slice(0, 20)}"`, {
        hint: `signet status ${local.gun} shows the numbers; nothing was changed`,
      });
    });
    await local.changelist.remove(new Set(chosen));
  }
  if (invocation.json) printJson({ gun: local.gun });
  else printData(`Successfully reset specified changes for repository ${local.gun}`);
}
