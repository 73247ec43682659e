/** `signet key list` and `signet key show` */
import type { AgentKey } from '../../rpc/messages.ts';
import type { Invocation } from '../invocation.ts';
import { findKey } from '../key-ids.ts';
import { inNotarysOrder, keyToJson, needsOf, timeText } from '../key-text.ts';
import { printable, printData, printJson, printNote, printTable } from '../output.ts';

export async function keyList({ world: { session }, json }: Invocation): Promise<undefined> {
  const agent = await session.agent();
  const keys: AgentKey[] = [];
  for await (const key of agent.listKeys(session.call)) keys.push(key);
  keys.sort(inNotarysOrder);
  const { tokens } = await agent.listTokens(session.call);
  for (const { location, present } of tokens) {
    if (!present) printNote(`${location} is not plugged in: its keys are not listed`);
  }
  if (json) {
    printJson(keys.map(keyToJson));
    return;
  }
  if (keys.length === 0) {
    printData('No signing keys found.');
    return;
  }
  printTable(
    ['ROLE', 'GUN', 'KEY ID', 'NEEDS', 'LAST USED', 'LOCATION'],
    keys.map((key) =>
      [key.role, key.gun, key.key_id, needsOf(key).join(',') || '-', timeText(key.last_used_ms), key.location].map(
        printable,
      ),
    ),
  );
}

export async function keyShow(invocation: Invocation): Promise<undefined> {
  const key = await findKey(invocation.world.session, invocation.argument(0));
  if (invocation.json) {
    printJson(keyToJson(key));
    return;
  }
  const { device } = key;
  const rows: [string, string][] = [
    ['key ID', key.key_id],
    ['role', key.role],
    ['GUN', key.gun],
    ['algorithm', key.public_key?.algorithm ?? 'not known before it is unlocked'],
    ['needs', needsOf(key).join(', ') || 'nothing'],
    ['last used', timeText(key.last_used_ms)],
    ['backend', key.backend],
    ['location', key.location],
  ];
  if (device !== null) {
    rows.push(
      ['token', device.label],
      ['serial', device.serial],
      ['firmware', device.firmware],
      ['slot', device.slot],
      ['PIN policy', device.pin_policy],
      ['touch policy', device.touch_policy],
      ['attested', device.attested],
      ...device.warnings.map((warning): [string, string] => ['warning', warning]),
    );
  }
  const shown = rows.filter(([, value]) => value !== '');
  const width = Math.max(...shown.map(([name]) => name.length));
  printData(shown.map(([name, value]) => `${name.padEnd(width)}  ${printable(value)}`).join('\n'));
}
