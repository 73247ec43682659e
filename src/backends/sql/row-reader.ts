/**
 * Look-ups of rows that are not in memory. A few go by themselves; who comes meanwhile is gathered into the next one, so
 * that many keys that are used for the first time at once cost a few statements, and leave connections to others.
 */
import type { KeyId } from '../../crypto/key-id.ts';
import type { KeyRow } from './key-table.ts';
import type { RowSource } from './row-cache.ts';

interface Wish {
  readonly keyId: KeyId;
  readonly resolve: (row: KeyRow | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** More than one: a connection that hangs must not stop everybody. */
const AT_ONCE = 2;
/** Rows of one statement. */
const MOST = 64;

export class RowReader implements RowSource {
  readonly #source: RowSource;
  readonly #wishes: Wish[] = [];
  #underWay = 0;

  constructor(source: RowSource) {
    this.#source = source;
  }

  /** Asked after the call, never before. @throws {SignetError} as the source */
  find(keyId: KeyId): Promise<KeyRow | undefined> {
    return new Promise((resolve, reject) => {
      this.#wishes.push({ keyId, resolve, reject });
      if (this.#underWay < AT_ONCE) void this.#work();
    });
  }

  findAll(keyIds: readonly KeyId[]): Promise<ReadonlyMap<KeyId, KeyRow>> {
    return this.#source.findAll(keyIds);
  }

  async #work(): Promise<void> {
    this.#underWay++;
    for (let batch = this.#next(); batch.length > 0; batch = this.#next()) await this.#grant(batch);
    this.#underWay--;
  }

  #next(): readonly Wish[] {
    return this.#wishes.splice(0, MOST);
  }

  async #grant(wishes: readonly Wish[]): Promise<void> {
    try {
      const keyIds = [...new Set(wishes.map(({ keyId }) => keyId))];
      const rows = keyIds.length > 1 ? await this.#source.findAll(keyIds) : new Map<KeyId, KeyRow>();
      // What a batch leaves out is absent or damaged: alone, it is told which.
      const answers = new Map(keyIds.map((keyId) => [keyId, rows.get(keyId) ?? this.#source.find(keyId)]));
      await Promise.all(
        wishes.map(({ keyId, resolve, reject }) => Promise.resolve(answers.get(keyId)).then(resolve, reject)),
      );
    } catch (error) {
      for (const { reject } of wishes) reject(error);
    }
  }
}
