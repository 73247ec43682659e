/** What an operator does to the whole table, while daemons serve from it. */
import { openKeyJwe, sealKeyJwe } from '../../crypto/jwe.ts';
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import type { KeyTable, SealedRow } from './key-table.ts';

/** Rows that are read at once; each is written on its own, so that a stop at any moment leaves whole rows. */
const BATCH = 100;

export interface RewrapOptions {
  readonly table: KeyTable;
  readonly from: { readonly alias: string; readonly passphrase: Secret };
  readonly to: { readonly alias: string; readonly passphrase: Secret };
  readonly p2c: number;
  readonly onProgress: (done: number, total: number) => void;
  /** A row that stays as it is: damaged, or not sealed under the passphrase of its alias. */
  readonly onSkipped: (keyId: string, error: SignetError) => void;
  readonly signal?: AbortSignal;
}

export interface RewrapResult {
  readonly rewrapped: number;
  readonly skipped: number;
  /** Somebody else changed the row meanwhile: it is looked at again by the next run. */
  readonly changed: number;
}

/**
 * Seals every key of one alias under another, soft-deleted rows included. The alias in each row tells which are done, so a
 * run that was stopped, or killed, is continued by starting it again.
 *
 * @throws {SignetError} UNAVAILABLE, CANCELLED; what was done stays done
 */
export async function rewrap(options: RewrapOptions): Promise<RewrapResult> {
  const { table, from, onProgress, signal } = options;
  const total = await table.countSealedUnder(from.alias);
  const counts = { rewrapped: 0, skipped: 0, changed: 0 };
  for (let afterId = 0; ; ) {
    const rows = await table.sealedUnder(from.alias, afterId, BATCH);
    for (const row of rows) {
      if (signal?.aborted) throw new SignetError('CANCELLED', 'stopped; start it again to go on');
      counts[await rewrapRow(row, options)]++;
      onProgress(counts.rewrapped + counts.skipped + counts.changed, total);
    }
    const last = rows.at(-1);
    if (last === undefined) return counts;
    afterId = last.id;
  }
}

async function rewrapRow(
  row: SealedRow,
  { table, from, to, p2c, onSkipped }: RewrapOptions,
): Promise<keyof RewrapResult> {
  let token: string;
  try {
    using key = await openKeyJwe(row.token, from.passphrase);
    if (key.keyId !== row.keyId) throw new SignetError('INTEGRITY', 'the row holds another private key');
    token = await sealKeyJwe(key, to.passphrase, p2c);
    // Opened once more before the old one is gone for good.
    using again = await openKeyJwe(token, to.passphrase);
    if (again.keyId !== row.keyId) throw new SignetError('INTERNAL', 'the new token does not hold the key');
  } catch (error) {
    if (!(error instanceof SignetError)) throw error;
    onSkipped(row.keyId, error);
    return 'skipped';
  }
  return (await table.reseal(row, from.alias, { alias: to.alias, token }, new Date())) ? 'rewrapped' : 'changed';
}

/**
 * Removes rows that were soft-deleted before a time, for good.
 *
 * @returns How many.
 * @throws {SignetError} UNAVAILABLE, CANCELLED; what was done stays done
 */
export async function purgeDeleted(
  table: KeyTable,
  before: Date,
  onProgress: (done: number) => void,
  signal?: AbortSignal,
): Promise<number> {
  let done = 0;
  for (let afterId = 0; ; ) {
    if (signal?.aborted) throw new SignetError('CANCELLED', 'stopped; start it again to go on');
    const ids = await table.deletedBefore(before, afterId, BATCH);
    const last = ids.at(-1);
    if (last === undefined) return done;
    done += await table.purge(ids);
    afterId = last;
    onProgress(done);
  }
}
