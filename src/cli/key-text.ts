/** Keys as commands print them. */
import type { AgentKey, DeviceMessage } from '../rpc/messages.ts';

/** Roles whose keys belong to one trusted collection each, as notary has it. */
export const ROLES_WITH_GUN: ReadonlySet<string> = new Set(['targets', 'snapshot', 'timestamp']);

/** Root first, then by GUN, role, key ID and location: the order of `notary key list`. */
export function inNotarysOrder(a: AgentKey, b: AgentKey): number {
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

/** What a signature needs. */
export function needsOf(key: AgentKey): readonly string[] {
  return [
    ...(key.needs_passphrase ? ['passphrase'] : []),
    ...(key.needs_pin ? ['pin'] : []),
    ...(key.needs_touch ? ['touch'] : []),
  ];
}

/** To the second; '-' if it is not known. */
export function timeText(ms: number): string {
  return ms === 0 ? '-' : new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}

/** The shape that `--json` promises. */
export function keyToJson(key: AgentKey): object {
  return {
    keyId: key.key_id,
    role: key.role,
    gun: key.gun,
    location: key.location,
    backend: key.backend,
    needs: needsOf(key),
    lastUsed: key.last_used_ms === 0 ? null : new Date(key.last_used_ms).toISOString(),
    publicKey:
      key.public_key === null
        ? null
        : { algorithm: key.public_key.algorithm, public: Buffer.from(key.public_key.bytes).toString('base64') },
    device: key.device === null ? null : deviceToJson(key.device),
  };
}

export function deviceToJson(device: DeviceMessage): object {
  const { serial, label, firmware, slot, pin_policy, touch_policy, attested, warnings } = device;
  return { serial, label, firmware, slot, pinPolicy: pin_policy, touchPolicy: touch_policy, attested, warnings };
}

/** The role of a key with its GUN, for sentences: `targets key of example.com/app`. */
export function ownerText({ role, gun }: Pick<AgentKey, 'role' | 'gun'>): string {
  const name = role === '' ? 'key' : `${role} key`;
  return gun === '' ? name : `${name} of ${gun}`;
}
