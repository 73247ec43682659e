/** Backups over the agent's API: the archive travels in parts, its passphrase in the request or in the interaction. */
import type { KeyArchiver } from '../../backends/backend.ts';
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import type { BackupPart, BackupRequest, RestorePart, RestoreResponse } from '../../rpc/messages.ts';
import type { CallContext } from '../calls.ts';
import type { Logger } from '../log.ts';
import type { AgentCalls, AgentHandler, Homes } from './agent-calls.ts';
import { secretOf } from './agent-messages.ts';

/** A progress event for each so many keys. */
const PROGRESS_STEP = 100;

/** Handlers of `Backup` and `Restore`, by name. */
export function archiveMethods(calls: AgentCalls, log: Logger) {
  async function* backup(request: BackupRequest, context: CallContext, homes: Homes): AsyncIterable<BackupPart> {
    using given = secretOf(request.passphrase);
    const archiver = archiverOf(homes);
    using passphrase = await passphraseOf(given, true, context);
    let keys = 0;
    for await (const { bytes, done, total, files, filesLeftOut } of archiver.backup(passphrase, context)) {
      keys = done;
      yield { archive: bytes, progress: { done, total }, files, files_left_out: filesLeftOut };
    }
    log.info({ caller: context.caller, keys, location: homes.keyring.storage.location }, 'keys backed up');
  }

  const restore: AgentHandler<AsyncIterable<RestorePart>, RestoreResponse> = async (parts, context, homes) => {
    const stream = parts[Symbol.asyncIterator]();
    const options = (await stream.next()).value?.options;
    if (!options) throw new SignetError('INVALID_ARGUMENT', 'the first part of a restore names its options');
    using given = secretOf(options.passphrase);
    const archiver = archiverOf(homes);
    using passphrase = await passphraseOf(given, false, context);
    const onProgress = (done: number, total: number) => {
      if (done % PROGRESS_STEP === 0) context.interaction?.progress(done, total);
    };
    const { dry_run: dryRun, replace } = options;
    const report = await archiver.restore(archiveIn(stream), passphrase, { replace, dryRun, onProgress }, context);
    const { restored, unchanged, replaced } = report;
    const counts = { restored: restored.length, unchanged: unchanged.length, replaced: replaced.length };
    const { location } = homes.keyring.storage;
    if (!dryRun) log.info({ caller: context.caller, ...counts, location }, 'a backup restored');
    return report;
  };

  return { Backup: calls.serverStream('Backup', backup), Restore: calls.clientStream('Restore', restore) };
}

function archiverOf({ keyring: { storage } }: Homes): KeyArchiver {
  if (storage.archiver !== undefined) return storage.archiver;
  throw new SignetError('UNSUPPORTED', `${storage.location} is not backed up by Signet`, {
    hint: "use the database's own backup",
  });
}

/** @param given Not disposed of here. @throws {SignetError} PASSPHRASE_REQUIRED */
async function passphraseOf(given: Secret | undefined, isNew: boolean, context: CallContext): Promise<Secret> {
  const passphrase = given?.clone() ?? (await context.interaction?.archivePassphrase(isNew));
  if (passphrase !== undefined) return passphrase;
  throw new SignetError('PASSPHRASE_REQUIRED', 'the backup needs a passphrase');
}

async function* archiveIn(stream: AsyncIterator<RestorePart>): AsyncIterable<Uint8Array> {
  for (let next = await stream.next(); !next.done; next = await stream.next()) {
    const { archive } = next.value;
    if (archive === undefined || next.value.part !== 'archive') {
      throw new SignetError('INVALID_ARGUMENT', 'a restore has its options once, then parts of the archive');
    }
    yield archive;
  }
}
