/** `signet key …` */
import type { AgentClient } from '../../client/agent-client.ts';
import type { AgentKey } from '../../rpc/messages.ts';
import { printable, printData, printJson, printTable } from '../output.ts';

export async function keyList(agent: AgentClient, options: { readonly json: boolean }): Promise<void> {
  const keys: AgentKey[] = [];
  for await (const key of agent.listKeys()) keys.push(key);
  keys.sort(inNotarysOrder);
  if (options.json) {
    printJson(keys.map(toJson));
    return;
  }
  if (keys.length === 0) {
    printData('No signing keys found.');
    return;
  }
  printTable(
    ['ROLE', 'GUN', 'KEY ID', 'NEEDS', 'LOCATION'],
    keys.map((key) => [key.role, key.gun, key.key_id, needsOf(key).join(',') || '-', key.location].map(printable)),
  );
}

/** Root first, then by GUN, role, key ID and location: the order of `notary key list`. */
function inNotarysOrder(a: AgentKey, b: AgentKey): number {
  return (
    Number(b.role === 'root') - Number(a.role === 'root') ||
    compare(a.gun, b.gun) ||
    compare(a.role, b.role) ||
    compare(a.key_id, b.key_id) ||
    compare(a.location, b.location)
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

function needsOf(key: AgentKey): readonly string[] {
  return [
    ...(key.needs_passphrase ? ['passphrase'] : []),
    ...(key.needs_pin ? ['pin'] : []),
    ...(key.needs_touch ? ['touch'] : []),
  ];
}

function toJson(key: AgentKey): object {
  return {
    keyId: key.key_id,
    role: key.role,
    gun: key.gun,
    location: key.location,
    backend: key.backend,
    needs: needsOf(key),
    publicKey:
      key.public_key === null
        ? null
        : { algorithm: key.public_key.algorithm, public: Buffer.from(key.public_key.bytes).toString('base64') },
  };
}
