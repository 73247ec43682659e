/** `signet key backup` and `signet key restore` */
import { SignetError } from '../../errors.ts';
import type { RestorePart, RestoreResponse } from '../../rpc/messages.ts';
import { inputError, openInput, requireNewFile, writeOutput } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { printData, printJson, printNote } from '../output.ts';

/** Bytes in one message. */
const PART_BYTES = 64 * 1024;

export async function keyBackup(invocation: Invocation): Promise<undefined> {
  const { session } = invocation.world;
  const output = invocation.text('output');
  if (output === undefined)
    throw new SignetError('INVALID_ARGUMENT', 'no file given', { hint: 'name the new archive with -o' });
  const replace = invocation.flag('force');
  await requireNewFile(output, replace);
  const person = await session.person();
  const { archive, keys } = await session.asking(async (agent, call) => {
    const parts: Uint8Array[] = [];
    let keys = 0;
    for await (const { archive, progress } of agent.backup({ passphrase: new Uint8Array() }, call)) {
      if (archive.byteLength > 0) parts.push(archive);
      if (progress === null) continue;
      keys = progress.done;
      person.progress(progress.done, progress.total);
    }
    return { archive: Buffer.concat(parts), keys };
  });
  await writeOutput(output, archive, replace);
  if (invocation.json) printJson({ file: output, keys, bytes: archive.length });
  else printData(`${keys === 1 ? 'One key' : `${keys} keys`} backed up to ${output}`);
}

export async function keyRestore(invocation: Invocation): Promise<undefined> {
  const { session, signal } = invocation.world;
  const file = invocation.argument(0);
  const dryRun = invocation.flag('dry-run');
  const options = { passphrase: new Uint8Array(), replace: invocation.flag('really-replace'), dry_run: dryRun };
  const result = await session.asking((agent, call) => agent.restore(restoreParts(file, options, signal), call));
  if (invocation.json) {
    printJson({ restored: result.restored, unchanged: result.unchanged, replaced: result.replaced, dryRun });
    return;
  }
  report(result, dryRun);
}

async function* restoreParts(
  file: string,
  options: NonNullable<RestorePart['options']>,
  signal: AbortSignal,
): AsyncIterable<RestorePart> {
  yield { part: 'options', options };
  try {
    for await (const chunk of openInput(file, signal) as AsyncIterable<Buffer>) {
      for (let start = 0; start < chunk.length; start += PART_BYTES) {
        yield { part: 'archive', archive: chunk.subarray(start, start + PART_BYTES) };
      }
    }
  } catch (error) {
    throw inputError(error, file);
  }
}

function report({ restored, unchanged, replaced }: RestoreResponse, dryRun: boolean): void {
  const lines = [
    ...restored.map((id) => `restored   ${id}`),
    ...replaced.map((id) => `replaced   ${id}`),
    ...unchanged.map((id) => `unchanged  ${id}`),
  ];
  if (lines.length > 0) printData(lines.join('\n'));
  const verb = dryRun ? 'would be ' : '';
  printNote(`${restored.length} ${verb}restored, ${replaced.length} ${verb}replaced, ${unchanged.length} unchanged`);
}
