/**
 * The process of a probe (probe.ts): loads the module that its argument names and writes one frame with what it has, or why
 * not, to file descriptor 3. Modules write to the others what they like.
 */
import { writeSync } from 'node:fs';
import { SignetError } from '../../errors.ts';
import { encodeFrame, type HostReply } from './host-protocol.ts';
import { readInventory } from './module-inventory.ts';

const OUTPUT_FD = 3;

function reply(path: string): HostReply {
  try {
    return { ok: true, value: readInventory(path) };
  } catch (error) {
    const { code, message, hint } = error instanceof SignetError ? error : new SignetError('INTERNAL', String(error));
    return { ok: false, code, message, hint, lost: false };
  }
}

const frame = encodeFrame(1, reply(process.argv[2] ?? ''));
for (let offset = 0; offset < frame.length; ) offset += writeSync(OUTPUT_FD, frame, offset);
// Without C_Finalize, which crashes some modules: the process ends anyway, and nothing was changed.
process.exit(0);
