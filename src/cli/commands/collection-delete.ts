/** `signet delete` */
import { openCollection, openLocal } from '../collections.ts';
import type { Invocation } from '../invocation.ts';
import { printData, printJson } from '../output.ts';

export async function deleteCollection(invocation: Invocation): Promise<undefined> {
  const isRemote = invocation.flag('remote');
  const { local } = await openLocal(invocation);
  const { gun } = local;
  if (!invocation.json) printData(`Deleting trust data for repository ${gun}`);
  if (isRemote) {
    using opened = await openCollection(invocation);
    await opened.collection.server.deleteAll();
  }
  await local.removeAll();
  if (invocation.json) printJson({ gun, remote: isRemote });
  else printData(`Successfully deleted local${isRemote ? ' and remote' : ''} trust data for repository ${gun}`);
}
