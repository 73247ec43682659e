/** `signet key backup` and `signet key restore` */
import { SignetError } from '../../errors.ts';
import type { RestoreResponse } from '../../rpc/messages.ts';
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
  const { archive, keys, leftOut, files, filesLeftOut } = await session.asking(async (agent, call) => {
    const parts: Uint8Array[] = [];
    let counts = { keys: 0, leftOut: 0, files: 0, filesLeftOut: 0 };
    for await (const { archive, progress, files, files_left_out: filesLeftOut } of agent.backup(
      { passphrase: new Uint8Array() },
      call,
    )) {
      if (archive.byteLength > 0) parts.push(archive);
      if (progress === null) continue;
      counts = { keys: progress.done, leftOut: progress.total - progress.done, files, filesLeftOut };
      person.progress(progress.done, progress.total);
    }
    return { archive: Buffer.concat(parts), ...counts };
  });
  await writeOutput(output, archive, replace);
  if (invocation.json) printJson({ file: output, keys, leftOut, files, filesLeftOut, bytes: archive.length });
  else printData(`${saved(keys, files)} backed up to ${output}`);
  if (leftOut > 0) {
    const what = leftOut === 1 ? 'one key file' : `${leftOut} key files`;
    printNote(`warning: left out ${what} that cannot be read: signet doctor tells which`);
  }
  if (filesLeftOut > 0) {
    const what = filesLeftOut === 1 ? 'one file' : `${filesLeftOut} files`;
    printNote(`warning: left out ${what} in tuf that no archive can hold: the daemon's log tells which`);
  }
}

function saved(keys: number, files: number): string {
  const what = keys === 1 ? 'One key' : `${keys} keys`;
  if (files === 0) return what;
  return `${what} and ${files === 1 ? 'one file' : `${files} files`} of metadata`;
}

export async function keyRestore(invocation: Invocation): Promise<undefined> {
  const dryRun = invocation.flag('dry-run');
  const result = await restore(invocation, dryRun);
  if (invocation.json) {
    printJson({ restored: result.restored, unchanged: result.unchanged, replaced: result.replaced, dryRun });
    return;
  }
  report(result, dryRun);
}

/** The archive is read anew for each passphrase that is tried: it may be larger than memory. */
async function restore(invocation: Invocation, dryRun: boolean): Promise<RestoreResponse> {
  const { session, signal } = invocation.world;
  const file = invocation.argument(0);
  const person = await session.person();
  for (let attempt = 0; ; attempt++) {
    using passphrase = await person.archivePassphrase(attempt);
    if (passphrase === undefined) throw person.refusal ?? new SignetError('CANCELLED', 'nothing was typed');
    const request = {
      passphrase: passphrase.bytes(),
      replace: invocation.flag('really-replace'),
      dry_run: dryRun,
    };
    try {
      return await session.asking((agent, call) => agent.restore(request, archiveParts(file, signal), call));
    } catch (error) {
      const mayTryAgain = error instanceof SignetError && error.code === 'PASSPHRASE_INCORRECT' && file !== '-';
      if (!mayTryAgain) throw error;
    }
  }
}

async function* archiveParts(file: string, signal: AbortSignal): AsyncIterable<Uint8Array> {
  try {
    for await (const chunk of openInput(file, signal) as AsyncIterable<Buffer>) {
      for (let start = 0; start < chunk.length; start += PART_BYTES) yield chunk.subarray(start, start + PART_BYTES);
    }
  } catch (error) {
    throw inputError(error, file);
  }
}

function report({ restored, unchanged, replaced }: RestoreResponse, dryRun: boolean): void {
  const line = (word: string) => (id: string) => `${word.padEnd('unchanged'.length)}  ${id}`;
  const lines = [
    ...restored.map(line(dryRun ? 'restore' : 'restored')),
    ...replaced.map(line(dryRun ? 'replace' : 'replaced')),
    ...unchanged.map(line('unchanged')),
  ];
  if (lines.length > 0) printData(lines.join('\n'));
  const would = dryRun ? 'would be ' : '';
  printNote(`${restored.length} ${would}restored, ${replaced.length} ${would}replaced, ${unchanged.length} unchanged`);
}
