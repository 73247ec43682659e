/** `signet key generate` */
import { parseKeyAlgorithm } from '../../crypto/algorithms.ts';
import { SignetError } from '../../errors.ts';
import type { Invocation } from '../invocation.ts';
import { keyToJson, ROLES_WITH_GUN } from '../key-text.ts';
import { printable, printData, printJson, printNote } from '../output.ts';

export async function keyGenerate(invocation: Invocation): Promise<undefined> {
  const { session } = invocation.world;
  const named = invocation.text('algorithm') ?? invocation.argument(0);
  // notary spells it in any case
  const algorithm = parseKeyAlgorithm((named === '' ? 'ecdsa' : named).toLowerCase());
  const role = invocation.text('role') ?? 'root';
  const gun = invocation.text('gun') ?? '';
  const key = await session.asking((agent, call) =>
    agent.generateKey(
      {
        algorithm,
        role,
        gun,
        ...placeOptions(invocation),
        curve: invocation.text('curve') ?? '',
        modulus_bits: modulusBits(invocation.text('bits')),
        require_hardware: invocation.flag('require-hardware'),
      },
      call,
    ),
  );
  if (invocation.json) {
    printJson(keyToJson(key));
  } else {
    printData(`Generated new ${algorithm} ${printable(role)} key with keyID: ${key.key_id}`);
  }
  for (const home of key.passed_over) printNote(`${home} comes first for ${role} keys, but does not make such a key`);
  printNote(`the key is in ${key.location}`);
  for (const warning of key.device?.warnings ?? []) printNote(`warning: ${warning}`);
  if (gun === '' && ROLES_WITH_GUN.has(role)) {
    printNote(`a ${role} key belongs to one trusted collection: name it with --gun, or later with key rename-role`);
  }
}

/** Where on which backend a key goes; empty values leave the choice to the daemon. */
export function placeOptions(invocation: Invocation) {
  return {
    backend: invocation.text('backend') ?? '',
    serial: invocation.text('serial') ?? '',
    token: invocation.text('token') ?? '',
    slot: invocation.text('slot') ?? '',
    overwrite_slot: invocation.flag('really-overwrite-slot'),
    pin_policy: invocation.text('pin-policy') ?? '',
    touch_policy: invocation.text('touch-policy') ?? '',
  };
}

function modulusBits(text: string | undefined): number {
  if (text === undefined) return 0;
  if (/^\d{4}$/.test(text)) return Number(text);
  throw new SignetError('INVALID_ARGUMENT', `--bits cannot be "${text}"`, { hint: 'use one of 2048, 3072, 4096' });
}
