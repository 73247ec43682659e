/** `signet key export` */
import type { AgentClient } from '../../client/agent-client.ts';
import { SignetError } from '../../errors.ts';
import type { AgentKey } from '../../rpc/messages.ts';
import { requireNewFile, writeOutput } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { findKey } from '../key-ids.ts';
import { inNotarysOrder } from '../key-text.ts';
import { printData, printNote } from '../output.ts';

export async function keyExport(invocation: Invocation): Promise<undefined> {
  const { session } = invocation.world;
  const ids = invocation.texts('key');
  const gun = invocation.text('gun');
  const output = invocation.text('output');
  if (ids.length > 0 && gun !== undefined) {
    throw new SignetError('INVALID_ARGUMENT', 'only --gun or --key may be given, not both');
  }
  if (output !== undefined) await requireNewFile(output, invocation.flag('force'));
  const agent = await session.agent();
  const keys =
    ids.length > 0
      ? await Promise.all(ids.map((id) => findKey(session, id)))
      : await exportable(agent, invocation, gun);
  if (keys.length === 0) {
    throw new SignetError(
      'KEY_NOT_FOUND',
      gun === undefined ? 'there is no key to export' : `no key belongs to ${gun}`,
    );
  }
  const { ProgressDisplay } = await import('../prompts/progress.ts');
  using progress = new ProgressDisplay('keys exported');
  const blocks: string[] = [];
  // A key without a passphrase gets one: what leaves is sealed.
  await session.asking(async (agent, call) => {
    for (const key of keys) {
      const { pem } = await agent.exportKey(key.key_id, call);
      blocks.push(pem);
      progress.show(blocks.length, keys.length);
    }
  });
  const bundle = blocks.join('');
  if (output === undefined) {
    printData(bundle);
    return;
  }
  await writeOutput(output, bundle, invocation.flag('force'));
  printNote(`${keys.length === 1 ? 'one key' : `${keys.length} keys`} exported to ${output}`);
}

/** Keys on tokens and in databases cannot leave them: an export of everything goes without them, and says so. */
async function exportable(agent: AgentClient, { world: { session } }: Invocation, gun: string | undefined) {
  const keys: AgentKey[] = [];
  let others = 0;
  for await (const key of agent.listKeys(session.call)) {
    if (gun !== undefined && key.gun !== gun) continue;
    if (key.backend === 'file') keys.push(key);
    else others++;
  }
  if (others > 0) printNote(`left out: ${others === 1 ? 'one key' : `${others} keys`} whose home gives no key away`);
  return keys.sort(inNotarysOrder);
}
