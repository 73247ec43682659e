/** `signet key passwd`, `signet key rename-role`, `signet key remove` */
import { SignetError } from '../../errors.ts';
import type { Invocation } from '../invocation.ts';
import { findKey } from '../key-ids.ts';
import { keyToJson, ownerText } from '../key-text.ts';
import { printable, printData, printJson, printNote } from '../output.ts';

export async function keyPasswd(invocation: Invocation): Promise<undefined> {
  const { session } = invocation.world;
  const key = await findKey(session, invocation.argument(0));
  const file = invocation.text('new-passphrase-file');
  using fromFile = file === undefined ? undefined : await readNewPassphrase(file);
  (await session.person()).setNewPassphrase(fromFile ?? 'person');
  const request = { key_id: key.key_id, new_passphrase: new Uint8Array() };
  await session.asking((agent, call) => agent.changePassphrase(request, call));
  if (invocation.json) printJson({ keyId: key.key_id });
  else printData(`Successfully updated passphrase for key ID: ${key.key_id}`);
}

async function readNewPassphrase(file: string) {
  const { readPrivateSecret } = await import('../../backends/secret-file.ts');
  const { resolve } = await import('node:path');
  return await readPrivateSecret(resolve(file), '--new-passphrase-file');
}

export async function keyRenameRole(invocation: Invocation): Promise<undefined> {
  const { session } = invocation.world;
  const key = await findKey(session, invocation.argument(0));
  const role = invocation.argument(1);
  const gun = invocation.text('gun') ?? key.gun;
  const renamed = await session.asking((agent, call) => agent.relabelKey({ key_id: key.key_id, role, gun }, call));
  if (invocation.json) printJson(keyToJson(renamed));
  else printData(`${key.key_id} is the ${printable(ownerText(renamed))} now`);
}

export async function keyRemove(invocation: Invocation): Promise<undefined> {
  const { session } = invocation.world;
  const key = await findKey(session, invocation.argument(0));
  const { dependentsOf } = await import('../dependents.ts');
  const dependents = await dependentsOf(key.key_id, key.location);
  if (!invocation.flag('yes')) {
    const uses = dependents.map(({ gun, role }) => `  ${role} of ${gun} trusts this key\n`).join('');
    const last =
      dependents.length > 0 ? 'Without it, they can be signed no more. Keep a copy: signet key export\n' : '';
    const question = `The ${ownerText(key)} ${key.key_id} in ${key.location} will be removed for good.`;
    await (await session.person()).confirm(`${printable(question)}\n${uses}${last}`.trimEnd(), 'remove', '--yes');
  }
  const { removed } = await session.asking((agent, call) => agent.removeKey(key.key_id, call));
  if (!removed) throw new SignetError('KEY_NOT_FOUND', `key ${key.key_id} was removed by another program`);
  if (invocation.json) {
    printJson({ keyId: key.key_id, dependents });
    return;
  }
  printData(`Deleted ${key.key_id} (role ${printable(key.role)}) from ${printable(key.location)}.`);
  for (const { gun, role } of dependents) printNote(`${role} of ${gun} trusts this key: rotate it there`);
}
