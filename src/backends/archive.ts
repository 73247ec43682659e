/** What backing up and restoring a home tells, piece by piece and at the end. */

export interface BackupPiece {
  readonly bytes: Uint8Array;
  /** Keys so far. */
  readonly done: number;
  /** Files that are named like keys. In the last piece: the keys, and the files that were left out because they are none. */
  readonly total: number;
  /** Files of `tuf` so far. */
  readonly files: number;
  /** Links and other things in `tuf` that are not in the archive, so far. */
  readonly filesLeftOut: number;
}

export interface RestoreOptions {
  /** Keys and files that are there with another content are replaced; otherwise they stop the restore. */
  readonly replace: boolean;
  /** Checks everything and changes nothing. */
  readonly dryRun: boolean;
  /** @param total 0 while it is not known. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Key IDs, and `tuf/PATH` for what is no key. */
export interface RestoreReport {
  readonly restored: readonly string[];
  /** There already, with the same content. */
  readonly unchanged: readonly string[];
  readonly replaced: readonly string[];
}
